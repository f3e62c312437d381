#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server that fettled cannot work with is refused in plain words; one that only may be is tried."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from redisd import Redisd, available
from relay import Relay
from tap import equal, main
from wait import until

OLD = {rb"redis_version:[0-9.]+": b"redis_version:6.0.16"}
CLUSTER = {rb"redis_mode:standalone": b"redis_mode:cluster"}
VALKEY_CLUSTER = {rb"redis_mode:standalone": b"server_mode:cluster"}


def test_refused_at_the_start(t):
    """A version that is too old, or a Cluster: exit 1 with file, line and reason; nothing was claimed."""
    redisd = t.use(Redisd())
    relay = t.use(Relay(redisd.socket))
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["world"]))
    for changes, words in ((OLD, ("6.0.16", "needs Redis 6.2 or newer")),
                           (CLUSTER, ("Redis Cluster is not supported",)),
                           (VALKEY_CLUSTER, ("Redis Cluster is not supported",))):
        relay.changes = changes
        daemon = t.use(Fettled(relay.url_of(redisd)))
        equal(daemon.wait_exit(), 1, "exit code")
        said = [line for line in daemon.lines if line.startswith("%s:1: redis: " % daemon.config)]
        equal(len(said), 1, "lines")
        for word in words + (relay.socket,):
            assert word in said[0], said[0]
        equal(daemon.find("daemon.ready"), [], "ready")
        equal(daemon.find("daemon.stopping")[0]["reason"], "redis", "reason of the stop")
        equal(redisd.client.call("KEYS", "fettle:batch*"), [], "claims")


def test_no_longer_good_enough(t):
    """A daemon that works connects to a server that is too old (a failover): it says so, claims
    nothing, and goes on when there is another one. 6.2 is new enough."""
    redisd = t.use(Redisd())
    relay = t.use(Relay(redisd.socket))
    relay.changes = {key: b"redis_version:6.2.0" for key in OLD}
    daemon = t.use(Fettled(relay.url_of(redisd)))
    daemon.wait_ready()
    relay.changes = OLD
    mark = daemon.mark()
    redisd.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    until(lambda: [e for e in daemon.find("redis.lost", mark, link="work")
                   if "needs Redis 6.2 or newer" in e["reason"]], what="the reason")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["again"]))
    equal(daemon.find("redis.connected", mark, link="work"), [], "connections")
    relay.changes = {}
    daemon.wait_event("job.log", line="hello, again")


def test_a_server_that_does_not_tell(t):
    """Without a version, or with one that is none, it is tried."""
    redisd = t.use(Redisd())
    relay = t.use(Relay(redisd.socket))
    for version in b"other_version:1.0", b"redis_version:unstable":
        relay.changes = {key: version for key in OLD}
        with Fettled(relay.url_of(redisd)) as daemon:
            daemon.wait_ready()


def test_without_blmove(t):
    """Whoever refuses to let us wait is complained of, with the queue, and its jobs run all the same."""
    redisd = t.use(Redisd(rename_command='BLMOVE ""', user=[]))
    daemon = t.use(Fettled(redisd.open_url))
    event = daemon.wait_event("redis.error", command="BLMOVE", queue="default")
    assert "unknown command" in event["reason"].lower(), event
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["looked for"]))
    daemon.wait_event("job.log", line="hello, looked for")


main(None if available() else "there is no redis-server")
