#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Daemons that are killed, stopped and paused under load."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job, native
from load import FULL, Load, amount, jid, pause, queues, room
from probe import Probe
from records import Deaths, Fenced, check_fenced
from redisd import Redisd, available
from tap import equal, limit, main, thrice
from wait import in_time, until

TTL, CONCURRENCY, TIMEOUT = 1, 20, 0.5
DEADLY = native("Kill", "probe", isolation="task")
LONG = 5    # seconds that a run lasts which is there to be cut off
SPELL = 60  # kills through which one is spared


def stage(t, cells, daemons, jobs="none", **options):
    redisd, probe = t.use(Redisd()), t.use(Probe(cells))
    crew = [t.use(Fettled(redisd, lease_ttl=TTL, concurrency=CONCURRENCY, shutdown_timeout=TIMEOUT,
                          log={"level": "info", "format": "json", "jobs": jobs}, queues=queues(n),
                          **probe.settings(DEADLY))) for n in range(daemons)]
    load = t.use(Load(t, redisd, probe, own=daemons, **options))
    for daemon in crew:
        daemon.wait_ready()
    return redisd, load, crew


@limit(360000 if FULL else 600)
def test_killed(t):
    """SIGKILL at random instants: nothing is lost, only what was in flight runs again, and each time others
    have it lease_ttl + 5 s after it, or after the return of whoever is there longest. One is spared for a
    while, then another, then none."""
    kills = amount(100, 10000)
    redisd, load, crew = stage(t, room(3000, kills, 0.2), 3)
    deaths = t.use(Deaths(redisd, crew))
    with load.pushing(rate=3000):
        for n in range(kills):
            pause(t.random.uniform(0.01, 0.2))
            spared = (crew + [None])[n // SPELL % 4]
            deaths.kill(t.random.choice([one for one in crew if one is not spared]))
        load.occupy(0, LONG)
        deaths.kill(crew[0])
    deaths.wait(TTL + 5)
    load.settle()
    t.note("%d kills, %d held something, taken over after %.1f s at the latest" % (
        kills, deaths.holding, deaths.longest[0]))
    assert deaths.holding > 0
    deaths.check(load)


@limit(36000 if FULL else 600)
@thrice
def test_stopped(t):
    """SIGTERM under load, while some runs last longer than the timeout: each ends within that and a second;
    what was cut off is back, and nothing is repeated."""
    stops = amount(20, 1000)
    redisd, load, crew = stage(t, room(3000, stops, 1.5), 2)
    longest = 0
    with load.pushing(rate=3000):
        for _ in range(stops):
            pause(t.random.uniform(0.1, 0.3))
            n = t.random.randrange(2)
            victim = crew[n]
            load.occupy(n, LONG)
            start = time.monotonic()
            victim.stop()
            took = time.monotonic() - start
            in_time(took, TIMEOUT + 1)
            longest = max(longest, took)
            victim.start()
            until(lambda: redisd.client.call("HLEN", "fettle:owners") == 2, what="it to be back")
    cut = sum(len(daemon.find("job.returned", reason="shutdown", **{"class": "Linger"})) for daemon in crew)
    t.note("the longest of %d stops: %.2f s; %d runs were cut off" % (stops, longest, cut))
    assert cut > 0
    load.settle()
    load.check()


@limit(36000 if FULL else 600)
def test_paused(t):
    """SIGSTOP past the lease, then SIGCONT: what the paused one held is run by the other; the
    paused one settles none of it."""
    pauses, fences = amount(5, 500), []
    redisd, load, crew = stage(t, room(500, pauses, 5), 2, jobs="all", linger=0.3, fails=20)
    with load.pushing(rate=500):
        for _ in range(pauses):
            pause(t.random.uniform(0.1, 0.4))
            n = t.random.randrange(2)
            victim = crew[n]
            load.occupy(n, LONG)
            mark = victim.mark()
            victim.pause()
            try:
                fences.append(Fenced(redisd, victim))
                fences[-1].wait()
            finally:
                victim.signal(signal.SIGCONT)
            victim.wait_event("lease.fenced", since=mark, id=fences[-1].owner)
            victim.wait_event("lease.registered", since=mark)
    load.settle()
    refused = check_fenced(fences, load)
    t.note("%d pauses; %d ends were refused" % (pauses, refused))
    assert refused > 0
    for daemon in crew:
        held = {event["owner"] for event in daemon.find("lease.reaped")}
        equal(held <= {e["id"] for d in crew for e in d.find("lease.fenced")}, True, "only fenced")


@limit(3600 if FULL else 600)
def test_killer(t):
    """Jobs that kill their process, among innocent ones: each is in `dead` after three runs, and
    the innocent are all done."""
    killers = amount(3, 30)
    redisd, load, crew = stage(t, room(1000, killers, 20), 2)
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
