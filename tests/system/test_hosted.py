#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""C modules in child processes (isolation = "process"): the module's API is all there, and a crash is
the end of a child, told by its true cause, while the daemon and everything else goes on."""

import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, FETTLED, MODULES_DIR, Fettled, job, native
from places import member, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main, thrice
from wait import RELAXED, by_the_clock, in_time, patience, until


def hosted(name, module="hello", **members):
    return native(name, module, isolation="process", **members)


class Jobs:
    """A daemon with these handlers, and its jobs by number."""

    def __init__(self, t, *handlers, **settings):
        settings.setdefault("shutdown_timeout", 0.2)
        self.redisd = t.use(Redisd())
        self.client = self.redisd.client
        self.daemon = t.use(Fettled(self.redisd, handlers=list(handlers), **settings))
        self.daemon.wait_ready()
        self.count = 0

    def push(self, name, *args, **members):
        self.count += 1
        jid = "j%d" % self.count
        self.client.call("LPUSH", "queue:default", job(name, args, jid=jid, **members))
        return jid

    def ended(self, event, name, *args, **members):
        return self.daemon.wait_event(event, jid=self.push(name, *args, **members))


def test_module_api(t):
    """Lines of several runs at once have their own ids; errors, panics with a backtrace, later and never
    again come back as they were meant."""
    jobs = Jobs(t, hosted("*"), hosted("*", "faults"))
    sleeper = jobs.push("Sleep", 1000)
    jid = jobs.push("Hello", "w\u00f6rld\n2")
    jobs.daemon.wait_event("job.done", jid=jid)
    equal([e["line"] for e in jobs.daemon.find("job.log", jid=jid)], ["hello, w\u00f6rld", "2"])
    event = jobs.ended("job.failed", "Fail", "no \"luck\"")
    equal(event["error_message"], "no \"luck\"")
    jid = jobs.push("Panic", "help", backtrace=True)
    event = jobs.daemon.wait_event("job.failed", jid=jid)
    equal((event["error_class"], event["error_message"]), ("Panic", "help"))
    assert until(lambda: member(jobs.client, "retry", jid))[0]["error_backtrace"]
    equal(len(jobs.daemon.find("worker.died")), 0)
    equal(len(jobs.daemon.find("job.done", jid=sleeper)), 0)
    jobs.daemon.stop()
    equal(places(jobs.client)["queue:default"], [job("Sleep", [1000], jid=sleeper).encode()])


def test_crashes(t):
    """What would end the daemon ends a child: its runs fail with the signal, those elsewhere do not
    notice, and there is another child at once. What leaves the process intact is one failed run."""
    jobs = Jobs(t, hosted("NullRead", "faults"), hosted("DivideByZero", "faults"),
                hosted("Spin", "faults", timeout=1, kill_after=1), hosted("*", processes=2))
    sleeper = jobs.push("Sleep", 1000)
    if not RELAXED:  # a sanitizer has its own way to report a crash
        event = jobs.ended("job.failed", "NullRead")
        equal(event["error_class"], "Signal")
        assert event["error_message"].startswith("killed by SIGSEGV"), event
        event = jobs.ended("job.failed", "DivideByZero")
        equal(event["error_class"], "SIGFPE")
        equal(jobs.daemon.find("worker.died", handler="DivideByZero"), [])
    start = time.monotonic()
    event = jobs.ended("job.failed", "Spin", 1000)
    equal(event["error_class"], "Timeout")
    in_time(time.monotonic() - start, 4)
    died = jobs.daemon.wait_event("worker.died", handler="Spin")
    assert died["reason"].startswith("killed by SIGTERM"), died
    pid = jobs.daemon.find("worker.ready", handler="*")[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    jobs.daemon.wait_event("worker.died", handler="*", pid=pid)
    jobs.ended("job.done", "Hello", "again")
    assert not jobs.daemon.find("job.failed", jid=sleeper) or \
        jobs.daemon.find("job.failed", jid=sleeper)[0]["error_message"] == "killed by SIGKILL"


@thrice
def test_time_to_answer(t):
    """A handler is asked to end as it is as a task: it has kill_after for what it has to say then, and is aborted
    when that is over, or as soon as an operator's patience is; its child, and what else is in it, goes on."""
    probe = t.use(Probe(3))
    settings = probe.settings()
    jobs = Jobs(t, hosted("Heed", "probe", timeout=1, kill_after=2), hosted("Insist", "probe"), hosted("*"),
                environment=settings["environment"], module_path=settings["module_path"])
    jobs.daemon.wait_events(3, "worker.ready")
    event = jobs.ended("job.failed", "Heed", 0, 0.1)
    with by_the_clock():
        equal((event["error_class"], event["error_message"]),
              ("Timeout", "not done after 1 s: saved half of it"))
    event = jobs.ended("job.failed", "Heed", 1, 600)
    equal((event["error_class"], event["error_message"]), ("Timeout", "not done after 1 s"))
    jid = jobs.push("Insist", 2, 600)
    jobs.daemon.wait_event("job.start", jid=jid)
    cli = subprocess.run([FETTLE, "--redis", jobs.redisd.url, "cancel", jid], check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    equal(cli.returncode, 0, cli.stdout)
    equal(until(lambda: member(jobs.client, "dead", jid))[0]["error_class"], "Cancelled")
    with by_the_clock():
        equal(probe.cells(), (1, 0, 0), "answers")
        equal(jobs.daemon.find("worker.fault"), [])
        equal(jobs.daemon.find("worker.died"), [])


def test_by_hand(t):
    """`fettled --host` is a worker as any other: its side of the protocol, and its errors."""
    hello = os.path.join(MODULES_DIR, "hello.so")

    def run(said, *options):
        script = 'exec "$@" 3<&0 4>&1 1>&2'
        return subprocess.run(["sh", "-c", script, "sh", FETTLED, "--host", *options], input=said,
                              capture_output=True, timeout=patience(60), check=False)

    done = run(b'{"fettle":1}\n{"run":7,"job":{"class":"Hello","args":["you"]}}\n', hello, "--runs", "3")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    equal(lines[0], {"ready": 3, "protocol": 1})
    equal(done.returncode, 0, done.stderr)
    for options in (("/nowhere.so",), (hello, "--runs", "0"), (hello, "--config", "x")):
        done = run(b"", *options)
        assert done.returncode in (1, 2) and done.stderr.startswith(b"fettled: "), done
    done = subprocess.run([FETTLED, "--host", hello], stdin=subprocess.DEVNULL, capture_output=True,
                          check=False, timeout=patience(60))
    equal(done.returncode, 1)
    assert b"descriptors 3 and 4" in done.stderr, done


main(None if available() else "redis-server is not installed")
