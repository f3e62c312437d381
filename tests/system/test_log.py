#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The log, when whoever reads it does not."""

import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import child
from fettled import FETTLED, Fettled, job
from redisd import Redisd, available
from tap import equal, main
from wait import until

JOBS = 8000  # 16,000 lines of about 200 bytes: more than may wait


def start_unread(t, redisd):
    """A daemon whose stderr nobody reads, and the end to read it from, when it has run JOBS."""
    settings = t.use(Fettled(redisd, start=False))
    reader, writer = os.pipe()
    daemon = child.start([FETTLED, "--config", settings.config], stdin=subprocess.DEVNULL,
                         stderr=writer)
    os.close(writer)
    t.defer(daemon.wait)
    t.defer(daemon.kill)
    stream = t.use(os.fdopen(reader, "rb"))
    texts = [job("Noop", [i]) for i in range(1000)]
    for _ in range(JOBS // len(texts)):
        redisd.client.call("LPUSH", "queue:default", *texts)
    until(lambda: int(redisd.client.call("GET", "stat:processed") or 0) == JOBS, 30, "jobs to run")
    return daemon, stream


def test_nobody_reads(t):
    """stderr is a pipe that is full: jobs run, the lease is kept up, SIGTERM ends it with 0."""
    redisd = t.use(Redisd())
    client = redisd.client
    daemon, _ = start_unread(t, redisd)

    def beat():
        return client.call("HVALS", "fettle:beat")
    first = beat()
    equal(len(first), 1, "owners")
    until(lambda: beat() != first, 15, "another beat")
    daemon.send_signal(signal.SIGTERM)
    equal(child.finish(daemon, 10), 0, "exit code")
    equal(client.call("EXISTS", "fettle:owners"), 0, "owners left")


def test_late_reader(t):
    """What could not be written in time is counted by a line in its place; the rest is complete."""
    daemon, stream = start_unread(t, t.use(Redisd()))
    events = []
    for line in stream:
        events.append(json.loads(line))
        if events[-1]["event"] == "log.dropped":  # from here on there is room again
            daemon.send_signal(signal.SIGTERM)
    equal(child.finish(daemon, 10), 0, "exit code")
    gaps = [i for i, event in enumerate(events) if event["event"] == "log.dropped"]
    equal(len(gaps), 1, "gaps")
    assert events[gaps[0] - 1]["event"].startswith("job."), events[gaps[0] - 1]
    told = sum(1 for event in events if event["event"] in ("job.start", "job.done"))
    others = events[gaps[0]]["count"] - (2 * JOBS - told)
    assert 0 <= others < 20, "%d lines dropped that are not of jobs" % others
    equal(events[-1]["event"], "daemon.stopped", "the last line")


main(None if available() else "there is no redis-server")
