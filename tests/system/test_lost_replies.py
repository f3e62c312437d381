#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis has done what it was asked, and the answer is lost: nothing is, and nothing is done twice."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cutter import Cutter
from fettled import Fettled, job
from places import batches, places
from probe import Probe
from redisd import Redisd, available
from scripts import RECOVERIES, Owner, sha
from tap import equal, main
from wait import until

INFO = {"level": "info", "format": "json", "jobs": "failures"}
CLAIM, ZADD = b"fettle:token", b"zadd"
PARTS = (0, 0.5)  # of the answers: nothing has come, or half of it


def test_claims(t):
    """A claim without an answer has taken jobs that nobody knows of: the audit puts them back."""
    count = 400
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    cutter = t.use(Cutter(redisd.socket))
    redisd.client.call("LPUSH", "queue:default", *[job("Count", [i]) for i in range(count)])
    cutter.cut(CLAIM, 8)
    daemon = t.use(Fettled(cutter.url, concurrency=16, log=INFO,
                           **probe.settings()))
    until(lambda: all(probe.cells()), 60, "each job to run", pause=0.05)
    until(lambda: not places(redisd.client), 20, "no job left")
    equal(cutter.left(), 0, "cuts left")
    equal(sum(probe.cells()), count, "runs")
    assert daemon.find("job.returned", reason="lost reply"), "the audit found nothing"
    equal(daemon.find("job.refused"), [], "refused")


def test_order_is_kept(t):
    """What the audit puts back stands where it stood."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    texts = [job("Noop", jid="n%d" % i) for i in range(10)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    redisd.client.call("SADD", "paused", "default")
    cutter.cut(CLAIM, 1)  # before there is a daemon: of a paused queue it asks only once
    daemon = t.use(Fettled(cutter.url, concurrency=20, **probe.settings()))
    daemon.wait_ready()
    until(lambda: cutter.left() == 0, what="a claim of nothing to be cut")
    cutter.cut(CLAIM, 1)
    redisd.client.call("SREM", "paused", "default")
    daemon.wait_events(10, "job.done")
    tokens = {event["token"] for event in daemon.find("job.returned", reason="lost reply")}
    equal(len(tokens), 10, "jobs put back")
    runs = sorted(daemon.find("job.start"), key=lambda event: event["token"])
    equal([event["jid"] for event in runs], ["n%d" % i for i in range(10)], "order of the runs")
    until(lambda: not places(redisd.client), what="no job left")


def test_settles(t):
    """A settle without an answer is sent again under the same tokens: one member each."""
    count = 60
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    cutter.cut(ZADD, 5)
    daemon = t.use(Fettled(cutter.url, concurrency=4, log=INFO,
                           **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", *[job("Fail", ["x"], n=i, retry=25, retry_count=15)
                                                for i in range(count)])
    until(lambda: redisd.client.call("ZCARD", "retry") == count, 60, "all in retry", pause=0.05)
    until(lambda: list(places(redisd.client)) == ["retry"], 20, "no job anywhere else")
    equal(cutter.left(), 0, "cuts left")
    equal(len(daemon.wait_events(count, "job.failed")), count, "failures reported")
    equal(daemon.find("job.refused"), [], "refused")


def stage(t, start=True, **settings):
    redisd, probe = t.use(Redisd()), t.use(Probe(10000))
    cutter = t.use(Cutter(redisd.socket))
    daemon = t.use(Fettled(cutter.url, start=False, concurrency=4, log=INFO, **settings,
                           **probe.settings()))
    if start:
        daemon.start()
        daemon.wait_ready()
    return redisd.client, probe, cutter, daemon


def lose(cutter, **counts):
    """Of these scripts so many answers, before their first byte, and as many in their middle."""
    for name, count in counts.items():
        for part in PARTS:
            cutter.cut(sha(name), count, part)


def feed(client, probe, cutter, daemon, push):
    """Calls push(first), which returns the number after its last job, and waits until all are gone,
    until all is lost that is to be; at the end each has run once, and no end of a run was refused."""
    count = 0
    while cutter.left() > 0:
        count = push(count)
        until(lambda: not places(client), 60, "all jobs to end")
    until(lambda: not client.call("KEYS", "fettle:batch*"), what="the record to be empty")
    daemon.stop()
    equal(list(places(client)), [], "places with jobs")
    equal(set(probe.cells(0, count)), {1}, "runs of each of %d jobs" % count)
    equal(sum(probe.cells()), count, "runs")
    for event in "job.refused", "lease.fenced", "job.failed":
        equal(daemon.find(event), [], event)


def test_acks(t):
    """An ack without an answer is sent again: what it has told is not run again, nor refused."""
    client, probe, cutter, daemon = stage(t)

    def push(first):
        client.call("LPUSH", "queue:default", *[job("Count", [first + i]) for i in range(20)])
        return first + 20
    lose(cutter, ack=2)
    feed(client, probe, cutter, daemon, push)


def test_settled_successes(t):
    """The same of a success that is told by itself, since others of its batch still run."""
    client, probe, cutter, daemon = stage(t)

    def push(first):
        client.call("LPUSH", "queue:default", job("Linger", [first, 0.3]),
                    *[job("Count", [first + i]) for i in range(1, 4)])
        return first + 4
    lose(cutter, settle=2)
    feed(client, probe, cutter, daemon, push)


def test_ticks(t):
    """A beat without an answer: the lease goes on, and so do all runs."""
    client, probe, cutter, daemon = stage(t, lease_ttl=1)

    def push(first):
        client.call("LPUSH", "queue:default", *[job("Count", [first + i]) for i in range(20)])
        return first + 20
    lose(cutter, tick=2)
    feed(client, probe, cutter, daemon, push)


def test_promotions(t):
    """A promotion without an answer, or the look before it: each job comes to its queue once."""
    client, probe, cutter, daemon = stage(t, lease_ttl=1)

    def push(first):
        members = [job("Count", [first + i], queue="default") for i in range(8)]
        client.call("ZADD", "schedule", *[word for text in members for word in (1, text)])
        return first + 8
    lose(cutter, due=1, promote=1)
    feed(client, probe, cutter, daemon, push)


def test_reaping(t):
    """A dead daemon's batches come back once, in their order, and its death counts once."""
    client, probe, cutter, daemon = stage(t, start=False, lease_ttl=1)
    dead = Owner(client, register=False)
    dead.register(ttl=1000)
    texts = [job("Count", [i]) for i in range(30)]
    client.call("LPUSH", "queue:default", *texts)
    for _ in range(6):
        dead.claim(["default"], max_jobs=5)
    client.call("SADD", "paused", "default")
    lose(cutter, reap=2)
    cutter.cut(sha("fence"), 1)
    daemon.start()
    until(lambda: not batches(client), 60, "all to be put back")
    equal(cutter.left(), 0, "answers that are not lost yet")
    equal(client.call("LRANGE", "queue:default", 0, -1), [text.encode() for text in reversed(texts)],
          "the queue")
    equal([count.split()[0] for count in client.call("HVALS", RECOVERIES)], [b"1"] * 30, "deaths")
    client.call("SREM", "paused", "default")
    until(lambda: not places(client), 60, "all jobs to end")
    equal(probe.cells(0, 30), (1,) * 30, "runs")
    equal(daemon.find("job.refused"), [], "refused")


main(None if available() else "there is no redis-server")
