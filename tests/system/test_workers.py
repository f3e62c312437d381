#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Persistent workers: what passes over their two descriptors, how runs in them end, and what becomes
of a worker that lies, floods, stalls or dies."""

import base64
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, SRCDIR, Fettled, job
from places import member, places
from redisd import Redisd, available
from tap import Skip, equal, main, thrice
from wait import by_the_clock, in_time, until

LIAR = os.path.join(SRCDIR, "tests", "lib", "liar.py")


def liar(name, boot="", ready=4, **members):
    settings = {"class": name, "worker": [sys.executable, "-B", LIAR], "processes": 1,
                "env": ["BOOT=" + boot.replace("\\", "\\\\"), "READY=%d" % ready],
                "kill_after": 30}
    return dict(settings, **members)


class Jobs:
    """A daemon with these handlers, and its jobs by number."""

    def __init__(self, t, *handlers, **settings):
        settings.setdefault("shutdown_timeout", 0.2)  # some runs never end
        self.redisd = t.use(Redisd())
        self.client = self.redisd.client
        self.daemon = t.use(Fettled(self.redisd, handlers=list(handlers), concurrency=16, **settings))
        self.daemon.wait_ready()
        self.count = 0

    def push(self, name, *args, **members):
        self.count += 1
        jid = "j%d" % self.count
        self.client.call("LPUSH", "queue:default", job(name, args, jid=jid, **members))
        return jid

    def done(self, name, *args, **members):
        return self.daemon.wait_event("job.done", jid=self.push(name, *args, **members))

    def failed(self, name, *args, **members):
        """The job.failed of a job that must fail."""
        return self.daemon.wait_event("job.failed", jid=self.push(name, *args, **members))

    def dead(self, name, *args, **members):
        """The job.dead of a job that must fail, and is not tried again: it would meet what comes later."""
        return self.daemon.wait_event("job.dead", jid=self.push(name, *args, retry=0, **members))

    def line(self, jid, event="job.stdout"):
        return self.daemon.wait_event(event, jid=jid)["line"]


def gone(pid):
    return not os.path.exists("/proc/%d" % pid)


def test_what_passes(t):
    """The job as one line; an environment that is clean; nothing open but what belongs to it; results
    of any size are dropped; a thousand runs in one process."""
    jobs = Jobs(t, liar("Liar", ready=8))
    text = '{"class":"Liar",\n "args":["echo", "a\\nb"],\r\n "jid":"lines", "big": 1e400}'
    jobs.client.call("LPUSH", "queue:default", text)
    equal(json.loads(jobs.line("lines"))["args"], ["echo", "a\nb"])
    jobs.daemon.wait_event("job.done", jid="lines")
    jid = jobs.push("Liar", "environment")
    jobs.daemon.wait_event("job.done", jid=jid)
    names, fds = [e["line"] for e in jobs.daemon.find("job.stdout", jid=jid)]
    equal(set(names.split()) - {"LC_CTYPE"}, {"BOOT", "HOME", "LANG", "PATH", "READY"})
    equal(fds, "0 1 2 3 4 5")  # 5 is the listing itself
    jobs.done("Liar", "done", "x" * 500000)
    jobs.client.call("LPUSH", "queue:default", *[job("Liar", ["done"]) for _ in range(1000)])
    jobs.daemon.wait_events(1003, "job.done")
    equal(len(jobs.daemon.find("worker.ready")), 1)
    until(lambda: not places(jobs.client), what="no job left")


def test_how_runs_fail(t):
    """Class, message and backtrace are those of the worker; retry:false is never again, retry in
    seconds is later; progress is told at debug."""
    jobs = Jobs(t, liar("Liar"))
    jid = jobs.push("Liar", "fail", {"error_class": "Own::Error", "error_message": "it\nis",
                                     "backtrace": ["a.py:1", "b.py:2"]}, backtrace=True)
    event = jobs.daemon.wait_event("job.failed", jid=jid)
    equal((event["error_class"], event["error_message"], event["retry_count"]),
          ("Own::Error", "it\nis", 0))
    stored = until(lambda: member(jobs.client, "retry", jid))[0]["error_backtrace"]
    equal(json.loads(zlib.decompress(base64.b64decode(stored))), ["a.py:1", "b.py:2"])
    pushed = time.time()
    event = jobs.failed("Liar", "fail", {"retry": 1000})
    assert event["reason"] == "later" and "retry_count" not in event, event
    assert pushed + 999 < event["retry_at"] < time.time() + 1001, event
    jid = jobs.push("Liar", "fail", {"error_message": "no use", "retry": False})
    event = jobs.daemon.wait_event("job.dead", jid=jid)
    equal((event["error_class"], event["error_message"], event["reason"]),
          ("Failed", "no use", "never"))
    equal(jobs.failed("Liar", "deep")["error_class"], "Deep")
    jobs.done("Liar", "progress", 3)
    steps = jobs.daemon.find("job.progress")
    equal([(e["at"], e["total"], e["message"]) for e in steps], [(i, 3, "step") for i in range(3)])
    equal(len(jobs.daemon.find("worker.ready")), 1)


def test_several_at_once(t):
    """As many runs in a process as it is ready for, and no more; what it prints then is the worker's,
    what it prints with one run is that run's."""
    jobs = Jobs(t, liar("Liar", ready=3, processes=2, timeout=2))
    jobs.daemon.wait_events(2, "worker.ready")

    def holding():
        return jobs.daemon.find("job.stdout") + jobs.daemon.find("worker.stdout")

    for _ in range(6):
        jobs.push("Liar", "hold", retry=0)
    until(lambda: len(holding()) == 6)
    equal(len({e["pid"] for e in jobs.daemon.find("worker.stdout")}), 2)
    time.sleep(1)  # so that its own time is not over with theirs
    jobs.push("Liar", "hold", retry=0)
    jobs.daemon.wait_events(7, "job.dead", error_class="Timeout")
    equal({e["line"] for e in holding()}, {"holding"})  # none of them is one too many
    equal(len(jobs.daemon.find("worker.ready")), 2)  # all have heeded their cancel


def test_deaths(t):
    """A worker's death fails the runs that were in it, with the true cause, and no others."""
    jobs = Jobs(t, liar("Liar"), liar("Other"))
    other = jobs.push("Other", "hold")
    equal(jobs.line(other), "holding")
    held = jobs.push("Liar", "hold", retry=0)
    equal(jobs.line(held), "holding")
    for args, error_class, message in (
            (("die", signal.SIGSEGV), "Signal", "killed by SIGSEGV: last words"),
            (("die", signal.SIGKILL), "Signal", "killed by SIGKILL: last words"),
            (("exit", 3), "ExitStatus", "exit status 3"),
            (("exit", 0), "ExitStatus", "exit status 0"),
            (("half",), "ExitStatus", "exit status 3")):
        event = jobs.dead("Liar", *args)
        equal((event["error_class"], event["error_message"]), (error_class, message))
        if held is not None:
            event = jobs.daemon.wait_event("job.dead", jid=held)
            equal((event["error_class"], event["error_message"]), (error_class, message))
            held = None
    jobs.done("Liar", "answer and exit")
    died = jobs.daemon.wait_events(6, "worker.died", handler="Liar")
    equal([e["runs"] for e in died], [2, 1, 1, 1, 1, 0])
    equal({e["restart_ms"] for e in died}, {0})
    jobs.done("Liar", "done")
    equal(jobs.daemon.find("job.failed", jid=other), [])
    equal(len(jobs.daemon.find("worker.ready", handler="Other")), 1)
    for event in died:
        until(lambda: gone(event["pid"]), what="%d to be gone" % event["pid"])


def test_false_starts(t):
    """A worker that says something else than that it is ready, or nothing, is ended and started again
    after a pause that grows; its jobs wait in retry, their counts untouched."""
    wrong = {
        "Zero": ('{"ready":0,"protocol":1}\n', "it is ready for 0 runs at once: 1 to 1000 can be"),
        "Huge": ('{"ready":1000000,"protocol":1}\n',
                 "it is ready for 1000000 runs at once: 1 to 1000 can be"),
        "Future": ('{"ready":1,"protocol":2}\n', "it speaks protocol 2, not 1"),
        "Chatty": ("hello\n", "it has said what is no JSON: not a JSON object"),
        "Hasty": ('{"done":1}\n', "it has said something else before it was ready"),
        "Silent": ("silent", "it has not said that it is ready for 0.5 s"),
        "Short": ("exit", "exit status 7: cannot boot"),
    }
    jobs = Jobs(t, *[liar(name, boot=boot, start_timeout=0.5 if name == "Silent" else 30)
                     for name, (boot, _) in wrong.items()],
                {"class": "Gone", "worker": ["/bin/sh", "-c", "exit 127"]})
    for name, (_, reason) in wrong.items():
        if name != "Short":
            equal(jobs.daemon.wait_event("worker.fault", handler=name)["reason"], reason)
        event = jobs.failed(name, "done")
        assert event["error_class"] == "WorkerError" and event["reason"] == "later", event
        assert reason in event["error_message"] and "retry_count" not in event, event
        pauses = [e["restart_ms"] for e in jobs.daemon.wait_events(3, "worker.died", handler=name)]
        equal(pauses[:3], [100, 200, 400])
        assert reason in jobs.daemon.wait_event("worker.down", handler=name)["reason"]
    equal(jobs.daemon.find("worker.ready"), [])
    assert "exit status 127" in jobs.failed("Gone")["error_message"]


def test_lies(t):
    """The end of a run that it does not have is told and passed over; too many of these, and what is no
    JSON, end the worker and fail its runs."""
    jobs = Jobs(t, liar("Liar"))
    jobs.done("Liar", "twice")
    jobs.done("Liar", "lie")
    jobs.done("Liar", "lie", 2 ** 59)
    jobs.done("Liar", "raw", '{"done":"text"}\n{"unknown":{"deep":[1]}}\n{"ready":4,"protocol":1}\n', 1)
    reasons = [e["reason"] for e in jobs.daemon.wait_events(6, "worker.complaint")]
    assert all("the end of a run that it does not have (token " in r for r in reasons[:3]), reasons
    equal(reasons[3:], ["a member has a wrong value", "no message of the protocol",
                        "it was ready before"])
    equal(len(jobs.daemon.find("worker.ready")), 1)
    for args, reason in ((("raw", "print was here\n"), "it has said what is no JSON: not a JSON object"),
                         (("raw", '{"done":}\n'), "it has said what is no JSON: unexpected byte"),
                         (("lies", 200), "it has said 100 things that are wrong")):
        event = jobs.dead("Liar", *args)
        equal((event["error_class"], event["error_message"]),
              ("WorkerError", "its worker was ended: " + reason))
        jobs.daemon.wait_event("worker.fault", reason=reason)
    jobs.done("Liar", "done")
    assert len(jobs.daemon.find("worker.complaint")) < 30


def test_floods_and_stalls(t):
    """A line without end; more progress than anybody can read; output without end; a worker that reads
    no more, or closes one of its descriptors: no other handler notices."""
    jobs = Jobs(t, liar("Liar"), liar("Deaf", start_timeout=3), liar("Good"))
    event = jobs.dead("Liar", "flood")
    equal(event["error_message"],
          "its worker was ended: it has said more than 1048576 bytes in one line")
    start = time.monotonic()
    jobs.done("Liar", "progress", 3000)
    assert time.monotonic() - start > 0.5  # listened to slowly
    jobs.daemon.wait_event("worker.ready", handler="Deaf")  # it may have needed more than one start
    for name, action, reason in (("Liar", "close 4", "it has closed descriptor 4"),
                                 ("Liar", "close 3", "it has closed descriptor 3"),
                                 ("Deaf", "deaf", "it has not read what it was given for 3 s")):
        first = jobs.push(name, action, retry=0)
        if action != "close 4":
            equal(jobs.line(first), "deaf")
            jobs.push(name, "done", "x" * 300000, retry=0)
        jobs.done("Good", "done")
        event = jobs.daemon.wait_event("job.dead", jid=first)
        equal(event["error_message"], "its worker was ended: " + reason)
    jobs.done("Liar", "done")
    jobs.done("Deaf", "done")


def test_cancelled_in_vain(t):
    """A run that heeds its cancel costs nothing; one that does not is ended with its process, by TERM or,
    kill_after later, by KILL, and whoever was in it with it is tried again, its counts untouched."""
    jobs = Jobs(t, liar("Term", timeout=4, kill_after=0.1), liar("Kill", timeout=4, kill_after=0.1),
                liar("Tame", timeout=1), liar("Patient", timeout=2, kill_after=3))
    jobs.daemon.wait_event("worker.ready", handler="Patient")
    jobs.push("Patient", "stubborn", retry=0)
    guilty = {name: jobs.push(name, action, retry=0)
              for name, action in (("Term", "ignore"), ("Kill", "stubborn"))}
    for jid in guilty.values():
        equal(jobs.line(jid), "ignoring")
    time.sleep(0.5)  # so that the time of these is not over with theirs
    innocent = {name: jobs.push(name, "hold") for name in guilty}
    event = jobs.dead("Tame", "hold")
    equal((event["error_class"], event["error_message"]), ("Timeout", "not done after 1 s"))
    jobs.done("Tame", "finish")  # too late, but done
    equal(len(jobs.daemon.find("worker.ready", handler="Tame")), 1)
    for name in guilty:
        event = jobs.daemon.wait_event("job.dead", jid=guilty[name])
        equal(event["error_class"], "Timeout")
        assert "not done after 4 s: its worker was ended: run " in event["error_message"], event
        event = jobs.daemon.wait_event("job.failed", jid=innocent[name])
        equal((event["error_class"], event["reason"]), ("WorkerError", "later"))
        event = jobs.daemon.wait_event("worker.died", handler=name)
        assert event["reason"].startswith("killed by SIG%s: run " % name.upper()), event
        equal(event["runs"], 2)
    died = jobs.daemon.wait_event("worker.died", handler="Patient")
    assert died["reason"].startswith("killed by SIGKILL: run "), died
    asked = jobs.daemon.find("worker.fault", handler="Patient")[0]
    between = seconds(died) - seconds(asked)
    assert between > 2.99, "%.3f s from TERM to KILL" % between


def test_stuck_in_one_worker(t):
    """Of several runs that do not heed their cancel in one worker each has had its time, whichever of them the
    worker is ended for."""
    jobs = Jobs(t, liar("Liar", timeout=2, kill_after=2))
    jobs.daemon.wait_event("worker.ready")
    jobs.client.call("LPUSH", "queue:default", *[job("Liar", ["ignore"], retry=0)] * 2)
    for event in jobs.daemon.wait_events(2, "job.dead"):
        equal(event["error_class"], "Timeout")
        assert "its worker was ended: run " in event["error_message"], event
    equal(jobs.daemon.wait_event("worker.died")["runs"], 2)
    equal(jobs.daemon.find("job.failed", reason="later"), [])


def test_no_room(t):
    """A run whose time is over while it waits for a place among its workers has done nothing: it comes back,
    its counts untouched, and is done when there is one."""
    jobs = Jobs(t, liar("Liar", ready=1, timeout=1, kill_after=600))
    pid = jobs.daemon.wait_event("worker.ready")["pid"]
    first = jobs.push("Liar", "ignore", retry=0)
    equal(jobs.line(first), "ignoring")
    second = jobs.push("Liar", "done", retry=0)
    event = jobs.daemon.wait_event("job.failed", jid=second)
    equal((event["error_class"], event["error_message"], event["reason"]),
          ("WorkerError", "its workers had no room for it in its time", "later"))
    assert "retry_count" not in event, event
    os.kill(pid, signal.SIGKILL)
    jobs.daemon.wait_event("job.done", jid=second)
    equal(jobs.daemon.wait_event("job.dead")["jid"], first)
    equal(jobs.daemon.find("job.dead", jid=second), [])


def seconds(event):
    """When it was logged."""
    return datetime.datetime.fromisoformat(event["ts"].replace("Z", "+00:00")).timestamp()


def test_cancelled_by_an_operator(t):
    """`fettle cancel` asks the worker; the run that heeds it is in dead, and costs the worker nothing. One
    that does not is ended with it."""
    jobs = Jobs(t, liar("Liar"), liar("Deaf", kill_after=0.3))
    for name, action in (("Liar", "hold"), ("Deaf", "ignore")):
        jid = jobs.push(name, action)
        jobs.line(jid)
        cli = subprocess.run([FETTLE, "--redis", jobs.redisd.url, "cancel", jid], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        equal(cli.returncode, 0, cli.stdout)
        equal(until(lambda: member(jobs.client, "dead", jid))[0]["error_class"], "Cancelled")
    assert jobs.daemon.wait_event("worker.died")["handler"] == "Deaf"
    equal(len(jobs.daemon.find("worker.ready", handler="Liar")), 1)


def test_reload(t):
    """A handler that has changed gets other processes; the old ones finish what they have. One that has
    not keeps its own."""
    jobs = Jobs(t, liar("Liar"), liar("Same"))
    ready = {e["handler"]: e["pid"] for e in jobs.daemon.wait_events(2, "worker.ready")}
    held = jobs.push("Liar", "hold")
    equal(jobs.line(held), "holding")
    mark = jobs.daemon.mark()
    jobs.daemon.reload(handlers=[liar("Liar", ready=2, timeout=1), liar("Same")])
    jobs.daemon.wait_event("config.reloaded")
    new = jobs.daemon.wait_event("worker.ready", since=mark)
    equal((new["handler"], new["runs"]), ("Liar", 2))
    jobs.done("Liar", "done")
    jobs.done("Same", "done")
    assert not gone(ready["Liar"])
    mark = jobs.daemon.mark()
    os.kill(ready["Liar"], signal.SIGKILL)
    event = jobs.daemon.wait_event("job.failed", jid=held)
    equal(event["error_message"], "killed by SIGKILL")
    equal(len(jobs.daemon.find("worker.ready", since=mark)), 0)
    jobs.daemon.reload(handlers=[liar("Same")])
    equal(jobs.daemon.wait_event("worker.stopped")["pid"], new["pid"])
    equal([e["pid"] for e in jobs.daemon.find("worker.ready", handler="Same")], [ready["Same"]])
    until(lambda: gone(new["pid"]))


@thrice
def test_shutdown(t):
    """What was done when it was cut off is done; what heeds its cancel, and what does not, goes back to
    the front of its queue as it was; no process is left, and it is in time."""
    jobs = Jobs(t, liar("Liar", processes=2, ready=2), liar("Stubborn"), shutdown_timeout=0.3)
    jobs.daemon.wait_events(3, "worker.ready")
    for name, action in (("Liar", "finish"), ("Liar", "hold"), ("Stubborn", "stubborn")):
        jid = jobs.push(name, action)
        until(lambda: jobs.daemon.find("job.stdout", jid=jid) or jobs.daemon.find("worker.stdout"))
    start = time.monotonic()
    jobs.daemon.stop()
    in_time(time.monotonic() - start, 1.3)
    with by_the_clock():
        equal(len(jobs.daemon.find("job.done", jid="j1")), 1)
        equal(places(jobs.client), {"queue:default": [job("Stubborn", ["stubborn"], jid="j3").encode(),
                                                      job("Liar", ["hold"], jid="j2").encode()]})
    for event in jobs.daemon.find("worker.ready"):
        assert gone(event["pid"]), event
    stopped = {e["reason"] for e in jobs.daemon.find("worker.stopped")}
    assert stopped and stopped <= {"exit status 0", "killed by SIGTERM"}, stopped  # it has 0.2 s


def test_nothing_leaks(t):
    """Workers that die and are replaced leave neither descriptors nor children behind."""
    jobs = Jobs(t, liar("Liar", processes=2))
    fds = "/proc/%d/fd" % jobs.daemon.pid

    def settled():
        ready = jobs.daemon.find("worker.ready")
        return len(ready) - len(jobs.daemon.find("worker.died")) == 2

    until(settled)
    before = len(os.listdir(fds))
    for _ in range(8):
        jobs.failed("Liar", "die", signal.SIGKILL)
    until(settled)
    until(lambda: len(os.listdir(fds)) <= before, what="%d descriptors" % before)
    path = "/proc/%d/task/%d/children" % (jobs.daemon.pid, jobs.daemon.pid)
    children = [pid for task in os.listdir("/proc/%d/task" % jobs.daemon.pid)
                for pid in open("/proc/%d/task/%s/children" % (jobs.daemon.pid, task)).read().split()]
    equal(len(children), 2, path)


def run_example(t, argv):
    jobs = Jobs(t, {"class": "Resize", "worker": argv, "timeout": 3, "kill_after": 60})
    jobs.daemon.wait_event("worker.ready")  # its start is in the time of a run that waits for it
    jid = jobs.push("Resize", "cat.png", 3)
    jobs.daemon.wait_event("job.done", jid=jid)
    equal(jobs.line(jid), "resized cat.png")
    equal([e["at"] for e in jobs.daemon.find("job.progress", jid=jid)], [0, 1, 2])
    jid = jobs.push("Resize", None, {}, backtrace=True)
    assert jobs.daemon.wait_event("job.failed", jid=jid)["error_class"] == "TypeError"
    assert until(lambda: member(jobs.client, "retry", jid))[0]["error_backtrace"]
    equal(jobs.failed("Resize", "long.png", 1000000)["error_class"], "Timeout")
    equal(len(jobs.daemon.find("worker.ready")), 1)
    jobs.daemon.reload(handlers=[liar("Other")])  # it has a minute to end by itself
    equal(jobs.daemon.wait_event("worker.stopped")["reason"], "exit status 0")


def test_example_in_python(t):
    """The reference worker: results, lines, progress, failures, cancel, an orderly end."""
    run_example(t, [sys.executable, os.path.join(SRCDIR, "examples", "workers", "worker.py")])


def test_example_in_node(t):
    """The same in Node."""
    node = shutil.which("node")
    if node is None:
        raise Skip("there is no node")
    run_example(t, [node, os.path.join(SRCDIR, "examples", "workers", "worker.js")])


main(None if available() else "redis-server is not installed")
