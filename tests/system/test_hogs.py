#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Jobs in C that keep their thread: they cost their own slot, and nobody else waits for them."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import HELLO, Fettled, job, native
from places import places
from redisd import Redisd, available
from tap import equal, main
from wait import RELAXED, in_time, until

QUEUES = [{"name": "hogs"}, {"name": "quick"}]


def faults(**members):
    return [native(name, "faults", **members) for name in ("Spin", "BlockInSyscall")]


def pool_threads(daemon):
    """How many threads the blocking pool of the jobs runtime has."""
    found = 0
    for task in os.listdir("/proc/%d/task" % daemon.pid):
        try:
            with open("/proc/%d/task/%s/comm" % (daemon.pid, task)) as file:
                found += file.read().startswith("jobs/b")
        except OSError:
            pass  # it has gone
    return found


def push(client, name, *jids, seconds):
    client.call("LPUSH", "queue:hogs", *[job(name, [seconds], jid=jid) for jid in jids])


def pick_up(daemon, client, count, pause):
    """Jobs on the other queue, one after the other: the longest time from push to start."""
    longest = 0
    for i in range(count):
        pushed = time.monotonic()
        client.call("LPUSH", "queue:quick", job("Noop", [], jid="quick%d" % i))
        longest = max(longest, daemon.wait_event("job.done", jid="quick%d" % i)["_at"] - pushed)
        time.sleep(pause)
    return longest


def test_hogs_hold_up_nobody(t):
    """More hogs than workers, some spin, some sleep in a call: a job on another queue is picked up,
    the lease is renewed, each class is told of once and has threads of its own from then on."""
    redisd = t.use(Redisd())
    client = redisd.client
    daemon = t.use(Fettled(redisd, concurrency=32, workers=2, lease_ttl=1, queues=QUEUES,
                           handlers=faults() + HELLO))
    owner = daemon.wait_ready()["id"]
    beat = int(client.call("HGET", "fettle:beat", owner))
    spinners, sleepers = ["spin%d" % i for i in range(3)], ["sleep%d" % i for i in range(8)]
    push(client, "Spin", *spinners, seconds=1.2)
    push(client, "BlockInSyscall", *sleepers, seconds=1.2)
    longest = pick_up(daemon, client, 20, 0.03)
    t.note("picked up within %.0f ms" % (longest * 1000))
    in_time(longest, 0.5, "the pick-up")
    daemon.wait_events(11, "job.done", queue="hogs")
    in_flight = daemon.find("job.start", queue="hogs")
    equal(sorted(e["jid"] for e in in_flight), sorted(spinners + sleepers), "starts, each once")
    assert int(client.call("HGET", "fettle:beat", owner)) > beat + 1, "the lease was not renewed"
    for name, jids in (("Spin", spinners), ("BlockInSyscall", sleepers)):
        stalled = daemon.find("task.stalled", **{"class": name})
        equal(len(stalled), 1, "stalls of %s" % name)
        assert stalled[0]["jid"] in jids and stalled[0]["queue"] == "hogs", stalled
        assert stalled[0]["token"] > 0 and stalled[0]["duration_ms"] >= 100, stalled
        assert RELAXED or stalled[0]["backtrace"], stalled
        equal(len(daemon.find("class.blocking", **{"class": name})), 1, "moves of %s" % name)
    assert RELAXED or "faults.so" in daemon.find("task.stalled", **{"class": "Spin"})[0]["backtrace"]
    since = daemon.mark()
    push(client, "Spin", "again", seconds=0.4)
    until(lambda: pool_threads(daemon) > 0, what="a thread of the pool")
    daemon.wait_event("job.done", jid="again")
    equal(daemon.find("task.stalled", since=since), [], "stalls of the next run")
    equal(daemon.find("lease.fenced"), [], "fenced")


def test_hogs_in_numbers(t):
    """A row of hogs is spawned at once onto one worker: those that had not begun when the first was
    noticed go to the pool, within their bound, each once."""
    redisd = t.use(Redisd())
    client = redisd.client
    push(client, "BlockInSyscall", *["b%d" % i for i in range(30)], seconds=0.4)
    daemon = t.use(Fettled(redisd, concurrency=40, workers=1, queues=QUEUES,
                           handlers=[native("BlockInSyscall", "faults", concurrency=10)] + HELLO))
    daemon.wait_ready()
    longest = pick_up(daemon, client, 5, 0.02)
    in_time(longest, 1, "the pick-up")
    done = daemon.wait_events(30, "job.done", queue="hogs")
    equal(len({e["jid"] for e in done}), 30, "hogs that ran")
    equal(len(daemon.find("job.start", queue="hogs")), 30, "starts")
    begun = min(e["_at"] for e in daemon.find("job.start", queue="hogs"))
    took = max(e["_at"] for e in done) - begun
    assert took > 1.15, "30 of 0.4 s by 10 at once took %.2f s" % took
    in_time(took, 3, "three rounds of 0.4 s")
    until(lambda: not places(client), what="no job left")


def test_blocking_by_configuration(t):
    """blocking = true: in the pool from the first run on; false: told of, and left where it is."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, queues=QUEUES, handlers=[
        native("Spin", "faults", blocking=False),
        native("BlockInSyscall", "faults", blocking=True)] + HELLO))
    daemon.wait_ready()
    push(redisd.client, "Spin", "spin", seconds=0.4)
    daemon.wait_event("job.done", jid="spin")
    daemon.wait_event("task.stalled", jid="spin")
    equal(pool_threads(daemon), 0, "threads of the pool")
    push(redisd.client, "BlockInSyscall", "block", seconds=0.4)
    until(lambda: pool_threads(daemon) == 1, what="a thread of the pool")
    daemon.wait_event("job.done", jid="block")
    push(redisd.client, "Spin", "spin2", seconds=0.2)
    daemon.wait_event("job.done", jid="spin2")
    equal(len(daemon.find("task.stalled")), 1, "stalls")
    equal(daemon.find("class.blocking"), [], "moves")


main(None if available() else "there is no redis-server")
