#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Redis is killed, restarted, late, hung, full or wrong: work resumes and nothing is lost."""

import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from load import pause
from notify import Notify
from places import places
from probe import Probe
from proxy import Proxy
from redisd import Redisd, available
from resp import RedisError
from tap import equal, main
from wait import in_time, until

INFO = {"level": "info", "format": "json", "jobs": "failures"}


class Producer:
    """Pushes Count jobs one after the other from a thread, through outages; knows which LPUSHes were
    answered."""

    def __init__(self, redisd, count):
        self.acknowledged = set()
        self._redisd, self._count = redisd, count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _run(self):
        client, i = None, 0
        while i < self._count and not self._stop.is_set():
            try:
                client = client or self._redisd.connect(timeout=2)
                client.call("LPUSH", "queue:default", job("Count", [i], jid="%024x" % i))
                self.acknowledged.add(i)
            except (OSError, RedisError):
                client = None
                self._stop.wait(0.02)
            i += 1
            self._stop.wait(0.0005)


def resumed(probe):
    """The time until more runs are counted."""
    before, start = sum(probe.cells()), time.monotonic()
    until(lambda: sum(probe.cells()) > before, 10, "work to resume", pause=0.01)
    return time.monotonic() - start


def test_killed_and_restarted_under_load(t):
    """With appendonly, always: work resumes within 2 s of its return, each acknowledged job is run."""
    count = 20000
    redisd, probe = t.use(Redisd(appendonly="yes")), t.use(Probe(count))
    daemon = t.use(Fettled(redisd, concurrency=100, log=INFO, **probe.settings()))
    daemon.wait_ready()
    producer = t.use(Producer(redisd, count))
    for down in 0.1, 1.5:
        until(lambda: sum(probe.cells()) > 100, what="load")
        time.sleep(t.random.uniform(0.2, 0.5))
        redisd.kill()
        time.sleep(down)
        redisd.start()
        took = resumed(probe)
        t.note("down for %.1f s, resumed %.2f s after its return" % (down, took))
        in_time(took, 2)
    producer.stop()
    pushed = producer.acknowledged
    until(lambda: all(probe[i] for i in pushed), 20, "each acknowledged job to run", pause=0.1)
    until(lambda: not places(redisd.client), 20, "no job left")
    cells = probe.cells()
    t.note("%d jobs acknowledged, %d runs, %d jobs ran twice or more"
           % (len(pushed), sum(cells), sum(1 for n in cells if n > 1)))
    assert daemon.find("redis.lost") and len(daemon.find("redis.connected")) > 2
    equal(daemon.find("lease.fenced"), [], "fenced")


def test_long_runs_across_a_restart(t):
    """Runs that began before the outage and ended in it are settled after it, and not repeated."""
    redisd, probe = t.use(Redisd(appendonly="yes")), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 1], n=i) for i in range(6)],
                       job("Fail", ["meanwhile"]), job("Fail", ["meanwhile"]))
    until(lambda: probe.slot(0).running == 6, what="6 runs")
    redisd.kill()
    until(lambda: probe.slot(0).done == 6, what="6 ends while Redis is away")
    redisd.start()
    until(lambda: list(places(redisd.client)) == ["retry"], 10, "nothing but retry")
    equal(redisd.client.call("ZCARD", "retry"), 2, "members of retry")
    equal(probe.slot(0).started, 6, "runs begun")
    equal(daemon.find("job.refused"), [], "refused settles")


def test_absent_at_start(t):
    """It says that Redis is not there, keeps trying, and is READY when it comes."""
    redisd = t.use(Redisd(start=False))
    manager = t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=manager.environment))
    lost = daemon.wait_event("redis.lost")
    assert lost["reason"] and redisd.socket in lost["redis"], lost
    time.sleep(1.5)
    equal(daemon.find("daemon.ready"), [], "ready without Redis")
    equal(daemon.process.poll(), None, "exit without Redis")
    manager.mark()
    with_systemd = manager.messages
    if with_systemd:
        equal(manager.find("READY"), None, "READY without Redis")
        assert manager.find("STATUS", lambda text: "edis" in text), manager.messages
        assert manager.find("EXTEND_TIMEOUT_USEC"), manager.messages
    redisd.start()
    start = time.monotonic()
    daemon.wait_ready()
    took = time.monotonic() - start
    t.note("ready %.2f s after Redis came" % took)
    in_time(took, 2.5)
    if with_systemd:
        manager.wait("READY", "1")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["late"]))
    daemon.wait_event("job.log", line="hello, late")


def test_stop_while_redis_is_absent(t):
    """SIGTERM before Redis ever came: exit 0 at once, there is nothing to settle."""
    redisd = t.use(Redisd(start=False))
    daemon = t.use(Fettled(redisd))
    daemon.wait_event("redis.lost")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    in_time(took, 2)


def test_stop_after_redis_has_gone(t):
    """The registration is left to its lease. A Redis that says nothing has answered no error. (Exit 3 is
    right, too: a claim may be on its way when Redis goes.)"""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, shutdown_timeout=1))
    daemon.wait_ready()
    redisd.kill()
    for link in "work", "beat", "side":
        daemon.wait_event("redis.lost", link=link)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_exit() in (0, 3), daemon.exit_code
    equal(daemon.find("redis.error"), [], "errors of Redis")


def test_hung_redis(t):
    """A server that accepts and does not answer is noticed by a deadline; work resumes after it."""
    redisd, probe = t.use(Redisd()), t.use(Probe(2))
    daemon = t.use(Fettled(redisd, lease_ttl=3, **probe.settings()))
    daemon.wait_ready()
    redisd.signal(signal.SIGSTOP)
    daemon.wait_event("redis.lost", 15)
    redisd.signal(signal.SIGCONT)
    redisd.client.call("LPUSH", "queue:default", job("Count", [0]))
    until(lambda: probe[0] == 1, 10, "the job to run")


def test_connections_killed(t):
    """CLIENT KILL of all its connections, again and again under load: each job is run."""
    count = 2000
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    t.use(Fettled(redisd, concurrency=20, log=INFO, **probe.settings()))
    for start in range(0, count, 100):
        redisd.client.call("LPUSH", "queue:default",
                           *[job("Count", [i]) for i in range(start, start + 100)])
        if start % 500 == 0:
            redisd.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.01)
    until(lambda: all(probe.cells()), 30, "each job to run", pause=0.05)
    until(lambda: not places(redisd.client), 20, "no job left")
    equal(sum(probe.cells()), count, "runs: a lost connection repeats nothing")


def test_out_of_memory(t):
    """With maxmemory reached nothing is lost or repeated: a full Redis can be emptied, and what it
    refuses is done when there is room."""
    redisd, probe = t.use(Redisd()), t.use(Probe(50))
    t.use(Fettled(redisd, log=INFO, **probe.settings())).wait_ready()
    redisd.client.call("SADD", "paused", "default")
    time.sleep(1.2)
    redisd.client.call("LPUSH", "queue:default", *[job("Count", [i]) for i in range(50)],
                       *[job("Fail", [str(i)]) for i in range(5)])
    redisd.client.call("CONFIG", "SET", "maxmemory", "1")
    redisd.client.call("SREM", "paused", "default")
    time.sleep(2)
    held = sum(map(len, places(redisd.client).values()))
    assert held + sum(probe.cells()) >= 55, held
    redisd.client.call("CONFIG", "SET", "maxmemory", "0")
    until(lambda: all(probe.cells()), 20, "each job to run", pause=0.05)
    until(lambda: list(places(redisd.client)) == ["retry"], 20, "nothing but retry")
    equal(redisd.client.call("ZCARD", "retry"), 5, "members of retry")
    equal(sum(probe.cells()), 50, "runs")


def test_queue_of_the_wrong_type(t):
    """A key of the wrong type is reported with its queue and stops no other queue."""
    redisd, probe = t.use(Redisd()), t.use(Probe(30))
    redisd.client.call("SET", "queue:broken", "a string")
    daemon = t.use(Fettled(redisd, **probe.settings(),
                           queues=[{"name": "broken"}, {"name": "default"}]))
    redisd.client.call("LPUSH", "queue:default", *[job("Count", [i]) for i in range(30)])
    until(lambda: all(probe.cells()), 10, "the other queue's jobs")
    assert daemon.wait_event("redis.error", queue="broken")["reason"]
    redisd.client.call("DEL", "queue:broken")
    redisd.client.call("LPUSH", "queue:broken", job("Hello", ["repaired"]))
    daemon.wait_event("job.done", 10, queue="broken")
    assert len(daemon.find("redis.error")) < 50, "it repeats itself"


def test_retry_set_of_the_wrong_type(t):
    """A settle that Redis refuses keeps the job in flight until it can be done."""
    redisd = t.use(Redisd())
    redisd.client.call("SET", "retry", "a string")
    daemon = t.use(Fettled(redisd))
    redisd.client.call("LPUSH", "queue:default", job("Fail", ["x"], jid="held"))
    daemon.wait_event("redis.error", 10, command="settle")
    held = places(redisd.client, sets=("schedule", "dead"))
    equal(sum(map(len, held.values())), 1, "jobs held")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["meanwhile"]))
    daemon.wait_event("job.log", line="hello, meanwhile")
    redisd.client.call("DEL", "retry")
    until(lambda: redisd.client.call("ZCARD", "retry") == 1, 10, "the job in retry")
    until(lambda: list(places(redisd.client)) == ["retry"], what="nothing but retry")


def test_data_lost(t):
    """A Redis that comes back empty: the daemon registers anew and works; nothing is invented."""
    redisd, probe = t.use(Redisd()), t.use(Probe(1))
    daemon = t.use(Fettled(redisd, **probe.settings()))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 0.5]))
    until(lambda: probe.slot(0).running == 1, what="one run")
    redisd.restart()
    daemon.wait_events(2, "lease.registered", 10)
    daemon.wait_event("job.refused")
    redisd.client.call("LPUSH", "queue:default", job("Count", [0]))
    until(lambda: probe[0] == 1, 10, "the next job to run")
    until(lambda: not places(redisd.client), what="no job left")


def test_deleted_by_hand(t):
    """Who deletes a queue and the sets takes what waits in them; what runs ends as ever."""
    redisd, probe = t.use(Redisd()), t.use(Probe(1))
    client = redisd.client
    daemon = t.use(Fettled(redisd, concurrency=1, **probe.settings()))
    daemon.wait_ready()
    client.call("LPUSH", "queue:default", job("Hold", [0, 3], jid="runs"), job("Count", [0]))
    until(lambda: probe.slot(0).running == 1, what="the run")
    client.call("DEL", "queue:default", "retry", "schedule", "dead")
    daemon.wait_event("job.done", jid="runs")
    until(lambda: not places(client), what="no job left")
    equal((probe[0], daemon.find("job.refused")), (0, []), "what was deleted did not run")


def test_a_slow_connection(t):
    """An answer that takes longer than any answer may is waited for while its bytes come: to break
    off would only be to begin it anew."""
    redisd, probe = t.use(Redisd()), t.use(Probe(16))
    proxy = t.use(Proxy(redisd.socket))
    daemon = t.use(Fettled(proxy.url, log=INFO, concurrency=64, **probe.settings()))
    daemon.wait_ready()
    proxy.order("slow 32000")  # in a tenth of a second: 12 s for what follows, and 10 s are allowed
    redisd.client.call("LPUSH", "queue:default",
                       *[job("Count", [i], pad="." * 250000) for i in range(16)])
    until(lambda: not places(redisd.client), 30, "the jobs to end")
    proxy.order("pass")
    equal(probe.cells(), (1,) * 16, "runs")
    equal(daemon.find("redis.lost") + daemon.find("job.returned"), [], "what went wrong")


def test_a_registration_that_is_refused(t):
    """A daemon that has lost its registration, and may not register anew, tries again once a second."""
    redisd = t.use(Redisd())
    client = redisd.client
    daemon = t.use(Fettled(redisd, log=INFO))
    daemon.wait_ready()
    client.call("MULTI")  # found out by the claim, before the next beat
    client.call("DEL", "fettle:owners", "fettle:beat")
    client.call("SET", "fettle:beat", "x")
    client.call("LPUSH", "queue:default", job("Noop"))
    client.call("EXEC")
    daemon.wait_event("lease.fenced")
    daemon.wait_event("redis.error")

    def calls():
        stats = client.call("INFO", "commandstats").decode()
        return int(stats.split("cmdstat_evalsha:calls=")[1].split(",")[0])
    before, start = calls(), time.monotonic()
    pause(2)
    rate = (calls() - before) / (time.monotonic() - start)
    assert rate < 50, "%.0f calls a second" % rate
    client.call("DEL", "fettle:beat")
    until(lambda: not places(client), 30, "the job to end")


def test_a_refused_claim(t):
    """A claim that Redis has refused for a while does not hold up the stop afterwards."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, log=INFO, shutdown_timeout=20))
    daemon.wait_ready()
    redisd.client.call("ACL", "SETUSER", "fettled", "-evalsha")
    redisd.client.call("LPUSH", "queue:default", job("Noop"))
    daemon.wait_event("redis.error")
    redisd.client.call("ACL", "SETUSER", "fettled", "+evalsha")
    until(lambda: not places(redisd.client), 30, "the job to end")
    start = time.monotonic()
    daemon.stop()
    in_time(time.monotonic() - start, 5)


main(None if available() else "there is no redis-server")
