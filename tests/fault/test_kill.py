#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Daemons that are killed, stopped and paused under load."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job, native
from load import FULL, Load, amount, jid, pause
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import in_time, until

TTL, CONCURRENCY, TIMEOUT = 1, 20, 1
DEADLY = native("Kill", "probe", isolation="task")
QUIET = {"level": "warning", "format": "json", "jobs": "none"}


def stage(t, cells, daemons, log=QUIET, **options):
    redisd, probe = t.use(Redisd()), t.use(Probe(cells))
    crew = [t.use(Fettled(redisd, lease_ttl=TTL, concurrency=CONCURRENCY, shutdown_timeout=TIMEOUT,
                          log=log, **probe.settings(DEADLY))) for _ in range(daemons)]
    load = t.use(Load(t, redisd, probe, **options))
    until(lambda: redisd.client.call("HLEN", "fettle:owners") == daemons, what="all to be there")
    return redisd, load, crew


@limit(360000 if FULL else 600)
def test_killed(t):
    """SIGKILL at random instants: nothing is lost, at most what was in flight runs again, and
    all of it is done lease_ttl + 5 s after the last one."""
    kills = amount(100, 10000)
    redisd, load, crew = stage(t, 2000000 if FULL else 200000, 3)
    with load.pushing(rate=3000):
        for _ in range(kills):
            pause(t.random.uniform(0.01, 0.2))
            victim = t.random.choice(crew)
            victim.kill()
            victim.start()
    start = time.monotonic()
    load.settle()
    took = time.monotonic() - start
    t.note("%d kills; all done %.1f s after the last" % (kills, took))
    in_time(took, TTL + 5)
    load.check(repeats=kills * CONCURRENCY, dead=kills)


@limit(36000 if FULL else 600)
def test_stopped(t):
    """SIGTERM under load: each ends within its timeout and a second; nothing is repeated."""
    stops = amount(20, 1000)
    redisd, load, crew = stage(t, 200000, 2)
    longest = 0
    with load.pushing(rate=3000):
        for _ in range(stops):
            pause(t.random.uniform(0.1, 0.3))
            victim = t.random.choice(crew)
            start = time.monotonic()
            victim.stop()
            longest = max(longest, time.monotonic() - start)
            victim.start()
            until(lambda: redisd.client.call("HLEN", "fettle:owners") == 2, what="it to be back")
    t.note("the longest stop: %.2f s" % longest)
    in_time(longest, TIMEOUT + 1)
    load.settle()
    load.check()


@limit(36000 if FULL else 600)
def test_paused(t):
    """SIGSTOP past the lease, then SIGCONT: what the paused one held is run by the other; the
    paused one settles none of it."""
    pauses = amount(5, 500)
    redisd, load, crew = stage(t, 200000, 2, log={"level": "info", "format": "json",
                                                  "jobs": "failures"}, linger=0.3, fails=20)
    with load.pushing(rate=500):
        for _ in range(pauses):
            pause(t.random.uniform(0.1, 0.4))
            victim = t.random.choice(crew)
            mark = victim.mark()
            owner = victim.find("lease.registered")[-1]["id"]
            victim.signal(signal.SIGSTOP)
            try:
                until(lambda: redisd.client.call("HEXISTS", "fettle:owners", owner) == 0, TTL + 5,
                      "the paused one to be fenced")
            finally:
                victim.signal(signal.SIGCONT)
            victim.wait_event("lease.fenced", since=mark)
            victim.wait_event("lease.registered", since=mark)
    load.settle()
    load.check(repeats=pauses * CONCURRENCY)
    for daemon in crew:
        held = {event["owner"] for event in daemon.find("lease.reaped")}
        equal(held <= {e["id"] for d in crew for e in d.find("lease.fenced")}, True, "only fenced")


@limit(3600 if FULL else 600)
def test_killer(t):
    """Jobs that kill their process, among innocent ones: each is in `dead` after three runs, and
    the innocent are all done."""
    killers = amount(3, 30)
    redisd, load, crew = stage(t, 200000, 2)
    probe, client = load.probe, redisd.client
    mine = [load.take() for _ in range(killers)]

    def revive():
        for daemon in crew:
            if daemon.process.poll() is not None:
                equal(daemon.wait_exit(), -signal.SIGKILL, "exit")
                daemon.start()
    with load.pushing(rate=1000):
        for count, i in enumerate(mine, 1):
            pause(0.1)
            client.call("LPUSH", "queue:default", job("Kill", [i], jid=jid(i)))
            load.acknowledged.add(i)
            until(lambda: revive() or client.call("ZCARD", "dead") >= count, 30,
                  "the killer in dead", pause=0.05)
    revive()
    until(lambda: revive() or not load.busy(), 60, "all jobs to end", pause=0.1)
    equal([probe[i] for i in mine], [3] * killers, "runs of the killers")
    equal(sorted(held for held in load.held("dead")), mine, "in dead")
    load.check(repeats=3 * killers * CONCURRENCY, dead=killers)


main(None if available() else "there is no redis-server")
