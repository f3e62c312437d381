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
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, Fettled, job, native
from places import inflight, member, members, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, limit, main
from wait import RELAXED, until

CRASH = ("Snprintf", "Qsort", "Malloc", "Assert", "Smash", "Detached", "ForkExit")
FAULTS = ("Overflow", "DivideByZero", "Illegal", "Abort", "NullRead", "WildWrite", "HeapCorruption",
          "Exit")
FULL = os.environ.get("FTL_FAULT_FULL") == "1"

with open(os.path.join(BUILDDIR, "config.h")) as _file:
    SANITIZER = re.search(r'#define FTL_SANITIZER "(.*)"', _file.read()).group(1)
CONTAINED = SANITIZER == "none"
WHY_NOT = "the sanitizer has handlers of its own for these signals: nothing is contained"
DIVISION_TRAPS = os.uname().machine == "x86_64"

# Class: what it fails with.
CALLS = {"Abort": "Abort", "Exit": "Exit", "Assert": "Assert"}
CLEAN = dict(CALLS, Overflow="StackOverflow", Illegal="SIGILL", Snprintf="StackOverflow",
             Qsort="StackOverflow", Malloc="StackOverflow",
             **({"DivideByZero": "SIGFPE"} if DIVISION_TRAPS else {}))
KINDS = CLEAN if CONTAINED else CALLS


def settings(probe):
    return probe.settings(*([native(name, "crash") for name in CRASH] +
                            [native(name, "faults") for name in FAULTS]))


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
    daemon = t.use(Fettled(redisd, **settings(probe)))
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


main(None if available() else "there is no redis-server")
