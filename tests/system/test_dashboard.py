#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The records that dashboards of the layout read: every field that one of them would fail on."""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from places import now
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import until


def record(client, name):
    flat = client.call("HGETALL", name)
    return {key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2])}


def test_process_record(t):
    """The member of `processes`, its hash and the object in `info`."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, concurrency=7, queues=[{"name": "default"}, {"name": "low"}]))
    name = daemon.wait_ready()["id"]
    host, pid, nonce = name.rsplit(":", 2)
    equal((pid, len(nonce)), (str(daemon.pid), 12), "identity")
    until(lambda: redisd.client.call("SISMEMBER", "processes", name) and
          redisd.client.call("EXISTS", name), what="the process record")
    got = record(redisd.client, name)
    equal((got["concurrency"], got["busy"], got["quiet"]), ("7", "0", "false"), "fields")
    assert abs(float(got["beat"]) - now(redisd.client)) < 20 and "." in got["beat"], got
    assert int(got["rtt_us"]) >= 0 and int(got["rss"]) > 1000, got
    assert 0 < redisd.client.call("TTL", name) <= 60, "the record does not expire"
    info = json.loads(got["info"])
    equal((info["hostname"], info["pid"], info["identity"], info["concurrency"], info["embedded"]),
          (host, daemon.pid, name, 7, False), "info")
    equal(sorted(info["queues"]), ["default", "low"], "queues")
    assert isinstance(info["started_at"], float), info
    assert isinstance(info["tag"], str) and isinstance(info["labels"], list), info
    assert isinstance(info["version"], str) and isinstance(info["weights"], list), info
    for capsule in info["capsules"].values():
        assert capsule["concurrency"] == 7 and capsule["mode"] in ("strict", "weighted"), capsule
        equal(sorted(capsule["weights"]), ["default", "low"], "weights of a capsule")
    daemon.stop()
    equal([redisd.client.call("SCARD", "processes"), redisd.client.call("EXISTS", name),
           redisd.client.call("EXISTS", name + ":work")], [0, 0, 0], "records after a clean exit")


def test_running_jobs(t):
    """Each run is in ID:work, its job as a string; `busy` counts them."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, shutdown_timeout=0.1, **probe.settings()))
    name = daemon.wait_ready()["id"]
    text = job("Hold", [0, 60], jid="0123456789abcdef01234567")
    redisd.client.call("LPUSH", "queue:default", text, job("Hold", [0, 60]))
    until(lambda: redisd.client.call("HLEN", name + ":work") == 2, 15, "two running jobs")
    work = [json.loads(value) for value in record(redisd.client, name + ":work").values()]
    for one in work:
        equal(one["queue"], "default", "queue")
        assert isinstance(one["run_at"], int) and abs(one["run_at"] - now(redisd.client)) < 30, one
    assert text in [one["payload"] for one in work], work
    until(lambda: record(redisd.client, name)["busy"] == "2", 10, "busy 2")
    assert 0 < redisd.client.call("TTL", name + ":work") <= 60, "it does not expire"


def test_a_hundred_runs_are_shown(t):
    """More runs than that are counted and not listed."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, concurrency=150, shutdown_timeout=0.1, **probe.settings()))
    name = daemon.wait_ready()["id"]
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 60], n=i) for i in range(150)])
    until(lambda: probe.slot(0).running == 150, what="150 runs")
    until(lambda: record(redisd.client, name).get("busy") == "150", 15, "busy 150")
    until(lambda: redisd.client.call("HLEN", name + ":work") == 100, 10, "100 listed runs")


def test_quiet_is_shown(t):
    """A quiet process says so, and stays in the list."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    name = daemon.wait_ready()["id"]
    daemon.signal(signal.SIGTSTP)
    until(lambda: record(redisd.client, name).get("quiet") == "true", 15, "quiet in the record")
    equal(redisd.client.call("SISMEMBER", "processes", name), 1, "member of processes")


def test_pruned_by_others(t):
    """A dashboard that prunes `processes` costs nothing: the record comes back, no job is touched."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings()))
    name = daemon.wait_ready()["id"]
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 1]))
    until(lambda: probe.slot(0).running == 1, what="one run")
    redisd.client.call("DEL", "processes", name, name + ":work")
    until(lambda: probe.slot(0).done == 1, what="its end")
    until(lambda: redisd.client.call("SISMEMBER", "processes", name), 15, "the record")
    equal(daemon.find("lease.fenced"), [], "fenced")


main(None if available() else "there is no redis-server")
