#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bounds: of the process, of a queue, of a handler, and that a full one holds up nobody else."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLED, Fettled, command, job
from places import inflight, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import in_time, patient, until


def hold(client, queue, count, slot, seconds):
    client.call("LPUSH", "queue:" + queue, *[job("Hold", [slot, seconds]) for _ in range(count)])


def await_done(probe, slot, count, timeout=30):
    until(lambda: probe.slot(slot).done >= count, timeout, "%d runs in slot %d" % (count, slot))


def test_concurrency_of_the_process(t):
    """50 jobs of one second at concurrency 8: never more than 8 at once, all in under 8 s."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, concurrency=8, **probe.settings()))
    daemon.wait_ready()
    start = time.monotonic()
    hold(redisd.client, "default", 50, 0, 1)
    await_done(probe, 0, 50)
    took = time.monotonic() - start
    t.note("50 jobs of 1 s, 8 at once: %.2f s" % took)
    equal(probe.slot(0).most, 8, "most at once")
    in_time(took, 8)


def test_claims_no_more_than_it_can_run(t):
    """What is not running stays in its queue, where others see it."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    t.use(Fettled(redisd, concurrency=4, shutdown_timeout=0.2, **probe.settings()))
    hold(redisd.client, "default", 20, 0, 60)
    until(lambda: probe.slot(0).running == 4, what="4 runs")
    time.sleep(0.5)
    equal(inflight(redisd.client), 4, "jobs in flight")
    equal(sum(map(len, places(redisd.client).values())), 20, "jobs in Redis")


def test_concurrency_of_a_queue(t):
    """A queue's bound holds; the other queue has the rest, and is not held up."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    hold(redisd.client, "narrow", 12, 0, 0.3)
    hold(redisd.client, "wide", 40, 1, 0.3)
    start = time.monotonic()
    t.use(Fettled(redisd, concurrency=10, **probe.settings(),
                  queues=[{"name": "narrow", "concurrency": 2}, {"name": "wide"}]))
    await_done(probe, 1, 40)
    wide = time.monotonic() - start
    await_done(probe, 0, 12)
    took = time.monotonic() - start
    t.note("wide %.2f s, all %.2f s" % (wide, took))
    equal(probe.slot(0).most, 2, "most at once from the narrow queue")
    assert 5 <= probe.slot(1).most <= 10, probe.slot(1)
    in_time(wide, 3, "those that fit in")
    in_time(took, 4)


def test_concurrency_of_a_handler(t):
    """A handler's bound holds, whatever queue its jobs come from."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    t.use(Fettled(redisd, concurrency=16, **probe.settings(Hold=3),
                  queues=[{"name": "a"}, {"name": "b"}]))
    start = time.monotonic()
    hold(redisd.client, "a", 15, 0, 0.2)
    hold(redisd.client, "b", 15, 0, 0.2)
    await_done(probe, 0, 30)
    took = time.monotonic() - start
    t.note("30 jobs of 0.2 s, 3 at once: %.2f s" % took)
    equal(probe.slot(0).most, 3, "most at once")
    equal(probe.slot(0).started, 30, "runs")
    in_time(took, 6)


def test_bounded_class_holds_up_nobody(t):
    """1,000 jobs of a class bounded to one at a time, pushed before 1,000 free ones."""
    redisd, probe = t.use(Redisd()), t.use(Probe(1000))
    hold(redisd.client, "slow", 1000, 0, 0.1)
    for start in range(0, 1000, 100):
        redisd.client.call("LPUSH", "queue:default",
                           *[job("Count", [i]) for i in range(start, start + 100)])
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=1,
                           log={"level": "info", "format": "json", "jobs": "failures"},
                           **probe.settings(Hold=1),
                           queues=[{"name": "slow"}, {"name": "default"}]))
    daemon.wait_ready()
    start = time.monotonic()
    until(lambda: all(probe.cells()), 20, "the free jobs")
    took = time.monotonic() - start
    t.note("1,000 free jobs beside a full class: %.2f s, %d of the class done"
           % (took, probe.slot(0).done))
    equal(probe.slot(0).most, 1, "most at once of the bounded class")
    in_time(took, 5)


def test_bounded_class_in_the_same_queue(t):
    """The same with all 2,000 in one queue: the bounded class is kept at its work, one after the other,
    and the free ones pass those of it that are parked."""
    redisd, probe = t.use(Redisd()), t.use(Probe(1000))
    hold(redisd.client, "default", 1000, 0, 0.001)
    for start in range(0, 1000, 100):
        redisd.client.call("LPUSH", "queue:default",
                           *[job("Count", [i]) for i in range(start, start + 100)])
    daemon = t.use(Fettled(redisd, concurrency=16, **probe.settings(Hold=1),
                           log={"level": "info", "format": "json", "jobs": "failures"}))
    daemon.wait_ready()
    start = time.monotonic()
    until(lambda: all(probe.cells()), 40, "the free jobs")
    await_done(probe, 0, 1000, 40)
    took = time.monotonic() - start
    t.note("1,000 one after the other, of 1 ms each, and 1,000 free ones: %.2f s" % took)
    equal((probe.slot(0).most, probe.slot(0).started), (1, 1000), "bound and runs")
    equal(sum(probe.cells()), 1000, "runs of free jobs")
    until(lambda: not places(redisd.client), what="no job left")
    in_time(took, 8)


def test_parked_jobs_are_bounded_and_go_back(t):
    """No more than `concurrency` are parked, and a stop puts them back in their old order."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    texts = [job("Hold", [0, 60], n=i) for i in range(100)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=0.5, **probe.settings(Hold=1)))
    until(lambda: probe.slot(0).running == 1, what="one run")
    time.sleep(patient(0.5))
    assert inflight(redisd.client) <= 16, inflight(redisd.client)
    daemon.stop()
    got = redisd.client.call("LRANGE", "queue:default", 0, -1)
    equal([raw.decode() for raw in reversed(got)], texts, "the queue, next to run first")


def under_ulimit(t, redisd, ulimit, **settings):
    """A daemon that a shell with this limit has started."""
    daemon = t.use(Fettled(redisd, start=False, **settings))
    daemon.program = os.path.join(daemon.directory, "limited")
    with open(daemon.program, "w") as file:
        file.write("#!/bin/sh\nulimit %s && exec '%s' \"$@\"\n" % (ulimit, FETTLED))
    os.chmod(daemon.program, 0o700)
    daemon.start()
    daemon.wait_ready()
    return daemon


def test_low_soft_limit_of_open_files(t):
    """40 commands at once need 160 descriptors: the soft limit of 64 that it got is raised."""
    redisd = t.use(Redisd())
    daemon = under_ulimit(t, redisd, "-Sn 64", concurrency=40,
                          handlers=[command("Nap", ["/bin/sleep", "1"])])
    redisd.client.call("LPUSH", "queue:default", *[job("Nap")] * 40)
    daemon.wait_events(40, "job.done", 20)
    equal(daemon.find("job.failed") + daemon.find("daemon.limits"), [], "failures, warnings")


def test_too_few_open_files(t):
    """Where the limit cannot be raised it is said, and the jobs that find no descriptor are run
    later: none has failed."""
    redisd = t.use(Redisd())
    daemon = under_ulimit(t, redisd, "-n 80", concurrency=40,
                          handlers=[command("Nap", ["/bin/sleep", "0.5"])])
    said = daemon.wait_event("daemon.limits", files=80, commands=40)
    assert said["needed"] > 160, said
    redisd.client.call("LPUSH", "queue:default",
                       *[job("Nap", jid=str(n), retry=False) for n in range(40)])
    daemon.wait_events(40, "job.done", 90)
    short = daemon.find("job.failed", reason="later", error_class="CommandError")
    equal(daemon.find("job.failed") + daemon.find("job.dropped"), short, "failures")
    assert short and all(event["attempt"] == 1 for event in daemon.find("job.done")), short
    equal(len({event["jid"] for event in daemon.find("job.done")}), 40, "jobs that were run")


main(None if available() else "there is no redis-server")
