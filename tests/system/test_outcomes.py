#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How a run may end, and what is in Redis and in the log then."""

import base64
import json
import os
import signal
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLED, Fettled, command, job, native
from places import member, now, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import patience, until

JID = "0123456789abcdef0123456%x"


def shell(name, script, **members):
    return command(name, ["/bin/sh", "-c", script], **members)


def push(client, name, args=(), **members):
    members.setdefault("jid", JID % 0)
    client.call("LPUSH", "queue:default", job(name, args, **members))
    return members["jid"]


def await_member(client, key, jid):
    return until(lambda: member(client, key, jid), what="%s in %s" % (jid, key))


def check_first_failure(client, found, error_class, *texts):
    """The fields of a first failure, as the layout has them."""
    got, score = found
    equal(got["error_class"], error_class, "error_class")
    for text in texts:
        assert text in got["error_message"], got["error_message"]
    equal(got["retry_count"], 0, "retry_count")
    equal(got["queue"], "default", "queue")
    assert "retried_at" not in got, got
    time_now = now(client)
    assert isinstance(got["failed_at"], float), got
    assert time_now - patience(20) < got["failed_at"] <= time_now, got
    delay = score - got["failed_at"]
    assert 14.9 <= delay <= 25.1, "due %.2f s after the failure" % delay


def test_four_ways_to_fail(t):
    """A C handler that returns an error, one that panics, a command that exits with 3, a command that
    is killed: each is in retry, the daemon is the same process, and its other jobs finish."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings(
        shell("Exit3", "echo out; echo the reason >&2; exit 3"),
        shell("Killed", "echo dying >&2; kill -SEGV $$"))))
    daemon.wait_ready()
    pid = daemon.pid
    for _ in range(4):
        redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 0.5]))
    until(lambda: probe.slot(0).running == 4, what="other jobs to run")
    cases = (("Fail", ["it broke"]), ("Panic", ["it burst"]), ("Exit3", []), ("Killed", []))
    for i, (name, args) in enumerate(cases):
        push(redisd.client, name, args, jid=JID % i, unknown={"n": 12345678901234567890})
    found = [await_member(redisd.client, "retry", JID % i) for i in range(4)]
    check_first_failure(redisd.client, found[0], found[0][0]["error_class"], "it broke")
    check_first_failure(redisd.client, found[1], "Panic", "it burst")
    check_first_failure(redisd.client, found[2], "ExitStatus", "3", "the reason")
    check_first_failure(redisd.client, found[3], "Signal", "SEGV", "dying")
    for got, _ in found:
        equal(got["unknown"], {"n": 12345678901234567890}, "an unknown member")
    until(lambda: probe.slot(0).done == 4, what="the other jobs to finish")
    equal(daemon.process.poll(), None, "the daemon's end")
    equal(daemon.pid, pid, "pid")
    failed = daemon.wait_events(4, "job.failed")
    equal({e["jid"] for e in failed}, {JID % i for i in range(4)}, "jobs reported as failed")
    assert all(e["retry_count"] == 0 and e["reason"] == "retry" for e in failed), failed


def test_backtrace_of_a_panic(t):
    """It is in the log, with the frame of the handler that panicked."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    jid = push(redisd.client, "Panic", ["look here"])
    event = daemon.wait_event("task.panic")
    equal((event["jid"], event["class"]), (jid, "Panic"), "whose panic it is")
    assert "look here" in event["reason"], event
    frames = event["backtrace"].splitlines()
    equal([frame.split()[0] for frame in frames], ["#%d" % i for i in range(len(frames))], "frames")
    inside = [i for i, frame in enumerate(frames) if "hello.so" in frame]
    assert inside and inside[0] > 0 and "ftl_panic" in frames[inside[0] - 1], event["backtrace"]


def test_dump_of_tasks(t):
    """SIGTTIN logs every task with where it waits, runs and our own, and disturbs none."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings()))
    daemon.wait_ready()
    for _ in range(3):
        push(redisd.client, "Hold", [0, 1.5])
    until(lambda: probe.slot(0).running == 3, what="3 runs")
    since = daemon.mark()
    daemon.signal(signal.SIGTTIN)
    daemon.wait_events(3, "daemon.dump", since=since, worker="jobs")
    dumped = daemon.find("daemon.dump", since=since)
    runs = [e for e in dumped if e["worker"] == "jobs"]
    equal(len(runs), 3, "runs in the dump")
    for event in runs:
        equal(event["state"], "waiting", "state")
        assert "probe.so" in event["backtrace"], event["backtrace"]
    ours = {e["task"] for e in dumped if e["worker"] == "control"}
    assert {"signals", "claim", "settle", "lease"} <= ours, ours
    equal(len({(e["worker"], e["task_id"]) for e in dumped}), len(dumped), "tasks, each once")
    until(lambda: probe.slot(0).done == 3, what="the runs to finish")


def test_backtrace_in_the_job(t):
    """`backtrace` true keeps all lines, a number so many, absent none."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    for i, wish in enumerate((True, 2, False)):
        push(redisd.client, "Panic", ["x"], jid=JID % i, backtrace=wish)
    got = [await_member(redisd.client, "retry", JID % i)[0] for i in range(3)]
    lines = [json.loads(zlib.decompress(base64.b64decode(one["error_backtrace"])))
             for one in got[:2]]
    assert len(lines[0]) > 2 and all(isinstance(line, str) for line in lines[0]), lines
    equal(len(lines[1]), 2, "lines kept")
    assert "error_backtrace" not in got[2], got[2]


def test_later_failures(t):
    """The next failure raises the count, keeps failed_at and sets retried_at; the delay grows."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    push(redisd.client, "Fail", ["again"], retry_count=4, failed_at=1700000000.25,
         retried_at=1700000300.5, error_class="Old", error_message="old")
    got, score = await_member(redisd.client, "retry", JID % 0)
    equal((got["retry_count"], got["failed_at"]), (5, 1700000000.25), "count and first failure")
    assert got["error_class"] != "Old" and "again" in got["error_message"], got
    assert abs(got["retried_at"] - now(redisd.client)) < patience(20), got
    assert 625 + 15 <= score - got["retried_at"] + 0.1 <= 625 + 15 + 60.2, score - got["retried_at"]


def test_exhausted(t):
    """After 25 retries, or the job's own number, it is dead; retry 0 dies at the first failure."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    first = {"failed_at": 1700000000.25, "retried_at": 1700000300.5}
    push(redisd.client, "Fail", ["a"], jid=JID % 0, retry_count=24, **first)
    push(redisd.client, "Fail", ["b"], jid=JID % 1, retry=3, retry_count=2, **first)
    push(redisd.client, "Fail", ["c"], jid=JID % 2, retry=0)
    push(redisd.client, "Fail", ["d"], jid=JID % 3, retry_count=23, **first)
    for i, count in (0, 25), (1, 3), (2, 0):
        got, score = await_member(redisd.client, "dead", JID % i)
        equal(got["retry_count"], count, "retry_count")
        assert got["error_class"] and got["error_message"] and got["failed_at"], got
        assert abs(score - now(redisd.client)) < 20, "score of a dead job"
    equal(await_member(redisd.client, "retry", JID % 3)[0]["retry_count"], 24, "one before the last")
    dead = daemon.wait_events(3, "job.dead")
    equal({e["reason"] for e in dead}, {"exhausted"}, "reasons")


def test_dropped_on_purpose(t):
    """retry:false and dead:false end without a trace in Redis, and say so."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    push(redisd.client, "Fail", ["a"], jid=JID % 0, retry=False)
    push(redisd.client, "Fail", ["b"], jid=JID % 1, retry=0, dead=False)
    equal(daemon.wait_event("job.dropped", jid=JID % 0)["reason"], "retry:false", "reason")
    equal(daemon.wait_event("job.dropped", jid=JID % 1)["reason"], "dead:false", "reason")
    until(lambda: not places(redisd.client), what="no job left")


def test_retry_queue(t):
    """A failed job waits for the queue that `retry_queue` names."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    push(redisd.client, "Fail", ["x"], retry_queue="slow", queue="default")
    equal(await_member(redisd.client, "retry", JID % 0)[0]["queue"], "slow", "queue")


def test_never_again_and_later(t):
    """A C handler may say never again (dead at once) and later (no attempt is used up)."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings()))
    push(redisd.client, "Never", ["bad input"], jid=JID % 0)
    got, _ = await_member(redisd.client, "dead", JID % 0)
    equal((got["error_class"], got["error_message"]), ("ProbeError", "bad input"), "error")
    equal(daemon.wait_event("job.dead", jid=JID % 0)["reason"], "never", "reason")
    push(redisd.client, "Later", [300], jid=JID % 1)
    got, score = await_member(redisd.client, "retry", JID % 1)
    assert "retry_count" not in got, got
    assert 300 - patience(20) < score - now(redisd.client) <= 300.5, score
    event = daemon.wait_event("job.failed", jid=JID % 1)
    equal(event["reason"], "later", "reason")
    assert "retry_count" not in event, event


def test_command_sees_the_job(t):
    """One line on stdin, FETTLE_* and `env` in a clean environment, its directory; its output is in
    the log."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, environment={"SECRET_OF_THE_DAEMON": "1"}, handlers=[
        shell("Look", "cat; echo; echo cwd=$(pwd); env; echo problem >&2",
              env=["GREETING=hi there"], cwd="/usr", timeout=30)]))
    text = '{"class":"Look",\n "args":[1.10,\r\n\t12345678901234567890],"jid":"%s"}' % (JID % 0)
    redisd.client.call("LPUSH", "queue:default", text)
    done = daemon.wait_event("job.done")
    lines = [e["line"] for e in daemon.find("job.stdout")]
    equal(json.loads(lines[0]), json.loads(text), "the job on stdin")
    assert "1.10" in lines[0] and "12345678901234567890" in lines[0], lines[0]
    variables = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "{")
    equal({k: variables.get(k) for k in ("FETTLE_JID", "FETTLE_CLASS", "FETTLE_QUEUE",
                                         "FETTLE_ATTEMPT", "FETTLE_TOKEN", "GREETING", "cwd")},
          {"FETTLE_JID": JID % 0, "FETTLE_CLASS": "Look", "FETTLE_QUEUE": "default",
           "FETTLE_ATTEMPT": "1", "FETTLE_TOKEN": str(done["token"]), "GREETING": "hi there",
           "cwd": "/usr"}, "environment")
    assert abs(float(variables["FETTLE_DEADLINE"]) - now(redisd.client) - 30) < 29, variables
    assert "SECRET_OF_THE_DAEMON" not in variables, "the daemon's environment leaks"
    error = daemon.wait_event("job.stderr")
    equal((error["line"], error["jid"]), ("problem", JID % 0), "stderr in the log")


def test_exit_codes(t):
    """0 success, 75 later, 65 (or what dead_exit lists) never again, anything else a failure."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd, handlers=[
        shell("Success", "exit 0"), shell("Later", "exit 75"), shell("Never", "exit 65"),
        shell("Other", "exit 66", dead_exit=[66, 67]), shell("Plain", "exit 65", dead_exit=[66])]))
    for i, name in enumerate(("Success", "Later", "Never", "Other", "Plain")):
        push(redisd.client, name, jid=JID % i)
    assert "retry_count" not in await_member(redisd.client, "retry", JID % 1)[0]
    for i in 2, 3:
        equal(await_member(redisd.client, "dead", JID % i)[0]["error_class"], "ExitStatus", "class")
    equal(await_member(redisd.client, "retry", JID % 4)[0]["retry_count"], 0, "retry_count")
    until(lambda: sum(map(len, places(redisd.client).values())) == 4, what="the success to be gone")


def test_child_signal_ignored(t):
    """A parent that ignores SIGCHLD passes that on; the ends of commands are known nevertheless."""
    redisd = t.use(Redisd())
    program = os.path.join(redisd.directory, "ignoring")
    with open(program, "w") as file:
        file.write("#!%s\nimport os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
                   "os.execv(%r, [%r] + sys.argv[1:])\n" % (sys.executable, FETTLED, FETTLED))
    os.chmod(program, 0o755)
    daemon = t.use(Fettled(redisd, program=program,
                           handlers=[shell("Success", "exit 0"), shell("Other", "exit 3")]))
    push(redisd.client, "Success", jid=JID % 0)
    push(redisd.client, "Other", jid=JID % 1)
    daemon.wait_event("job.done", jid=JID % 0)
    equal(daemon.wait_event("job.failed")["error_class"], "ExitStatus", "class of the failure")


def processes(text):
    """The pids whose command line has this text."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                if text.encode() in file.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def test_timeout_of_a_command(t):
    """The whole group gets TERM, then KILL; the run has failed with class Timeout."""
    redisd = t.use(Redisd())
    tag = "%d.%03d" % (t.random.randrange(10000, 20000), t.random.randrange(1000))
    daemon = t.use(Fettled(redisd, handlers=[
        shell("Obeys", "trap 'echo terminated; exit 1' TERM; sleep %s & wait" % tag, timeout=2),
        shell("Ignores", "trap '' TERM; sleep %s; sleep %s" % (tag, tag), timeout=0.5,
              kill_after=0.5)]))
    push(redisd.client, "Obeys", jid=JID % 0)
    push(redisd.client, "Ignores", jid=JID % 1)
    for i in range(2):
        check_first_failure(redisd.client, await_member(redisd.client, "retry", JID % i), "Timeout")
    daemon.wait_event("job.stdout", line="terminated")
    until(lambda: not processes("sleep\0" + tag), what="nothing of the groups to be left")


def test_timeout_of_a_native_run(t):
    """A C handler that waits too long is ended where it waits, with class Timeout."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    settings = probe.settings()
    for handler in settings["handlers"]:
        if handler["class"] == "Hold":
            handler["timeout"] = 0.5
    daemon = t.use(Fettled(redisd, **settings))
    push(redisd.client, "Hold", [0, 60])
    check_first_failure(redisd.client, await_member(redisd.client, "retry", JID % 0), "Timeout")
    equal(tuple(probe.slot(0))[:1], (0,), "runs whose defers have not run")
    assert daemon.wait_event("job.failed")["duration_ms"] < 30000


def test_time_to_answer(t):
    """A C handler has kill_after to answer its timeout, and is ended where it waits when that is over."""
    redisd, probe = t.use(Redisd()), t.use(Probe(2))
    settings = probe.settings(native("Heed", "probe", timeout=0.3, kill_after=0.7))
    t.use(Fettled(redisd, **settings))
    push(redisd.client, "Heed", [0, 0.1], jid=JID % 0)
    push(redisd.client, "Heed", [1, 60], jid=JID % 1)
    check_first_failure(redisd.client, await_member(redisd.client, "retry", JID % 0), "Timeout",
                        "not done after 0.3 s: saved half of it")
    check_first_failure(redisd.client, await_member(redisd.client, "retry", JID % 1), "Timeout")
    equal(probe.cells(), (1, 0), "answers")


def test_command_that_does_not_read(t):
    """A job larger than a pipe for a command that ignores stdin, and one that reads all of it."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, handlers=[shell("Ignores", "exit 0"), shell("Counts", "wc -c")]))
    text = job("Counts", ["x" * 300000])
    redisd.client.call("LPUSH", "queue:default", job("Ignores", ["x" * 300000]), text)
    daemon.wait_events(2, "job.done", timeout=20)
    equal(int(daemon.find("job.stdout")[0]["line"]), len(text) + 1, "bytes on stdin")


def test_command_not_found_any_more(t):
    """A command that vanished after the start fails its runs, not the daemon."""
    redisd = t.use(Redisd())
    path = os.path.join(redisd.directory, "tool")
    with open(path, "w") as file:
        file.write("#!/bin/sh\nexit 0\n")
    os.chmod(path, 0o755)
    daemon = t.use(Fettled(redisd, handlers=[command("Tool", [path])]))
    daemon.wait_ready()
    push(redisd.client, "Tool", jid=JID % 0)
    daemon.wait_event("job.done")
    os.unlink(path)
    push(redisd.client, "Tool", jid=JID % 1)
    got, _ = await_member(redisd.client, "retry", JID % 1)
    assert got["error_class"] and got["error_message"], got


def test_counters(t):
    """stat:processed and stat:failed count what has ended."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    for i in range(10):
        push(redisd.client, "Fail" if i < 3 else "Noop", ["x"], jid=JID % i)
    daemon.wait_events(3, "job.failed")
    daemon.wait_events(7, "job.done")
    daemon.stop()
    equal([redisd.client.call("GET", "stat:" + name) for name in ("processed", "failed")],
          [b"10", b"3"], "stat:processed and stat:failed")


main(None if available() else "there is no redis-server")
