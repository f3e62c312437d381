#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis behind sentinels: the master is found at the start and after each failover, under load and
without a restart."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, Fettled, job
from load import FULL, Load, amount
from probe import Probe
from redisd import PASSWORD, Redisd, available
from resp import Redis, RedisError
from sentinels import NAME, Sentinels, free_port
from tap import equal, limit, main
from wait import in_time, patience, until

INFO = {"level": "info", "format": "json", "jobs": "failures"}


CONCURRENCY = 20


class Replicated(Redis):
    """To it a push is one that a replica has, too."""

    def call(self, *words):
        reply = super().call(*words)
        if words[0] == "LPUSH" and super().call("WAIT", 1, 200) < 1:
            raise RedisError("NOREPLICAS")
        return reply


class Master:
    """Whoever is it at the moment, for a Load."""

    def __init__(self, store):
        self._store = store

    @property
    def client(self):
        return self._store.master().client

    def connect(self, timeout):
        address = self._store.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        if address is None:
            raise OSError("no sentinel answers")
        return Replicated(self._store.servers[int(address[1])].socket, timeout=timeout)


def resumed(probe):
    """Until more runs are counted."""
    before = probe.runs()
    until(lambda: probe.runs() > before + 5, 30, "work to resume", pause=0.02)


def fail_over(t, store, probe):
    """Kills the master and brings it back as a replica of its successor; the port of that."""
    first = store.master_port()
    until(lambda: b"state=online" in store.servers[first].client.call("INFO", "replication"), 60,
          "a replica", pause=0.1)
    before = probe.runs()
    until(lambda: probe.runs() > before + 400, 30, "load")
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
    """The master is killed: what survived is run or in `retry`, by the same process, with no restart;
    only what was claimed or unsettled at that moment may have run again."""
    store, probe = t.use(Sentinels()), t.use(Probe(1000000 if FULL else 100000))
    daemon = t.use(store.fettled(concurrency=CONCURRENCY, lease_ttl=5, log=INFO,
                                 **probe.settings()))
    daemon.wait_ready()
    masters = [store.master_port()]
    load = t.use(Load(t, Master(store), probe))
    with load.pushing(rate=4000):
        for _ in range(amount(1, 20)):
            masters.append(fail_over(t, store, probe))
    load.settle()
    load.check(repeats=2 * CONCURRENCY * (len(masters) - 1))
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


class Liar:
    """A sentinel that answers AUTH and the question as it is told, once each, and hangs up; when there
    is nothing left to tell, it tells the truth."""

    def __init__(self, truth):
        self.truth, self.lies = truth, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def tell_everything(self):
        """Both answers, cut at each byte; errors; what is no answer: all twice, which is more than four
        connections can be told before one of them has asked 16 sentinels in vain."""
        login, master = self.truth
        wrong = [b"-%s error\r\n" % word for word in (b"NOAUTH", b"NOPERM", b"LOADING", b"ERR")]
        odd = [b"*-1\r\n", b"*0\r\n", b"$-1\r\n", b":1\r\n", b"*1\r\n$1\r\nx\r\n", b"no answer\r\n",
               b"*2\r\n:1\r\n:2\r\n", b"*2\r\n$1\r\nx\r\n$5\r\n99999\r\n",
               b"*2\r\n$1\r\nx\r\n$1\r\n0\r\n"]
        self.lies = 2 * ([(login[:n],) for n in range(len(login))] + [(one,) for one in wrong] +
                         [(login, master[:n]) for n in range(len(master))] +
                         [(login, one) for one in wrong + odd])

    def _run(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            answers = self.lies.pop() if self.lies else self.truth
            with client, contextlib.suppress(OSError):
                for answer in answers:
                    client.recv(4096)
                    client.sendall(answer)


@limit(120)
def test_whatever_a_sentinel_answers(t):
    """Cut off at each byte, errors, what is no answer: it asks on until there is one, at the start and
    when it connects again."""
    port = free_port()
    redisd = t.use(Redisd(port=str(port)))
    address = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)
    liar = t.use(Liar((b"+OK\r\n", address)))
    daemon = t.use(Fettled("", start=False))
    path = os.path.join(redisd.directory, "password")
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(PASSWORD)
    daemon.configure(redis={"sentinels": ["127.0.0.1:%d" % liar.port] * 16, "master": "jobs",
                            "user": "fettled", "password_file": path,
                            "sentinel_password_file": path})
    liar.tell_everything()
    daemon.start()
    for i in range(2):
        daemon.wait_ready()
        redisd.client.call("LPUSH", "queue:default", job("Hello", ["%d" % i]))
        daemon.wait_event("job.log", line="hello, %d" % i)
        equal(liar.lies, [], "what was not asked")
        if i == 0:
            liar.tell_everything()
            redisd.client.call("CLIENT", "KILL", "TYPE", "normal")
    said = {event["reason"] for event in daemon.find("redis.lost")}
    assert any(reason.startswith("sentinel 127.0.0.1:%d: " % liar.port) for reason in said), said


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
