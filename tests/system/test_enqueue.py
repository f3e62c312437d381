#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""From LPUSH to a run: how soon, in which order, and from which client."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job, native
from places import places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import in_time, until


def test_log_line_within_100_ms(t):
    """A plain LPUSH to an idle daemon is run, and its log line is there within 100 ms."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    worst = 0.0
    for i in range(10):
        time.sleep(t.random.uniform(0.05, 0.3))
        pushed = time.monotonic()
        redisd.client.call("LPUSH", "queue:default", job("Hello", ["world %d" % i]))
        line = daemon.wait_event("job.log", line="hello, world %d" % i)
        worst = max(worst, line["_at"] - pushed)
    t.note("slowest of 10: %.1f ms" % (worst * 1000))
    in_time(worst, 0.1)


def test_log_line_names_the_run(t):
    """job.start, job.log and job.done carry the fields by which a run is found."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["x"], jid="0123456789abcdef01234567"))
    done = daemon.wait_event("job.done")
    for event in daemon.wait_event("job.start"), daemon.wait_event("job.log"), done:
        equal({k: event.get(k) for k in ("jid", "class", "queue", "attempt")},
              {"jid": "0123456789abcdef01234567", "class": "Hello", "queue": "default",
               "attempt": 1}, event["event"])
    tokens = {str(daemon.find(name)[0]["token"]) for name in ("job.start", "job.log", "job.done")}
    equal(len(tokens), 1, "different tokens in one run")
    assert 0 <= done["duration_ms"] < 10000, done


def test_bursts_over_queues(t):
    """A job that lands while the claim of another is under way is not left to the look that comes
    once a second."""
    rounds, names = 1000, ("a", "b", "c")
    redisd, probe = t.use(Redisd()), t.use(Probe(rounds * len(names)))
    daemon = t.use(Fettled(redisd, queues=[{"name": name} for name in names],
                           log={"level": "info", "format": "json", "jobs": "failures"},
                           **probe.settings()))
    daemon.wait_ready()
    worst = 0.0
    for i in range(rounds):
        first, pushed = i * len(names), time.monotonic()
        for k, name in enumerate(t.random.sample(names, len(names))):
            redisd.client.call("LPUSH", "queue:" + name, job("Count", [first + k]))
            pause = time.perf_counter() + t.random.uniform(0, 0.0003)
            while time.perf_counter() < pause:  # a sleep takes too long to hit a claim
                pass
        until(lambda: all(probe.cells(first, first + len(names))), what="a burst to run",
              pause=0.0005)
        worst = max(worst, time.monotonic() - pushed)
    t.note("slowest of %d bursts: %.1f ms" % (rounds, worst * 1000))
    in_time(worst, 0.5)


SHAPES = {
    "nothing but class and args": '{"class":"Noop","args":[]}',
    "no args": '{"class":"Noop"}',
    "args an object": '{"class":"Noop","args":{"a":1}}',
    "args a string": '{"class":"Noop","args":"[1,2]"}',
    "float seconds": '{"class":"Noop","args":[],"created_at":1795196280.0221856,'
                     '"enqueued_at":1795196280.5}',
    "integer milliseconds": '{"class":"Noop","args":[],"created_at":1795196810740,'
                            '"enqueued_at":1795196810741}',
    "a time as text": '{"class":"Noop","args":[],"enqueued_at":"2026-11-20T18:00:00Z"}',
    "at left in": '{"class":"Noop","args":[],"at":1795196280.5}',
    "retry as text": '{"class":"Noop","args":[],"retry":"true"}',
    "a UUID as jid": '{"class":"Noop","args":[],"jid":"0f4c1a52-6f0b-4f0f-9d58-1c6c34c2a6d1"}',
    "another queue's name": '{"class":"Noop","args":[],"queue":"elsewhere"}',
    "unknown members": '{"class":"Noop","args":[],"cattr":{"a":[1.10]},"tags":["x"],"locale":"de"}',
    "pretty-printed": json.dumps({"class": "Noop", "args": [1, {"a": None}]}, indent=4),
    "escapes and integers of 20 digits": '{"class":"N\\u006fop","args":["\\ud83d\\ude00",'
                                         '12345678901234567890]}',
    "a wrapper": '{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"Noop","args":[{"job_class":'
                 '"Noop","arguments":[]}]}',
    "space around": ' \t{"class" : "Noop" , "args" : [ ] } \r\n',
}


def test_shapes_of_other_clients(t):
    """What the client libraries of this layout push is run, each in its way."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    for name, text in SHAPES.items():
        since = daemon.mark()
        redisd.client.call("LPUSH", "queue:default", text)
        try:
            event = daemon.wait_event("job.done", since=since)
        except AssertionError:
            t.note("shape: " + name)
            raise
        equal(event["class"], "Noop", name)
    until(lambda: not places(redisd.client), what="no job left")


def test_large_jobs(t):
    """Many jobs just below max_payload: more bytes than one claim may take, and each runs once."""
    redisd, probe = t.use(Redisd()), t.use(Probe(40))
    for i in range(40):
        redisd.client.call("LPUSH", "queue:default", job("Count", [i], blob="x" * 1000000))
    t.use(Fettled(redisd, concurrency=64, **probe.settings()))
    until(lambda: all(probe.cells()), 20, "all runs")
    until(lambda: not places(redisd.client), what="no job left")
    equal(sum(probe.cells()), 40, "runs")


def test_bulk_push_in_order(t):
    """One LPUSH with many jobs: the first argument runs first; what is pushed at the right comes
    before all."""
    redisd, probe = t.use(Redisd()), t.use(Probe(101))
    redisd.client.call("LPUSH", "queue:default", *[job("Order", [i]) for i in range(100)])
    redisd.client.call("RPUSH", "queue:default", job("Order", [100]))
    t.use(Fettled(redisd, concurrency=1, **probe.settings()))
    until(lambda: all(probe.cells()), what="all runs")
    equal(probe[100], 1, "the job pushed at the right")
    equal(list(probe.cells(0, 100)), list(range(2, 102)), "order of the runs")


def test_strict_order_of_queues(t):
    """A queue that comes first in the configuration is emptied first."""
    redisd, probe = t.use(Redisd()), t.use(Probe(60))
    for i in range(60):
        queue = ("low", "default", "critical")[i % 3]
        redisd.client.call("LPUSH", "queue:" + queue, job("Order", [i]))
    t.use(Fettled(redisd, concurrency=1, **probe.settings(),
                  queues=[{"name": name} for name in ("critical", "default", "low")]))
    until(lambda: all(probe.cells()), what="all runs")
    order = sorted(range(60), key=probe.__getitem__)
    equal([i % 3 for i in order], [2] * 20 + [1] * 20 + [0] * 20, "queues in order of their runs")


def test_weights_share(t):
    """With weights 3 and 1 and one slot, about three of four runs are from the heavier queue."""
    redisd, probe = t.use(Redisd()), t.use(Probe(800))
    for name, start in ("heavy", 0), ("light", 400):
        redisd.client.call("LPUSH", "queue:" + name,
                           *[job("Order", [start + i]) for i in range(400)])
    t.use(Fettled(redisd, concurrency=1, order="weighted", **probe.settings(),
                  queues=[{"name": "heavy", "weight": 3}, {"name": "light", "weight": 1}]))
    until(lambda: all(probe.cells()), 30, "all runs")
    heavy = sum(1 for number in probe.cells(0, 400) if number <= 400)
    t.note("%d of the first 400 runs are from the heavy queue" % heavy)
    assert 240 <= heavy <= 360, heavy


def test_paused_queue(t):
    """A member of `paused` is left alone, also while others run; it runs when that ends."""
    redisd = t.use(Redisd())
    redisd.client.call("SADD", "paused", "default")
    daemon = t.use(Fettled(redisd, queues=[{"name": "default"}, {"name": "low"}]))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["paused"]))
    redisd.client.call("LPUSH", "queue:low", *[job("Noop", [i]) for i in range(20)])
    daemon.wait_events(20, "job.done", queue="low")
    time.sleep(1.5)
    equal(daemon.find("job.start", queue="default"), [], "runs of the paused queue")
    equal(sum(map(len, places(redisd.client).values())), 1, "jobs in Redis")
    redisd.client.call("SREM", "paused", "default")
    daemon.wait_event("job.done", 5, queue="default")


def test_twenty_queues(t):
    """Each of many queues is served: at once by its waiting connection, the others within about a
    second."""
    redisd = t.use(Redisd())
    names = ["q%d" % i for i in range(20)]
    daemon = t.use(Fettled(redisd, queues=[{"name": name} for name in names]))
    daemon.wait_ready()
    for name in t.random.sample(names, 20):
        since, pushed = daemon.mark(), time.monotonic()
        redisd.client.call("LPUSH", "queue:" + name, job("Noop"))
        took = daemon.wait_event("job.done", 5, since, queue=name)["_at"] - pushed
        in_time(took, 2.5)


def test_two_daemons_share(t):
    """Two daemons on one queue: each job runs once, and both work."""
    redisd, probe = t.use(Redisd()), t.use(Probe(60))
    daemons = [t.use(Fettled(redisd, concurrency=2, shutdown_timeout=0.2, **probe.settings()))
               for _ in range(2)]
    for daemon in daemons:
        daemon.wait_ready()
    for i in range(60):
        redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 0.02]))
    until(lambda: probe.slot(0).done == 60, what="60 runs")
    equal(probe.slot(0).started, 60, "runs begun")
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [1, 60])] * 4)
    until(lambda: probe.slot(1).running == 4, what="each of them to be full")


def test_scripts_flushed(t):
    """SCRIPT FLUSH under a running daemon costs nothing."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    for i in range(5):
        redisd.client.call("SCRIPT", "FLUSH")
        redisd.client.call("LPUSH", "queue:default", job("Hello", ["after %d" % i]))
        daemon.wait_event("job.log", line="hello, after %d" % i)
    redisd.client.call("SCRIPT", "FLUSH")
    redisd.client.call("LPUSH", "queue:default", job("Fail", ["flushed"]))
    daemon.wait_event("job.failed")
    until(lambda: list(places(redisd.client)) == ["retry"], what="the job in retry only")


def test_prefix(t):
    """All keys carry the configured prefix; nothing else is touched."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, start=False, handlers=[native("*")]))
    daemon.configure(redis={"url": redisd.open_url, "prefix": "app1:"})
    daemon.start()
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["wrong place"]))
    redisd.client.call("LPUSH", "app1:queue:default", job("Fail", ["right place"]))
    daemon.wait_event("job.failed")
    until(lambda: redisd.client.call("ZCARD", "app1:retry") == 1, what="the job in app1:retry")
    equal(redisd.client.call("LLEN", "queue:default"), 1, "jobs in the other queue")
    others = [key for key in redisd.client.call("KEYS", "*") if not key.startswith(b"app1:")]
    equal(others, [b"queue:default"], "keys without the prefix")


main(None if available() else "there is no redis-server")
