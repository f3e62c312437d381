#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Handlers in C that crash: one failed run, with its cause and its place, and nobody else notices."""

import base64
import json
import os
import random
import re
import signal
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, FETTLED, Fettled, job, native
from notify import Notify
from places import inflight, member, members, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import RELAXED, until

CRASH = ("Snprintf", "Qsort", "Malloc", "Assert", "Smash", "Detached", "Damage", "ForkExit", "Err",
         "Errx", "Error", "PosixExit", "IsoExit", "QuickExit", "ThreadExit")
FAULTS = ("Overflow", "DivideByZero", "Illegal", "Abort", "NullRead", "WildWrite", "HeapCorruption",
          "Exit")
FULL = os.environ.get("FTL_FAULT_FULL") == "1"

with open(os.path.join(BUILDDIR, "config.h")) as _file:
    SANITIZER = re.search(r'#define FTL_SANITIZER "(.*)"', _file.read()).group(1)
CONTAINED = SANITIZER == "none"
WHY_NOT = "the sanitizer has handlers of its own for these signals: nothing is contained"
DIVISION_TRAPS = os.uname().machine == "x86_64"

# Class: what it fails with.
EXITS = ("Exit", "Err", "Errx", "Error", "PosixExit", "IsoExit", "QuickExit")
CALLS = dict(dict.fromkeys(EXITS, "Exit"), Abort="Abort", Assert="Assert")
CLEAN = dict(CALLS, Overflow="StackOverflow", Illegal="SIGILL", Snprintf="StackOverflow",
             Qsort="StackOverflow", Malloc="StackOverflow",
             **({"DivideByZero": "SIGFPE"} if DIVISION_TRAPS else {}))
KINDS = CLEAN if CONTAINED else CALLS
TAINTED = {"NullRead": "SIGSEGV", "WildWrite": "SIGSEGV", "Smash": "StackProtector"}


def settings(probe):
    """All crashes are in tasks, also the second one of a class."""
    return probe.settings(*([native(name, "crash", isolation="task") for name in CRASH] +
                            [native(name, "faults", isolation="task") for name in FAULTS]))


def push(client, name, jid, **more):
    client.call("LPUSH", "queue:default", job(name, jid=jid, **more))


def await_job(client, key, jid):
    until(lambda: member(client, key, jid), 20, "%s in %s" % (jid, key))
    return member(client, key, jid)


def test_each_is_a_failed_run(t):
    """Its class, message and backtrace are in the job and in one event; the same daemon goes on."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **settings(probe)))
    for name, fault in sorted(KINDS.items()):
        push(redisd.client, name, "jid-" + name, backtrace=True)
        got, _ = await_job(redisd.client, "retry", "jid-" + name)
        equal((got["error_class"], got["retry_count"]), (fault, 0), name)
        assert got["error_message"], got
        told = daemon.wait_event("task.fault", jid="jid-" + name)
        equal((told["fault"], told["tainted"], told["class"]), (fault, False, name), "the event")
        lines = json.loads(zlib.decompress(base64.b64decode(got["error_backtrace"])))
        equal(told["backtrace"].splitlines(), lines, "the backtrace, logged and stored")
        module = "crash.so" if name in CRASH else "faults.so"
        assert any(module in line for line in lines), (name, lines)
        push(redisd.client, "Count", "after-" + name, args=[0])
        daemon.wait_event("job.done", jid="after-" + name)
    equal(len(daemon.find("task.fault")), len(KINDS), "events")
    equal(len(daemon.find("task.panic")), 0, "panics")


def test_what_an_exit_says(t):
    """The call is named, with what it would have said, which is on stderr, too."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **settings(probe)))
    nothing = "cannot open it: No such file or directory"
    for name, message in (("Exit", "exit(1) was called"), ("PosixExit", "_exit(0) was called"),
                          ("IsoExit", "_Exit(1) was called"),
                          ("QuickExit", "quick_exit(1) was called"),
                          ("Err", "err(1) was called: " + nothing),
                          ("Errx", "errx(1) was called: no 17"),
                          ("Error", "error(2) was called: " + nothing)):
        push(redisd.client, name, name)
        equal(daemon.wait_event("job.failed", jid=name)["error_message"], message, name)
    for text, count in ((nothing, 2), ("no 17", 1)):
        until(lambda: sum(line.endswith("fettled: " + text) for line in daemon.lines) == count,
              what="%d lines %s" % (count, text))


def test_an_exit_of_a_stray_thread(t):
    """No task can be blamed: the daemon ends by a signal, so that it is started again, and says why."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **settings(probe)))
    push(redisd.client, "ThreadExit", "jid")
    equal(daemon.wait_exit(), -signal.SIGABRT, "exit")
    assert "fettle: exit(0) in thread stray: not contained" in daemon.lines, daemon.lines


def test_exits_in_a_child(t):
    """There it is the same: one failed run, or the end of the child by a signal."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings(
        *[native(name, "crash", isolation="process") for name in ("Errx", "PosixExit", "ThreadExit")])))
    for name in ("Errx", "PosixExit"):
        push(redisd.client, name, name)
        equal(daemon.wait_event("job.failed", jid=name)["error_class"], "Exit", name)
    equal(daemon.find("worker.died"), [], "dead children")
    push(redisd.client, "ThreadExit", "jid")
    failed = daemon.wait_event("job.failed", jid="jid")
    equal((failed["error_class"], failed["error_message"][:17]), ("Signal", "killed by SIGABRT"))


def contained(test):
    """Not under sanitizers."""
    def run(t):
        if not CONTAINED:
            return t.note(WHY_NOT)
        return test(t)
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@contained
def test_what_a_task_leaves_behind(t):
    """A task that a handler has spawned and left faults: it is told, and the run has succeeded."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **settings(probe)))
    push(redisd.client, "Detached", "jid")
    daemon.wait_event("job.done", jid="jid")
    told = daemon.wait_event("task.fault", task="detached")
    equal((told["fault"], told["tainted"]), ("SIGFPE", False), "the event")


def test_children_of_a_handler_exit_as_ever(t):
    """exit() in a child that a handler has forked is the library's."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    # LeakSanitizer looks at such a child, too: what only the stacks of threads it has not got still
    # hold is lost there.
    mine = settings(probe)
    mine["environment"]["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    daemon = t.use(Fettled(redisd, **mine))
    push(redisd.client, "ForkExit", "jid")
    daemon.wait_event("job.done", jid="jid")


def resident(pid):
    with open("/proc/%d/statm" % pid) as file:
        return int(file.read().split()[1]) * 4096


def counted(daemon):
    return {name: int(count) for name, count in
            (pair.split("=") for e in daemon.find("daemon.faults")[-1:]
             for pair in e["classes"].split())}


@limit(1200)
def test_many_among_innocent_jobs(t):
    """Some hundreds of faults (10,000 on demand) among as many good jobs: the daemon keeps its pid, its
    lease and its memory; each good job runs once, each bad one is settled, none is lost."""
    count = 10000 if FULL else 100 if RELAXED else 600
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    daemon = t.use(Fettled(redisd, lease_ttl=1, concurrency=32, workers=2,
                           **dict(settings(probe), log={"level": "warning", "format": "json"})))
    names = sorted(KINDS)
    bad = [random.choice(names) for _ in range(count)]

    def push_some(first, last):
        jobs = [job(bad[i], [16 * random.randint(1, 40)], jid="bad-%d" % i, retry=0)
                for i in range(first, last)]
        jobs += [job("Count", [i], jid="good-%d" % i) for i in range(first, last)]
        random.shuffle(jobs)
        for begin in range(0, len(jobs), 500):
            redisd.client.call("LPUSH", "queue:default", *jobs[begin:begin + 500])

    def done(number):
        assert daemon.process.poll() is None, "fettled has died"
        return (sum(probe.cells()) >= number and redisd.client.call("ZCARD", "dead") >= number and
                inflight(redisd.client) == 0)

    push_some(0, count // 2)
    until(lambda: done(count // 2), 600, "the first half")
    before = resident(daemon.pid)
    push_some(count // 2, count)
    until(lambda: done(count), 600, "all")
    grown = resident(daemon.pid) - before
    t.note("%d faults, memory grew by %d KiB in the second half" % (count, grown // 1024))
    assert grown < 8 << 20 or not CONTAINED, grown
    equal(set(probe.cells()), {1}, "runs of each good job")
    equal(list(places(redisd.client)), ["dead"], "places with jobs")
    dead = members(redisd.client, "dead")
    equal({j["jid"]: j["error_class"] for j, _ in dead},
          {"bad-%d" % i: KINDS[name] for i, name in enumerate(bad)}, "how each has failed")
    equal(len(daemon.find("lease.fenced")) + len(daemon.find("lease.reaped")), 0, "lapsed leases")
    daemon.reload(**{"log": {"level": "info", "format": "json"}})
    daemon.wait_event("config.reloaded")
    daemon.signal(signal.SIGTTIN)
    daemon.wait_event("daemon.faults")
    equal(counted(daemon), {fault: sum(KINDS[name] == fault for name in bad)
                            for fault in {KINDS[name] for name in bad}}, "the counters")


# ---- what may have damaged memory --------------------------------------------------------------

@contained
def test_after_a_wild_pointer_it_begins_anew(t):
    """The run fails with its cause, the others end well, and the process is a new one with the old
    pid, of which the service manager hears as of a reload."""
    redisd, probe, manager = t.use(Redisd()), t.use(Probe(4)), t.use(Notify())
    own = settings(probe)
    own["environment"] = dict(own["environment"], **manager.environment)
    daemon = t.use(Fettled(redisd, lease_ttl=2, **own))
    pid = daemon.pid
    daemon.wait_ready()
    manager.wait("READY", "1")
    for n, (name, fault) in enumerate(sorted(TAINTED.items())):
        mark, heard = daemon.mark(), manager.mark()
        push(redisd.client, "Linger", "long-%d" % n, args=[n, 0.5])
        daemon.wait_event("job.start", jid="long-%d" % n)
        push(redisd.client, name, "jid-" + name, backtrace=True)
        got, _ = await_job(redisd.client, "retry", "jid-" + name)
        equal(got["error_class"], fault, name)
        assert "error_backtrace" in got, got
        told = daemon.wait_event("task.fault", jid="jid-" + name)
        equal((told["fault"], told["tainted"]), (fault, True), "the event")
        daemon.wait_event("daemon.tainted", since=mark)
        manager.wait("RELOADING", "1", since=heard)
        manager.wait("READY", "1", since=heard)
        daemon.wait_event("daemon.stopping", since=mark, reason="tainted")
        equal(daemon.wait_event("daemon.stopped", since=mark)["exit"], 0, "as it stopped")
        equal(daemon.wait_event("daemon.restart", since=mark)["pid"], pid, "pid")
        equal(daemon.wait_event("daemon.start", since=mark)["pid"], pid, "pid, then")
        daemon.wait_event("daemon.ready", since=mark)
        equal(probe[n], 1, "runs of a job beside it")
    push(redisd.client, "Count", "after", args=[3])
    daemon.wait_event("job.done", jid="after")
    equal([e["seconds"] for e in daemon.find("daemon.paused")], [1, 2], "pauses between restarts")
    told = [key for m in manager.messages for key in m if key in ("READY", "RELOADING", "STOPPING")]
    equal(told, ["READY"] + ["RELOADING", "READY"] * 3, "what the service manager was told")
    equal(len(daemon.find("lease.fenced")) + len(daemon.find("lease.reaped")), 0, "lapsed leases")
    equal(daemon.pid, pid, "pid")


@contained
def test_no_child_is_left_to_the_next(t):
    """What a handler has forked and forgotten ends with the program whose child it was, and no zombie
    stays; a child process of a handler is the new program's own."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    own = probe.settings(native("Fork", "crash"), native("NullRead", "faults", isolation="task"),
                         native("Smash", "crash", isolation="process"))
    daemon = t.use(Fettled(redisd, **own))
    ready = daemon.wait_event("worker.ready")
    push(redisd.client, "Fork", "fork")
    forked = int(daemon.wait_event("job.log", jid="fork")["line"].split()[1])
    equal(children(daemon.pid), {ready["pid"], forked}, "children")
    mark = daemon.mark()
    push(redisd.client, "NullRead", "jid")
    daemon.wait_event("daemon.ready", since=mark)
    again = daemon.wait_event("worker.ready", since=mark)
    equal(children(daemon.pid), {again["pid"]}, "children of the new program")


@contained
def test_elder_children_are_spared(t):
    """What has executed the daemon had started something before: that is not the daemon's to end."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    program = os.path.join(t.use(tempfile.TemporaryDirectory()), "entry")
    with open(program, "w") as file:
        file.write("#!/bin/sh\nsleep 1000 </dev/null >/dev/null 2>&1 &\nexec '%s' \"$@\"\n" % FETTLED)
    os.chmod(program, 0o700)
    daemon = t.use(Fettled(redisd, program=program,
                           **probe.settings(native("NullRead", "faults", isolation="task"))))
    daemon.wait_ready()
    (elder,) = children(daemon.pid)
    try:
        for _ in range(2):
            mark = daemon.mark()
            push(redisd.client, "NullRead", "jid", retry=0)
            daemon.wait_event("daemon.ready", since=mark)
            equal(children(daemon.pid), {elder}, "children of the new program")
    finally:
        os.kill(elder, signal.SIGKILL)


@contained
def test_a_configuration_that_does_not_load(t):
    """An editor's half-written file when it begins anew: it waits for the rest."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings(native("NullRead", "faults", isolation="task"))))
    daemon.wait_ready()
    with open(daemon.config) as file:
        whole = file.read()
    with open(daemon.config, "a") as file:
        file.write("oops")
    mark = daemon.mark()
    push(redisd.client, "NullRead", "jid", retry=0)
    until(lambda: any("syntax error" in line for line in daemon.lines), what="the error")
    with open(daemon.config, "w") as file:
        file.write(whole)
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("daemon.ready", since=mark)


def children(pid):
    found = set()
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as file:
            found |= set(map(int, file.read().split()))
    return found


@contained
def test_a_damaged_job_is_left_to_the_lease(t):
    """A handler that writes over its job before it crashes: what is in Redis stays what it was."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, lease_ttl=1, **settings(probe)))
    push(redisd.client, "Damage", "jid", more="x" * 40)
    told = daemon.wait_event("job.refused", jid="jid")
    equal(told["reason"], "damaged", "why it is not settled")
    done = daemon.wait_event("job.done", 30, jid="jid")
    equal(done["attempt"], 2, "attempts")
    until(lambda: not places(redisd.client), what="nothing left")


@contained
def test_a_sigterm_meanwhile_is_a_stop(t):
    """SIGTERM while it waits for the last runs: it does not begin anew, but stops."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **settings(probe)))
    push(redisd.client, "Hold", "long", args=[0, 60])
    until(lambda: probe.slot(0).running == 1, what="a run")
    push(redisd.client, "NullRead", "jid")
    daemon.wait_event("daemon.stopping", reason="tainted")
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGINT)  # of two equal ones the second may be lost
    equal(daemon.wait_exit(), 0, "exit")
    equal(daemon.find("daemon.restart"), [], "restarts")
    equal(sorted(places(redisd.client)), ["queue:default", "retry"], "places with jobs")


@contained
def test_on_segv(t):
    """continue: it goes on as it is. die: it ends by the signal, and the lease does the rest."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, on_segv="continue", lease_ttl=1, **settings(probe)))
    push(redisd.client, "NullRead", "jid")
    await_job(redisd.client, "retry", "jid")
    push(redisd.client, "Count", "after", args=[0])
    daemon.wait_event("job.done", jid="after")
    equal(daemon.find("daemon.tainted"), [], "restarts")
    daemon.stop()
    daemon.configure(on_segv="die")
    daemon.start()
    push(redisd.client, "Overflow", "overflow")
    await_job(redisd.client, "retry", "overflow")
    push(redisd.client, "WildWrite", "wild")
    equal(daemon.wait_exit(), -signal.SIGSEGV, "exit")
    said = [line for line in daemon.lines if line.startswith("fettle: SIGSEGV at 0x10 in task run")]
    equal(len(said), 1, "records of the crash")
    equal(inflight(redisd.client), 1, "jobs in flight")


main(None if available() else "there is no redis-server")
