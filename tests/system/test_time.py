#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Jobs that wait for their time: schedule and retry."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from places import member, now, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import in_time, patience, until


def test_schedule(t):
    """ZADD schedule <now+2> JOB runs within 0.5 s of its time, and not before."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    start, due = time.monotonic(), now(redisd.client) + 2
    redisd.client.call("ZADD", "schedule", repr(due), job("Hello", ["on time"], queue="default"))
    line = daemon.wait_event("job.log", line="hello, on time")
    late = line["_at"] - start - 2
    t.note("%.0f ms after its time" % (late * 1000))
    assert late > -0.05, "early by %.0f ms" % (-late * 1000)
    in_time(late, 0.5)
    until(lambda: not places(redisd.client), what="no job left")


def test_sooner_than_the_rest(t):
    """A job scheduled before one that is already waited for is on time as well."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    base = now(redisd.client)
    redisd.client.call("ZADD", "schedule", repr(base + 3600), job("Hello", ["in an hour"]))
    time.sleep(1.2)
    start, due = time.monotonic(), now(redisd.client) + 1.3
    redisd.client.call("ZADD", "schedule", repr(due), job("Hello", ["soon"]))
    late = daemon.wait_event("job.log", line="hello, soon")["_at"] - start - 1.3
    assert late > -0.05, late
    in_time(late, 0.5)
    equal(redisd.client.call("ZCARD", "schedule"), 1, "members of schedule")


def test_many_due_at_once(t):
    """3,000 due members, some overdue for long: each runs once."""
    redisd, probe = t.use(Redisd()), t.use(Probe(3000))
    base = now(redisd.client)
    for start in range(0, 3000, 500):
        words = []
        for i in range(start, start + 500):
            words += [repr(base + 1 if i % 2 else base - 86400), job("Count", [i], queue="default")]
        redisd.client.call("ZADD", "schedule", *words)
    t.use(Fettled(redisd, concurrency=50, **probe.settings(),
                  log={"level": "info", "format": "json", "jobs": "failures"}))
    until(lambda: all(probe.cells()), 20, "each job to run", pause=0.05)
    until(lambda: not places(redisd.client), what="no job left")
    equal(sum(probe.cells()), 3000, "runs")


def test_retry_due(t):
    """A job in retry that falls due runs again with its count raised; its first failure's time
    stays."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Fail", ["again"], jid="due"))
    first, _ = until(lambda: member(redisd.client, "retry", "due"), what="the first failure")
    raw = redisd.client.call("ZRANGE", "retry", 0, -1)[0]
    redisd.client.call("ZADD", "retry", "XX", repr(now(redisd.client) + 0.3), raw)
    second, score = until(
        lambda: (lambda m: m if m and m[0]["retry_count"] == 1 else None)(
            member(redisd.client, "retry", "due")), what="the second failure")
    equal(second["failed_at"], first["failed_at"], "failed_at")
    assert second["retried_at"] > first["failed_at"], second
    assert 15.9 <= score - second["retried_at"] <= 36.1, score - second["retried_at"]
    equal([e["attempt"] for e in daemon.wait_events(2, "job.failed")], [1, 2], "attempts")


def test_to_its_queue_byte_for_byte(t):
    """A promoted job is at the back of its queue, known in `queues`, with a new enqueued_at and
    without `at`; the rest of its bytes are as they were."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    text = ('{ "class":"Elsewhere" ,"args":[1.10, 12345678901234567890],"queue":"other",'
            '"at":1700000000.5,\t"x":{"at":1},"enqueued_at":1 }')
    redisd.client.call("LPUSH", "queue:other", "already here")
    redisd.client.call("ZADD", "schedule", repr(now(redisd.client) - 1), text)
    until(lambda: redisd.client.call("LLEN", "queue:other") == 2, what="the job in its queue")
    got = redisd.client.call("LINDEX", "queue:other", 0).decode()
    parsed = json.loads(got)
    assert abs(parsed["enqueued_at"] - now(redisd.client)) < patience(20), parsed
    assert "at" not in parsed, parsed
    equal(parsed["x"], {"at": 1}, "a nested at")
    for part in '{ "class":"Elsewhere" ,"args":[1.10, 12345678901234567890],"queue":"other",', \
            '\t"x":{"at":1},':
        assert part in got, got
    equal(redisd.client.call("SISMEMBER", "queues", "other"), 1, "known in queues")


def test_members_that_are_no_jobs(t):
    """They go to dead as they are, and hold up nothing."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    past = now(redisd.client) - 10
    odd = [b"no json", b"[1]", b"\xff\x00", b'{"class":"Hello","queue":"in valid!"}']
    for raw in odd:
        redisd.client.call("ZADD", "retry", repr(past), raw)
    redisd.client.call("ZADD", "retry", repr(past + 1), job("Hello", ["behind them"]))
    daemon.wait_event("job.log", line="hello, behind them")
    until(lambda: redisd.client.call("ZCARD", "dead") == 4, what="4 in dead")
    equal(sorted(redisd.client.call("ZRANGE", "dead", 0, -1)), sorted(odd), "dead, byte for byte")
    until(lambda: list(places(redisd.client)) == ["dead"], what="nothing but dead")
    equal(len(daemon.wait_events(4, "promote.failed")), 4, "events")


def test_promoters_limits_are_nobodys(t):
    """A job within its own daemon's max_payload is retried, whoever promotes it: one that would
    refuse it has the lock, and has another one's queues."""
    redisd = t.use(Redisd())
    client = redisd.client
    narrow = t.use(Fettled(redisd, queues=[{"name": "small"}], max_payload=1000))
    promoter = narrow.wait_ready()["id"].encode()
    until(lambda: client.call("GET", "fettle:promoter") == promoter, what="a promoter")
    wide = t.use(Fettled(redisd, queues=[{"name": "big"}], max_payload=8 << 20))
    client.call("LPUSH", "queue:big", job("Fail", ["no"], jid="big", pad="x" * (3 << 20)))
    first, _ = until(lambda: member(client, "retry", "big"), what="the first failure")
    client.call("ZADD", "retry", "XX", 0, client.call("ZRANGE", "retry", 0, -1)[0])
    wide.wait_event("job.failed", jid="big", attempt=2)
    again, _ = until(lambda: member(client, "retry", "big"), what="the second failure")
    equal((first["retry_count"], again["retry_count"]), (0, 1), "counts")
    equal((client.call("GET", "fettle:promoter"), narrow.find("promote.failed")), (promoter, []))


def test_dead_is_trimmed_when_asked(t):
    """dead.max_jobs and dead.max_age drop the oldest, and say so; by default nothing is dropped."""
    redisd = t.use(Redisd())
    base = now(redisd.client)
    for i in range(10):
        redisd.client.call("ZADD", "dead", repr(base - 1000 * (10 - i)), job("X", [], jid="d%d" % i))
    keeping = t.use(Fettled(redisd))
    keeping.wait_ready()
    time.sleep(2)
    equal(redisd.client.call("ZCARD", "dead"), 10, "dead without limits")
    keeping.stop()
    daemon = t.use(Fettled(redisd, dead={"max_jobs": 4, "max_age": 0}))
    until(lambda: redisd.client.call("ZCARD", "dead") <= 4, 15, "dead to be trimmed")
    dropped = daemon.wait_events(6, "job.dropped", reason="trimmed")
    equal(sorted(e["jid"] for e in dropped), ["d%d" % i for i in range(6)], "what was dropped")
    daemon.stop()
    daemon.configure(dead={"max_jobs": 0, "max_age": 2500})
    daemon.start()
    until(lambda: redisd.client.call("ZCARD", "dead") == 2, 15, "dead to be trimmed by age")


def test_two_promoters(t):
    """Two daemons never promote a job twice."""
    redisd, probe = t.use(Redisd()), t.use(Probe(500))
    daemons = [t.use(Fettled(redisd, **probe.settings())) for _ in range(2)]
    for daemon in daemons:
        daemon.wait_ready()
    base = now(redisd.client)
    words = []
    for i in range(500):
        words += [repr(base + t.random.uniform(0, 1.5)), job("Count", [i], queue="default")]
    redisd.client.call("ZADD", "schedule", *words)
    daemons[0].kill()
    until(lambda: all(probe.cells()), 20, "each job to run", pause=0.05)
    equal(redisd.client.call("ZCARD", "schedule"), 0, "members of schedule")


main(None if available() else "there is no redis-server")
