#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis is killed, goes back in time, forgets scripts and records of processes, under load."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, command, job
from load import FULL, Load, amount, pause
from places import batches, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import until

TTL, CONCURRENCY = 1, 20
INFO = {"level": "info", "format": "json", "jobs": "failures"}


def stage(t, cells, daemons, fails=100, **options):
    redisd, probe = t.use(Redisd(**options)), t.use(Probe(cells))
    crew = [t.use(Fettled(redisd, lease_ttl=TTL, concurrency=CONCURRENCY, log=INFO,
                          **probe.settings())) for _ in range(daemons)]
    for daemon in crew:
        daemon.wait_ready()
    return redisd, t.use(Load(t, redisd, probe, fails=fails)), crew


@limit(7200 if FULL else 300)
def test_killed_and_restarted(t):
    """With appendonly, always: work resumes within 2 s; nothing is lost, nobody fenced, nothing
    repeated."""
    redisd, load, crew = stage(t, 2000000 if FULL else 200000, 2, appendonly="yes")
    slowest = 0
    with load.pushing(rate=1000):
        for _ in range(amount(5, 200)):
            pause(t.random.uniform(0.2, 0.6))
            redisd.kill()
            pause(t.random.uniform(0, 1))
            redisd.start()
            slowest = max(slowest, load.resumed(2))
    t.note("work resumed after %.2f s at the latest" % slowest)
    load.settle()
    load.check()
    for daemon in crew:
        equal(daemon.find("lease.fenced"), [], "fenced")


@limit(3600 if FULL else 300)
def test_older_snapshot(t):
    """Redis comes back as it was a while ago, its token counter and records too: what was pushed
    since is gone, what is there is done, no settle hits a job that it does not mean."""
    redisd, load, _ = stage(t, 400000, 2, fails=10)
    again = 0
    for _ in range(amount(1, 20)):
        with load.pushing(rate=1000):
            pause(t.random.uniform(0.3, 0.6))
            kept, before = set(load.acknowledged), load.runs()
            redisd.client.call("SAVE")  # what is acknowledged from here on may be missing in it
            pause(t.random.uniform(0.3, 0.6))
        again += load.runs() - before
        redisd.restart()
        load.acknowledged.intersection_update(kept)
        load.settle()
        load.check(repeats=again)


def test_brought_back(t):
    """A failover that brings back what is settled: a success is settled again, and not run; a
    failure, whose entry in `retry` is gone with it, is run again, and not lost."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client = redisd.client
    fails = command("Slow", ["/bin/sh", "-c", "sleep 0.5; exit 1"])
    daemon = t.use(Fettled(redisd, **probe.settings(fails)))
    owner = daemon.wait_ready()["id"]
    for text, runs in (job("Hold", [0, 0.5]), 1), (job("Slow", jid="slow"), 2):
        mark = daemon.mark()
        client.call("LPUSH", "queue:default", text)
        kept = until(lambda: batches(client), what="a job in flight")
        (key, jobs), = kept.items()
        record = client.call("HGETALL", "fettle:batches:" + owner)
        until(lambda: not batches(client), what="its end")
        client.pipeline([["DEL", "retry"], ["HSET", "fettle:batches:" + owner] + record,
                         ["RPUSH", key] + jobs])
        client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: not batches(client), 20, "what was brought back to go")
        until(lambda: len(daemon.find("job.start", since=mark)) == runs, what="runs")
        until(lambda: list(places(client)) == ["retry"][:runs - 1], what="nothing in flight")
    equal(probe.slot(0).started, 1, "runs of the success")


@limit(3600 if FULL else 300)
def test_forgetful(t):
    """SCRIPT FLUSH, and a dashboard that prunes `processes`: nothing is lost or repeated."""
    redisd, load, crew = stage(t, 1000000 if FULL else 100000, 2)
    with load.pushing(rate=2000):
        for _ in range(amount(20, 1000)):
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
