#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis behind sentinels: the master is found at the start and after each failover, under load and
without a restart."""

import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, job
from load import FULL, amount
from places import places
from probe import Probe
from redisd import available
from resp import RedisError
from sentinels import Sentinels
from tap import equal, limit, main
from wait import in_time, patience, until

INFO = {"level": "info", "format": "json", "jobs": "failures"}


class Producer:
    """Pushes jobs to whoever is the master, and knows which of them a replica has got, too."""

    def __init__(self, store, count):
        self.kept = set()
        self._store, self._count, self._end = store, count, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._end.set()
        self._thread.join()

    def _run(self):
        client = None
        for i in range(0, self._count, 10):
            if self._end.wait(0.001):
                break
            some = range(i, i + 10)
            try:
                client = client or self._store.master().connect(timeout=2)
                client.call("LPUSH", "queue:default",
                            *[job("Count", [n], jid="%024x" % n) for n in some])
                if client.call("WAIT", 1, 200) >= 1:
                    self.kept.update(some)
            except (OSError, RedisError):
                client = None
                self._end.wait(0.02)


def resumed(probe):
    """Until more runs are counted."""
    before = sum(probe.cells())
    until(lambda: sum(probe.cells()) > before + 5, 30, "work to resume", pause=0.02)


def fail_over(t, store, probe):
    """Kills the master and brings it back as a replica of its successor; the port of that."""
    first = store.master_port()
    until(lambda: b"state=online" in store.servers[first].client.call("INFO", "replication"), 60,
          "a replica", pause=0.1)
    before = sum(probe.cells())
    until(lambda: sum(probe.cells()) > before + 200, 30, "load")
    killed = time.monotonic()
    store.servers[first].kill()
    store.await_other(first)
    elected = time.monotonic()
    resumed(probe)
    took = time.monotonic() - elected
    t.note("elected after %.1f s, work resumed %.1f s later" % (elected - killed, took))
    in_time(took, 5)
    store.servers[first].start()
    return store.master_port()


@limit(3600 if FULL else 600)
def test_failover_under_load(t):
    """The master is killed: what survived is run, by the same process, with no restart."""
    count = 10000000 if FULL else 100000
    store, probe = t.use(Sentinels()), t.use(Probe(count))
    daemon = t.use(store.fettled(concurrency=20, lease_ttl=5, log=INFO, **probe.settings()))
    daemon.wait_ready()
    masters = [store.master_port()]
    producer = t.use(Producer(store, count))
    for _ in range(amount(1, 20)):
        masters.append(fail_over(t, store, probe))
    producer.stop()
    until(lambda: all(probe[i] for i in producer.kept), 30, "each job that survived to run",
          pause=0.1)
    until(lambda: not places(store.master().client), 20, "no job left", pause=0.1)
    cells = probe.cells()
    t.note("%d jobs survived, %d runs, %d ran more than once"
           % (len(producer.kept), sum(cells), sum(1 for n in cells if n > 1)))
    found = {event["redis"] for event in daemon.find("redis.connected")}
    equal(found, {"redis://127.0.0.1:%d/0" % port for port in masters}, "masters")


def test_no_sentinel_knows(t):
    """It says so, waits, and begins when one does."""
    store = t.use(Sentinels())
    settings = store.settings()
    daemon = t.use(store.fettled(start=False))
    daemon.configure(redis=dict(settings, master="other"))
    daemon.start()
    lost = daemon.wait_event("redis.lost", link="work")
    assert "sentinel 127.0.0.1:" in lost["reason"], lost
    until(lambda: [e for e in daemon.find("redis.lost") if "does not know" in e["reason"]], 10,
          "the sentinel that is there to be asked")
    equal(store.ask("SENTINEL", "MONITOR", "other", "127.0.0.1", str(store.master_port()), "1"),
          b"OK", "what the sentinel says")
    daemon.wait_ready()


def test_a_sentinel_that_is_wrong(t):
    """A replica is not worked on, whatever a sentinel says."""
    store = t.use(Sentinels())
    replica = [port for port in store.servers if port != store.master_port()][0]
    daemon = t.use(store.fettled(start=False))
    store.ask("SENTINEL", "SET", "jobs", "down-after-milliseconds", "60000")
    daemon.configure(redis=dict(store.settings(), master="wrong"))
    # It follows a replica to its master only when it has asked it, which takes it a moment.
    store.ask("SENTINEL", "MONITOR", "wrong", "127.0.0.1", str(replica), "1")
    daemon.start()
    until(lambda: [e for e in daemon.find("redis.lost", link="work")
                   if "not the master" in e["reason"]], what="it to be found out")
    equal(daemon.find("redis.connected", redis="redis://127.0.0.1:%d/0" % replica), [], "connected")


def test_the_operators_command(t):
    """fettle finds the master by the same configuration."""
    store = t.use(Sentinels())
    daemon = t.use(store.fettled())
    daemon.wait_ready()
    for words in ["enqueue", "Hello", '["by sentinels"]'], ["stats"]:
        done = subprocess.run([FETTLE, "--config", daemon.config] + words, capture_output=True,
                              text=True, timeout=patience(20))
        equal(done.returncode, 0, "exit code of %s: %s" % (words, done.stderr))
    daemon.wait_event("job.log", line="hello, by sentinels")
    daemon.configure(redis=dict(store.settings(), master="other"))
    done = subprocess.run([FETTLE, "--config", daemon.config, "stats"], capture_output=True,
                          text=True, timeout=patience(20))
    assert done.returncode == 1 and '"other"' in done.stderr, done.stderr


def untold(daemon, secret):
    """Not in the log, nor in what others can see of the process."""
    told = [line for line in daemon.lines if secret in line]
    for name in "cmdline", "environ":
        with open("/proc/%d/%s" % (daemon.pid, name), "rb") as file:
            told += [name] if secret.encode() in file.read() else []
    equal(told, [], "where the password of the sentinel is told")


def fettle(daemon, *words):
    return subprocess.run([FETTLE, "--config", daemon.config, *words], capture_output=True, text=True,
                          timeout=patience(60))


@limit(120)
def test_a_sentinel_with_a_password(t):
    """Of its own, beside that of the master: at the start, after a failover, by the command."""
    secret = "of-the-sentinel"
    store = t.use(Sentinels(password=secret))
    equal(Sentinels.ask(store, "PING"), b"PONG", "the sentinel, asked with its password")
    daemon = t.use(store.fettled())
    daemon.wait_ready()
    first = store.master_port()
    store.servers[first].kill()
    store.await_other(first)
    done = fettle(daemon, "enqueue", "Hello", '["behind a password"]')
    equal(done.returncode, 0, "exit code: %s" % done.stderr)
    daemon.wait_event("job.log", line="hello, behind a password")
    untold(daemon, secret)


@limit(120)
def test_a_wrong_password_for_the_sentinel(t):
    """Said with the sentinel's name and its own words; the daemon waits. The same without any."""
    secret, wrong = "of-the-sentinel", "of-somebody-else"
    store = t.use(Sentinels(password=secret))
    daemon = t.use(store.fettled(start=False))
    right = store.settings()
    for path, answer in (store.secret("wrong", wrong), "WRONGPASS"), (None, "NOAUTH"):
        daemon.configure(redis={name: value for name, value in
                                dict(right, sentinel_password_file=path).items() if value})
        mark = daemon.mark()
        daemon.start()
        said = "sentinel 127.0.0.1:%d: %s" % (store.port, answer)
        until(lambda: [event for event in daemon.find("redis.lost", since=mark, link="work")
                       if said in event["reason"]], what=said)
        untold(daemon, secret)
        untold(daemon, wrong)
        done = fettle(daemon, "stats")
        assert done.returncode == 1 and answer in done.stderr, done
        assert wrong not in done.stderr + done.stdout, done
        equal(daemon.find("daemon.ready", since=mark), [], "ready")
        if path is not None:  # the right one comes with a reload
            daemon.reload(redis=right)
            daemon.wait_ready()
        daemon.stop()


main(None if available() else "there is no redis-server")
