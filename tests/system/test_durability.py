#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What Redis may lose is said when the daemon starts, and with require_durable refused."""

import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLED, Fettled, job
from proxy import Proxy
from redisd import Redisd, available
from tap import equal, main
from wait import patience, until

# Settings of the server, and what is said about them.
SETTINGS = (
    (dict(appendonly="yes", appendfsync="always"), []),
    (dict(no_appendfsync_on_rewrite="yes"), [("no-appendfsync-on-rewrite", "yes")]),
    (dict(appendfsync="everysec"),
     [("appendfsync", "everysec"), ("no-appendfsync-on-rewrite", "yes")]),
    (dict(no_appendfsync_on_rewrite="no"), [("appendfsync", "everysec")]),
    (dict(appendonly="yes", appendfsync="no"), [("appendfsync", "no")]),
    (dict(appendonly="no"), [("appendonly", "no")]),
    (dict(maxmemory="1gb", maxmemory_policy="allkeys-lru"),
     [("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")]),
    (dict(maxmemory_policy="volatile-ttl"), [("appendonly", "no")]),
    (dict(maxmemory="0", maxmemory_policy="allkeys-lru"), [("appendonly", "no")]))


def told(daemon, since=0):
    return [(e["setting"], e["value"]) for e in daemon.find("redis.durability", since)]


def configure(redisd, settings):
    for name, value in settings.items():
        redisd.client.call("CONFIG", "SET", name.replace("_", "-"), value)


def test_told_in_plain_words(t):
    """Each setting by which jobs may be lost has a warning of its own; a durable server has none."""
    redisd = t.use(Redisd())
    for settings, expected in SETTINGS:
        configure(redisd, settings)
        with Fettled(redisd.open_url) as daemon:
            daemon.wait_ready()
            equal(told(daemon), expected, str(settings))
            assert all(e["level"] == "warning" and e["reason"]
                       for e in daemon.find("redis.durability"))


def test_a_replica(t):
    """A failover may lose what was not replicated yet: said, and no reason to refuse."""
    redisd = t.use(Redisd(appendonly="yes", port=free_port(), repl_diskless_sync_delay="0"))
    port = redisd.client.call("CONFIG", "GET", "port")[1].decode()
    t.use(Redisd(replicaof="127.0.0.1 " + port))
    until(lambda: b"state=online" in redisd.client.call("INFO", "replication"), 30, "a replica")
    daemon = t.use(Fettled(redisd.open_url, require_durable=True))
    daemon.wait_ready()
    equal(told(daemon), [("replicas", "1")], "told")


def free_port():
    """Of this moment; whoever takes it in between makes the test fail, and is told so."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def test_once_for_each_change(t):
    """A new connection to the same store says nothing new; one to a store that is different does."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd.open_url))
    daemon.wait_ready()
    for settings in {}, dict(appendonly="yes", appendfsync="everysec"):
        configure(redisd, settings)
        mark = daemon.mark()
        redisd.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        daemon.wait_event("redis.connected", since=mark, link="work")
        equal(told(daemon, mark), [("appendfsync", "everysec")] if settings else [], str(settings))


def test_a_server_that_does_not_tell(t):
    """Without the right to read the configuration INFO tells most; what it does not is called unknown."""
    redisd = t.use(Redisd(appendonly="yes", maxmemory="1gb", maxmemory_policy="allkeys-lru"))
    for refusal, expected in (("-config", [("appendfsync", "unknown"),
                                           ("maxmemory-policy", "allkeys-lru")]),
                              ("-info", [("appendonly", "unknown"),
                                         ("maxmemory-policy", "unknown")])):
        redisd.client.call("ACL", "SETUSER", "fettled", refusal)
        with Fettled(redisd) as daemon:
            daemon.wait_ready()
            equal(told(daemon), expected, refusal)


def test_a_server_that_is_busy_just_then(t):
    """BUSY or LOADING is no answer: it is asked again, nothing false is said, and nothing refused."""
    redisd = t.use(Redisd(appendonly="yes"))
    proxy = t.use(Proxy(redisd.socket))
    url = redisd.open_url.replace(redisd.socket, proxy.socket)
    for error in "-BUSY Redis is busy running a script", "-LOADING Redis is loading":
        proxy.order("error " + error)
        with Fettled(url, require_durable=True) as daemon:
            daemon.wait_ready()
            equal(told(daemon), [], error)
        asked = {name: kind.answered for name, kind in proxy.report().kinds.items()}
        assert asked.get("CONFIG") == 1, asked


def test_refused(t):
    """With require_durable: exit 1 with file, line and reasons; nothing was claimed; and on a store that may not lose jobs it starts."""
    redisd = t.use(Redisd(maxmemory="1gb", maxmemory_policy="allkeys-lru"))
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["world"]))
    daemon = t.use(Fettled(redisd.open_url, require_durable=True))
    equal(daemon.wait_exit(), 1, "exit code")
    said = [line for line in daemon.lines if "require_durable: " in line]
    with open(daemon.config) as file:
        number = [i for i, line in enumerate(file, 1) if "require_durable" in line][0]
    equal(len(said), 1, "lines")
    for part in "%s:%d: " % (daemon.config, number), "appendonly = no", "allkeys-lru":
        assert part in said[0], said[0]
    equal(daemon.find("daemon.ready"), [], "ready")
    equal(daemon.find("daemon.stopped")[0]["exit"], 1, "exit that is logged")
    equal(redisd.client.call("KEYS", "fettle:batch*"), [], "claims")
    equal(redisd.client.call("LLEN", "queue:default") +
          redisd.client.call("LLEN", "fettle:front:default"), 1, "jobs that wait")
    configure(redisd, dict(appendonly="yes", maxmemory_policy="noeviction",
                           no_appendfsync_on_rewrite="yes"))
    daemon.start()
    equal(daemon.wait_exit(), 1, "exit code")
    assert any("lose jobs: no-appendfsync-on-rewrite = yes" in line for line in daemon.lines)
    configure(redisd, dict(no_appendfsync_on_rewrite="no"))
    daemon.start()
    daemon.wait_event("job.log", line="hello, world")


def test_dev_is_quiet(t):
    """The private server of --dev keeps nothing, and that is meant."""
    process = subprocess.Popen([FETTLED, "--dev"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            process.terminate()
    equal(process.wait(patience(20)), 0, "exit code")
    assert not [line for line in lines if "redis.durability" in line], lines


main(None if available() else "there is no redis-server")
