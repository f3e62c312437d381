#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis has done what it was asked, and the answer is lost: nothing is, and nothing is done twice."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cutter import Cutter
from fettled import Fettled, job
from places import places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import until

INFO = {"level": "info", "format": "json", "jobs": "failures"}
CLAIM, SETTLE = b"fettle:token", b"zadd"


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
    cutter.cut(SETTLE, 5)
    daemon = t.use(Fettled(cutter.url, concurrency=4, log=INFO,
                           **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", *[job("Fail", ["x"], n=i) for i in range(count)])
    until(lambda: redisd.client.call("ZCARD", "retry") == count, 60, "all in retry", pause=0.05)
    until(lambda: list(places(redisd.client)) == ["retry"], 20, "no job anywhere else")
    equal(cutter.left(), 0, "cuts left")
    equal(len(daemon.wait_events(count, "job.failed")), count, "failures reported")
    equal(daemon.find("job.refused"), [], "refused")


main(None if available() else "there is no redis-server")
