#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis is killed, goes back in time, forgets scripts and records of processes, under load."""

import collections
import json
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, command, job
from load import FULL, Load, amount, pause, queues, room
from places import LISTS, batches, inflight, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import until

TTL, CONCURRENCY = 1, 20
INFO = {"level": "info", "format": "json", "jobs": "failures"}


def stage(t, cells, daemons, fails=100, **options):
    redisd, probe = t.use(Redisd(**options)), t.use(Probe(cells))
    crew = [t.use(Fettled(redisd, lease_ttl=TTL, concurrency=CONCURRENCY, log=INFO,
                          queues=queues(n), **probe.settings())) for n in range(daemons)]
    for daemon in crew:
        daemon.wait_ready()
    return redisd, t.use(Load(t, redisd, probe, fails=fails, own=daemons)), crew


@limit(7200 if FULL else 600)
def test_killed_and_restarted(t):
    """With appendonly, always: work resumes within 2 s; nothing is lost, nobody fenced, nothing
    repeated."""
    kills, slowest = amount(5, 200), 0
    redisd, load, crew = stage(t, room(1000, kills, 2), 2, appendonly="yes")
    with load.pushing(rate=1000):
        for _ in range(kills):
            pause(t.random.uniform(0.2, 0.6))
            redisd.kill()
            pause(t.random.uniform(0, 1))
            back = time.monotonic()
            redisd.start()
            slowest = max(slowest, load.resumed(2, back))
    t.note("work resumed after %.2f s at the latest" % slowest)
    load.settle()
    load.check()
    for daemon in crew:
        equal(daemon.find("lease.fenced"), [], "fenced")


def waiting(directory):
    """The numbers of the jobs that were in a queue or a front when that snapshot was made."""
    with Redisd(start=False) as reader:
        shutil.copy(os.path.join(directory, "dump.rdb"), reader.directory)
        reader.start()
        return [int(json.loads(raw)["jid"], 16)
                for raws in places(reader.client, (), LISTS[1:]).values() for raw in raws]


@limit(3600 if FULL else 600)
def test_older_snapshot(t):
    """Redis comes back as it was a while ago, its token counter and records too: what was pushed
    since is gone, what is there is done, no settle hits a job that it does not mean. What was in flight
    then is known to who had it; only what was still waiting has run again."""
    times, waited = amount(1, 20), collections.Counter()
    redisd, load, _ = stage(t, room(1000, times, 2), 2, fails=10)
    for _ in range(times):
        with load.pushing(rate=1000):
            pause(t.random.uniform(0.3, 0.6))
            load.push(200)  # so that some wait
            kept = set(load.acknowledged)
            redisd.client.call("SAVE")  # what is acknowledged from here on may be missing in it
            pause(t.random.uniform(0.3, 0.6))
        waited.update(waiting(redisd.directory))
        redisd.restart()
        load.acknowledged.intersection_update(kept)
        load.settle()
        load.check(repeats=lambda i: waited[i])
    t.note("%d waited" % sum(waited.values()))


GATE = "while [ ! -e %s ]; do sleep 0.02; done; exit $(cat %s)"


class Gates:
    """Commands that wait until they are told how to end."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="fettle-gates-")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._directory.cleanup()

    def handlers(self, *names):
        paths = {name: os.path.join(self._directory.name, name) for name in names}
        return [command(name, ["/bin/sh", "-c", GATE % (path, path)])
                for name, path in paths.items()]

    def open(self, name, code):
        path = os.path.join(self._directory.name, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write("%d" % code)
        os.rename(path + ".new", path)


def sets(client):
    return [client.call("ZRANGE", key, 0, -1, "WITHSCORES") for key in ("retry", "dead")]


def bring_back(t, last_ends_before):
    """Four jobs of one batch end, but for the last perhaps; then Redis is as it was when all four
    were running: what had ended is as it was told the first time, and nothing has run again."""
    redisd, gates = t.use(Redisd()), t.use(Gates())
    daemon = t.use(Fettled(redisd, handlers=gates.handlers("Bad", "Good", "Dead", "Last")))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", *[
        job(name, jid=name, retry=25, retry_count=15) for name in ("Bad", "Good", "Dead", "Last")])
    daemon.wait_events(4, "job.start")
    (held,) = batches(redisd.client).values()
    equal(len(held), 4, "jobs in one batch")
    redisd.client.call("SAVE")
    for name, code in ("Bad", 1), ("Good", 0), ("Dead", 65):
        gates.open(name, code)
    if last_ends_before:
        gates.open("Last", 0)
    left = 0 if last_ends_before else 1
    until(lambda: inflight(redisd.client) == left, what="their ends")
    before = sets(redisd.client)
    equal([len(one) for one in before], [2, 2], "one in retry, and one in dead")
    redisd.restart()
    until(lambda: inflight(redisd.client) == left and sets(redisd.client) == before, 20,
          "the same ends again")
    gates.open("Last", 0)
    until(lambda: sorted(places(redisd.client)) == ["dead", "retry"], what="the last to end")
    equal(sets(redisd.client), before, "the sets at the end")
    until(lambda: not redisd.client.call("KEYS", "fettle:batch*"), what="the record to be empty")
    for event, count in ("job.start", 4), ("job.failed", 1), ("job.dead", 1), ("job.done", 2):
        equal(len(daemon.wait_events(count, event)), count, event)


def test_brought_back(t):
    """A failover that brings back a batch all of which is settled: it is settled again, not run."""
    bring_back(t, True)


def test_brought_back_beside_a_run(t):
    """The same while one of the batch is still running: its end takes nothing along."""
    bring_back(t, False)


@limit(3600 if FULL else 600)
def test_forgetful(t):
    """SCRIPT FLUSH, and a dashboard that prunes `processes`: nothing is lost or repeated."""
    times = amount(20, 1000)
    redisd, load, crew = stage(t, room(2000, times, 0.2), 2)
    with load.pushing(rate=2000):
        for _ in range(times):
            redisd.client.call("SCRIPT", "FLUSH")
            for member in redisd.client.call("SMEMBERS", "processes"):
                redisd.client.call("SREM", "processes", member)
                redisd.client.call("DEL", member, member + b":work")
            pause(t.random.uniform(0, 0.2))
    load.settle()
    load.check()
    for daemon in crew:
        equal(daemon.find("lease.fenced") + daemon.find("job.refused"), [], "fenced or refused")
        until(lambda: redisd.client.call("EXISTS", daemon.find("daemon.ready")[0]["id"]) == 1, 15,
              "the record of a process to come back")


main(None if available() else "there is no redis-server")
