#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each job runs exactly once where nothing fails, counted by an effect outside fettle."""

import collections
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from places import places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import RELAXED, in_time, until

QUIET = {"level": "info", "format": "json", "jobs": "failures"}


def push(client, queues, first, last, bulk):
    """Jobs first…last-1, `bulk` in each LPUSH, over the queues in turn."""
    client.pipeline(
        ["LPUSH", "queue:" + queues[start // bulk % len(queues)]] +
        [job("Count", [i], jid="%024x" % i) for i in range(start, min(start + bulk, last))]
        for start in range(first, last, bulk))


def check(t, probe, client):
    """Each cell is 1, and no key holds a job."""
    until(lambda: all(probe.cells()), 60, "each job to run", pause=0.05)
    until(lambda: not places(client), 10, "no job left in Redis")
    equal(collections.Counter(probe.cells()), {1: probe.count}, "how often jobs ran")
    left = [key for key in client.call("KEYS", "fettle:*") if b":batch" in key or b":front" in key]
    equal(left, [], "in-flight keys")


def test_100_000_jobs(t):
    """Pushed while the daemon runs."""
    count = 5000 if RELAXED else 100000
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    daemon = t.use(Fettled(redisd, concurrency=200, log=QUIET, **probe.settings()))
    daemon.wait_ready()
    start = time.monotonic()
    push(redisd.client, ["default"], 0, count // 2, 100)
    push(redisd.client, ["default"], count // 2, count, 1)
    check(t, probe, redisd.client)
    t.note("%.0f jobs/s, pushing included" % (count / (time.monotonic() - start)))
    daemon.stop()
    check(t, probe, redisd.client)


def test_three_daemons_two_queues(t):
    """Several daemons that come and go in good order change nothing about it."""
    count = 3000 if RELAXED else 30000
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    queues = ["default", "low"]
    settings = dict(probe.settings(), queues=[{"name": name} for name in queues], log=QUIET)
    daemons = [t.use(Fettled(redisd, concurrency=n, **settings)) for n in (3, 50, 500)]
    for daemon in daemons:
        daemon.wait_ready()
    third = count // 3
    push(redisd.client, queues, 0, third, 7)
    daemons[1].stop()
    push(redisd.client, queues, third, 2 * third, 100)
    daemons[1].start()
    daemons[2].stop()
    push(redisd.client, queues, 2 * third, count, 1000)
    check(t, probe, redisd.client)


def test_failures_among_them(t):
    """Jobs that fail go to retry, each once; the others run once."""
    count = 1000 if RELAXED else 10000
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    daemon = t.use(Fettled(redisd, concurrency=100, **probe.settings(),
                           log={"level": "error", "format": "json", "jobs": "none"}))
    texts = [job("Fail", [str(i)], jid="%024x" % i) if i % 10 == 3 else job("Count", [i])
             for i in range(count)]
    redisd.client.pipeline(["LPUSH", "queue:default"] + texts[i:i + 50]
                           for i in range(0, count, 50))
    until(lambda: sum(probe.cells()) >= count * 9 // 10 and
          redisd.client.call("ZCARD", "retry") == count // 10, 60, "all jobs to end", pause=0.05)
    until(lambda: list(places(redisd.client)) == ["retry"], what="nothing but retry")
    equal([probe[i] for i in range(count)], [int(i % 10 != 3) for i in range(count)], "runs")
    daemon.stop()
    equal(redisd.client.call("ZCARD", "retry"), count // 10, "members of retry")


def where(client, jid):
    """The places in which it is, all looked at in one moment."""
    word = b'"%s"' % jid.encode()
    return [key for key, raws in places(client).items() if any(word in raw for raw in raws)]


def settled_alone(t, name, args, end):
    """A job that ends at once is claimed in one batch with one that goes on running: from its push
    until it is where it ends, 10 ms or less (the fastest of ten), and nobody waits for the other."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client, slot = redisd.client, 0
    daemon = t.use(Fettled(redisd, concurrency=20, shutdown_timeout=0.2, **probe.settings()))
    id, took = daemon.wait_ready()["id"], []
    for i in range(10):
        ends, goes_on = "ends-%d" % i, "goes-on-%d" % i
        start = time.monotonic()
        client.call("LPUSH", "queue:default", job(name, args, jid=ends),
                    job("Hold", [slot, 3600], jid=goes_on))
        until(lambda: where(client, ends) == end, what="the first to leave the record", pause=0)
        took.append(time.monotonic() - start)
        until(lambda: probe.slot(slot).running == i + 1, what="the other to run")
        (batch,) = where(client, goes_on)
        first, second = client.call("LRANGE", batch, 0, -1)
        assert first == id.encode() and goes_on.encode() in second, (first, second)
    t.note("left the record after %s ms" % " ".join("%.1f" % (1000 * s) for s in sorted(took)))
    in_time(min(took), 0.01, "the fastest")
    return probe, client


def test_a_success_leaves_the_record(t):
    """Soon, whatever the rest of its batch does."""
    probe, _ = settled_alone(t, "Count", [0], [])
    equal(probe[0], 10, "runs")


def test_a_failure_leaves_the_record(t):
    """The same of one that fails; what its next try needs is in retry at that moment."""
    _, client = settled_alone(t, "Fail", ["at once"], ["retry"])
    equal(client.call("ZCARD", "retry"), 10, "members of retry")


main(None if available() else "there is no redis-server")
