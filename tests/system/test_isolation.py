#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""isolation = "auto": a class that has crashed in a task goes to child processes, in every daemon and
for some time; the others stay what they are."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, Fettled, command, job, native
from places import inflight, member, now
from probe import Probe
from redisd import Redisd, available
from scripts import FAULTED, mark_call
from tap import equal, main, thrice
from wait import until

with open(os.path.join(BUILDDIR, "config.h")) as _file:
    CONTAINED = '#define FTL_SANITIZER "none"' in _file.read()
MOODY = "class:Moody"


class Jobs:
    """One Redis, daemons with these handlers (default: the class Moody), and their jobs by jid."""

    def __init__(self, t, *handlers, **settings):
        self.t, self.redisd, self.probe = t, t.use(Redisd()), t.use(Probe(8))
        self.client = self.redisd.client
        self.settings = dict(self.probe.settings(*(handlers or (native("Moody", "crash"),))),
                             **settings)
        self.daemons, self.count = [], 0

    def daemon(self, **more):
        daemon = self.t.use(Fettled(self.redisd, **dict(self.settings, **more)))
        self.daemons.append(daemon)
        daemon.wait_ready()
        return daemon

    def push(self, *args, name="Moody", **members):
        self.count += 1
        jid = "j%d" % self.count
        self.client.call("LPUSH", "queue:default", job(name, args, jid=jid, **members))
        return jid

    def find(self, event, **fields):
        return [e for daemon in self.daemons for e in daemon.find(event, **fields)]

    def wait(self, event, what="an event", **fields):
        return until(lambda: self.find(event, **fields), 20, "%s %r" % (event, fields))[0]

    def ran_in(self, jid):
        """The pid of its last run, which has logged it."""
        self.wait("job.log", jid=jid)
        last = max(self.find("job.log", jid=jid), key=lambda event: event["attempt"])
        return int(last["line"].split()[1])

    def is_outside(self, jid):
        return self.ran_in(jid) not in [d.pid for d in self.daemons if d.process is not None]

    def fine(self):
        """Runs a job that does no harm; is it run outside of the daemons?"""
        jid = self.push("fine")
        self.wait("job.done", jid=jid)
        return self.is_outside(jid)

    def due(self, jid):
        """Makes a job of retry due."""
        until(lambda: member(self.client, "retry", jid), what="%s in retry" % jid)
        for raw in self.client.call("ZRANGE", "retry", 0, -1):
            if ('"%s"' % jid).encode() in raw:
                self.client.call("ZADD", "retry", 0, raw)


def test_it_moves_and_all_know(t):
    """A crash in a task is the last one of its class: the next attempt of that very job and all others
    of the class are in children, which were not there before; also in the other daemon, and in one that
    is started later, from its first job on. Other classes stay tasks. After a reload it is still so.
    There is as much room in the children as there was."""
    jobs = Jobs(t, native("*", "crash"), concurrency=20)
    first, second = jobs.daemon(), jobs.daemon()
    assert not jobs.fine(), "a good class is in a child"
    bad = jobs.push("abort")
    jobs.wait("job.failed", jid=bad)
    until(lambda: len(jobs.find("class.isolated")) == 2, 20, "both to know")
    equal(sorted(e["reason"] for e in jobs.find("class.isolated")), ["Abort", "another daemon"])
    ready = until(lambda: len(jobs.find("worker.ready")) == 2, 20, "children in both")
    equal([event["runs"] for event in jobs.find("worker.ready")], [20, 20], "places")
    assert ready and jobs.fine() and jobs.fine(), "in the daemon"
    jobs.due(bad)
    again = jobs.wait("job.failed", jid=bad, attempt=2)
    equal(again["error_class"] in ("Abort", "Signal"), True, again)
    assert jobs.is_outside(bad), "its own next attempt"
    faults = jobs.find("task.fault")
    equal(len(faults), 2 if again["error_class"] == "Abort" else 1, "contained crashes")
    assert all("crash.so" in fault["backtrace"] for fault in faults), faults
    assert not jobs.is_outside(jobs.push(name="Calm")), "another class of the module"
    equal({e["class"] for e in jobs.find("class.isolated")}, {"Moody"}, "classes")
    first.stop()
    third = jobs.daemon()
    second.stop()
    equal(sum(e["total"] for e in jobs.find("daemon.faults")), len(faults), "contained crashes, counted")
    assert jobs.fine(), "in a daemon that was started later"
    third.reload(handlers=[native("*", "crash", timeout=60)])
    third.wait_event("config.reloaded")
    assert jobs.fine(), "after a reload"
    ttl = jobs.client.call("TTL", FAULTED)
    assert 3000 < ttl <= 3602, ttl
    equal(third.find("task.fault") + third.find("daemon.tainted"), [])


def test_it_comes_back(t):
    """At the end of isolation_ttl, and as soon as somebody takes the mark away, its runs are tasks again,
    and the children are gone."""
    jobs = Jobs(t, isolation_ttl=3600)
    daemon = jobs.daemon()
    jobs.push("abort")
    daemon.wait_event("class.isolated", reason="Abort", **{"class": "Moody"})
    until(lambda: jobs.client.call("HEXISTS", FAULTED, MOODY), what="the mark")
    # The tick that brings another mark brings its own: only what was seen there can be missed.
    mark_call(3600, "class:Hello", key=FAULTED).run(jobs.client)
    daemon.wait_event("class.isolated", **{"class": "Hello"})
    assert jobs.fine(), "in the daemon"
    jobs.client.call("HDEL", FAULTED, MOODY)
    jobs.client.call("HINCRBY", FAULTED, "generation", 1)
    equal(daemon.wait_event("class.released")["reason"], "its mark is gone")
    assert not jobs.fine(), "still in a child"
    daemon.wait_event("worker.stopped", handler="Moody")
    daemon.reload(isolation_ttl=1)
    daemon.wait_event("config.reloaded")
    mark = daemon.mark()
    jobs.push("abort")
    daemon.wait_event("class.isolated", since=mark)
    equal(daemon.wait_event("class.released", since=mark)["reason"], "its time is over")
    until(lambda: not jobs.fine(), what="a task again")


def test_forced(t):
    """isolation = "task": each crash is one of a task, and nobody is told; so it is where another
    daemon has left a mark."""
    jobs = Jobs(t, native("Moody", "crash", isolation="task"))
    daemon = jobs.daemon()
    mark_call(60, MOODY, "class:Hello", key=FAULTED).run(jobs.client)
    daemon.wait_event("class.isolated", **{"class": "Hello"})
    for _ in range(2):
        daemon.wait_event("job.failed", jid=jobs.push("abort"))
    equal(len(daemon.find("task.fault")), 2, "crashes in tasks")
    assert not jobs.fine()
    equal(len(daemon.find("class.isolated")), 1, "classes")
    equal(daemon.find("worker.ready", handler="Moody"), [])


def test_bounds_hold_in_both_places(t):
    """Two at a time, wherever they are: while some are tasks, and the next ones in children."""
    jobs = Jobs(t, native("Hold", "probe", concurrency=2))
    daemon = jobs.daemon()
    for _ in range(2):
        jobs.push(0, 1.5, name="Hold")
    until(lambda: jobs.probe.slot(0).running == 2, what="two runs")
    mark_call(60, "class:Hold", key=FAULTED).run(jobs.client)
    daemon.wait_event("class.isolated")
    for _ in range(4):
        jobs.push(0, 0.05, name="Hold")
    daemon.wait_events(6, "job.done", 30)
    equal((jobs.probe.slot(0).most, jobs.probe.slot(0).done), (2, 6))
    assert daemon.find("worker.ready"), "no children"


def test_redis_is_away(t):
    """A crash while Redis does not answer moves the class at once; Redis is told when it is back."""
    jobs = Jobs(t)
    daemon = jobs.daemon()
    gate = os.path.join(daemon.directory, "gate")
    jid = jobs.push("abort", gate)
    daemon.wait_event("job.log", jid=jid)
    jobs.redisd.signal(signal.SIGSTOP)
    try:
        with open(gate, "w"):
            pass
        daemon.wait_event("class.isolated")
        daemon.wait_event("worker.ready")
    finally:
        jobs.redisd.signal(signal.SIGCONT)
    until(lambda: jobs.client.call("HEXISTS", FAULTED, MOODY), 30, "the mark")
    daemon.wait_event("job.failed", jid=jid)
    assert jobs.fine(), "in the daemon"


def test_it_begins_anew_and_knows(t):
    """After a wild pointer the new program of the process knows the class from the start, although Redis
    has lost the mark: its next crash ends a child. What it knows is not for its children."""
    if not CONTAINED:
        return t.note("the sanitizer has handlers of its own for these signals")
    jobs = Jobs(t, native("Calm", "crash", isolation="process"), native("Moody", "crash"))
    daemon = jobs.daemon()
    pid = daemon.pid
    gate = os.path.join(daemon.directory, "gate")
    held = jobs.push("fine", gate)
    daemon.wait_event("job.log", jid=held)
    daemon.wait_event("job.failed", jid=jobs.push("null"), error_class="SIGSEGV")
    daemon.wait_event("daemon.stopping", reason="tainted")
    jobs.client.call("DEL", FAULTED)
    mark = daemon.mark()
    with open(gate, "w"):
        pass
    daemon.wait_event("daemon.start", since=mark, pid=pid)
    equal(daemon.wait_event("class.isolated", since=mark)["reason"], "known before")
    daemon.wait_event("worker.ready", since=mark, handler="Moody")
    other = daemon.wait_event("worker.ready", since=mark, handler="Calm")
    with open("/proc/%d/environ" % other["pid"], "rb") as environment:
        assert b"FETTLE_QUARANTINE" not in environment.read(), "in the environment of a child"
    failed = daemon.wait_event("job.failed", jid=jobs.push("null"))
    equal(failed["error_class"], "Signal")
    assert failed["error_message"].startswith("killed by SIGSEGV"), failed
    assert jobs.fine(), "in the daemon"
    equal(len(daemon.find("daemon.tainted")), 1, "restarts")


def test_a_suspect_has_a_child_of_its_own(t):
    """What was in flight at two deaths runs in a child that nobody shares, while its daemon goes on: the
    crash is the failure of that run, with its cause, and the last one, since it is its own third death.
    Its class is moved."""
    jobs = Jobs(t, lease_ttl=1, shutdown_timeout=0.2)
    held = jobs.push(0, 3600, name="Hold")
    deadly = jobs.push("exit")
    for attempt in 1, 2:
        daemon = t.use(Fettled(jobs.redisd, **jobs.settings))
        equal(daemon.wait_exit(), 3, "exit of the process, %d" % attempt)
    daemon = jobs.daemon()
    dead = daemon.wait_event("job.dead", jid=deadly)
    equal((dead["attempt"], dead["error_class"], dead["error_message"], dead["reason"]),
          (3, "ExitStatus", "exit status 3", "never"))
    assert member(jobs.client, "dead", deadly), "not in dead"
    alone = daemon.find("worker.ready", runs=1, handler="Moody")
    equal(len(alone), 1, "children for one run")
    died = daemon.wait_event("worker.died", pid=alone[0]["pid"])
    assert "restart_ms" not in died, died
    equal(died["reason"], "exit status 3")
    equal(daemon.wait_event("class.isolated")["reason"], "ExitStatus")
    assert jobs.fine(), "its class is in the daemon"
    until(lambda: jobs.probe.slot(0).running, what="the other suspect")
    equal(daemon.find("job.returned") + daemon.find("job.failed"), [])
    equal(len(daemon.find("job.start", jid=held)), 1, "starts of the other one")
    daemon.kill()  # a stop would have a fifth of a second for what is held


def test_a_suspect_that_only_fails(t):
    """What counts is the end of its child, not what the run says of itself."""
    jobs = Jobs(t, lease_ttl=1)
    suspect = jobs.push("recant")
    for attempt in 1, 2:
        daemon = t.use(Fettled(jobs.redisd, **jobs.settings))
        equal(daemon.wait_exit(), 3, "exit of the process, %d" % attempt)
    failed = jobs.daemon().wait_event("job.failed", jid=suspect)
    equal((failed["attempt"], failed["error_class"], failed["error_message"]), (3, "ExitStatus", "so it says"))
    assert jobs.is_outside(suspect), "in the daemon"
    assert member(jobs.client, "retry", suspect), "not in retry"
    equal(jobs.find("worker.died") + jobs.find("class.isolated"), [])


def test_a_command_is_no_suspect(t):
    """It cannot have killed its daemon: others run beside it, whatever it was in flight at."""
    jobs = Jobs(t, native("Moody", "crash"), command("Wait", ["/bin/sh", "-c", "echo here; exec sleep 600"]),
                lease_ttl=1, shutdown_timeout=0.2)
    waits = jobs.push(name="Wait")
    for attempt in 1, 2, 3:
        daemon = jobs.daemon()
        daemon.wait_event("job.stdout", jid=waits)
        if attempt < 3:
            daemon.kill()
    assert not jobs.fine(), "in a child"
    equal(daemon.find("job.returned"), [])


def test_a_suspect_without_a_child(t):
    """None can be started for it: it runs alone, as a task, with its deaths counted on."""
    jobs = Jobs(t, native("Moody", "crash", memory=1 << 20), lease_ttl=1)
    gate = os.path.join(jobs.redisd.directory, "gate")
    deadly = jobs.push("exit", gate)
    for attempt in 1, 2, 3:
        daemon = t.use(Fettled(jobs.redisd, **jobs.settings))
        line = daemon.wait_event("job.log", jid=deadly)
        equal((line["attempt"], line["line"]), (attempt, "pid %d" % daemon.pid))
        if attempt == 3:
            daemon.wait_event("worker.down", handler="Moody")
        with open(gate, "w"):
            pass
        equal(daemon.wait_exit(), 3, "exit of the process, %d" % attempt)
        os.unlink(gate)
    daemon = jobs.daemon()
    daemon.wait_event("job.dead", jid=deadly)
    assert member(jobs.client, "dead", deadly), "not in dead"
    assert not jobs.fine(), "in a child"


def test_no_children(t):
    """While none can be started a class that has crashed is run as before; not even the job that has
    waited for one fails."""
    jobs = Jobs(t, native("Moody", "crash", memory=1 << 20))
    mark_call(60, MOODY, key=FAULTED).run(jobs.client)
    daemon = jobs.daemon()
    assert not jobs.fine(), "in a child"
    daemon.wait_event("worker.down", handler="Moody")
    assert not jobs.fine(), "in a child"
    equal(daemon.wait_event("job.failed", jid=jobs.push("abort"))["error_class"], "Abort")
    equal(len(daemon.find("worker.down")), 1, "worker.down")
    equal(len(daemon.find("job.failed")), 1, "failures")


def test_each_crash_counts(t):
    """The time of a class begins anew with each crash, also with those in children."""
    jobs = Jobs(t, isolation_ttl=16)
    daemon = jobs.daemon()
    daemon.wait_event("job.failed", jid=jobs.push("abort"))
    first = until(lambda: jobs.client.call("HGET", FAULTED, MOODY), what="the mark")
    until(lambda: now(jobs.client) + 16 > float(first) + 1, what="more than a second")
    daemon.wait_event("job.failed", jid=jobs.push("abort"))
    until(lambda: float(jobs.client.call("HGET", FAULTED, MOODY)) > float(first), what="renewal")


@thrice
def test_many_suspects(t):
    """Four of them run at a time, each in a fresh child; the others wait, and what is none does not."""
    jobs = Jobs(t, native("Hold", "probe"), lease_ttl=1, concurrency=16, shutdown_timeout=0.2)
    for _ in range(6):
        jobs.push(0, 3600, name="Hold")
    for attempt in 1, 2:
        daemon = t.use(Fettled(jobs.redisd, **jobs.settings))
        until(lambda: jobs.probe.slot(0).started == 6 * attempt, 30, "six runs")
        daemon.kill()
    daemon = jobs.daemon()
    daemon.wait_events(4, "worker.ready", runs=1)
    until(lambda: jobs.probe.slot(0).started == 16, 30, "four runs")
    daemon.wait_event("job.done", jid=jobs.push("you", name="Hello"))
    running = {e["jid"] for e in daemon.find("job.start", attempt=3)}
    equal(len(running), 4, "suspects that run")
    pid = daemon.find("worker.ready", runs=1)[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    dead = daemon.wait_event("job.dead")
    equal((dead["error_class"], dead["error_message"]), ("Signal", "killed by SIGKILL"))
    daemon.wait_events(5, "worker.ready", runs=1)
    equal(len({e["pid"] for e in daemon.find("worker.ready", runs=1)}), 5, "children")
    daemon.stop()
    equal(inflight(jobs.client), 0)


main(None if available() else "there is no redis-server")
