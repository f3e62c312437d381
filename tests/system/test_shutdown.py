#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How it stops: in time, with nothing lost, nothing left running and the queues as they were."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from cutter import Cutter
from fettled import Fettled, command, job, native
from places import inflight, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main, thrice
from wait import in_time, patience, until


def commands(tag):
    """The pids of `sleep TAG`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().split(b"\0")
                if words[0].endswith(b"sleep") and words[1] == tag.encode():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def a_minute(t):
    """An argument for sleep that no other process on this machine has."""
    return "60.%06d" % t.random.randrange(1000000)


def queue(client, name="default"):
    """A queue's jobs as text, the next to run first."""
    return [raw.decode() for raw in reversed(client.call("LRANGE", "queue:" + name, 0, -1))]


def odd_texts(name, count):
    """Jobs whose bytes no JSON library would write like this."""
    return ['{ "class" :"%s","args":[ ],\t"n":%d, "big":12345678901234567890,"f":1.10}' % (name, i)
            for i in range(count)]


def test_eight_commands_of_a_minute(t):
    """SIGTERM with shutdown_timeout 2: exit 0 within 3 s, the commands gone, the jobs at the front of
    their queue, byte-identical, in their old order; the next start runs them."""
    redisd, tag = t.use(Redisd()), a_minute(t)
    texts = odd_texts("Minute", 12)
    redisd.client.call("LPUSH", "queue:default", *texts)
    minute = [command("Minute", ["/bin/sh", "-c", "sleep %s; exit 1" % tag])]
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=2, handlers=minute))
    until(lambda: len(commands(tag)) == 8, what="8 commands to run")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    t.note("SIGTERM to exit: %.2f s" % took)
    equal(commands(tag), [], "commands that still run")
    in_time(took, 3)
    equal(queue(redisd.client), texts, "the queue, next to run first")
    equal(list(places(redisd.client)), ["queue:default"], "places with jobs")
    equal(len(daemon.find("job.returned", reason="shutdown")), 8, "jobs reported as returned")
    equal(daemon.find("job.failed"), [], "failures")
    daemon.configure(handlers=[command("Minute", ["/bin/true"])])
    daemon.start()
    until(lambda: not places(redisd.client), what="all 12 to be done")
    equal(len(daemon.wait_events(12, "job.done")), 12, "runs after the next start")


def test_running_jobs_may_finish(t):
    """Runs that end before the timeout are settled, none is repeated, and the exit does not wait
    longer than they do."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=20, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 0.7]) for _ in range(20)])
    until(lambda: probe.slot(0).running == 8, what="8 runs")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    in_time(took, 2)
    slot = probe.slot(0)
    equal((slot.running, slot.done), (0, slot.started), "runs cut off")
    equal(len(queue(redisd.client)), 20 - slot.done, "jobs left in the queue")
    equal(inflight(redisd.client), 0, "jobs in flight")


def test_native_runs_are_cut_off(t):
    """C handlers that wait are ended where they wait; their defers have run; byte-identical jobs."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    texts = [job("Hold", [0, 60], n=i) for i in range(8)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=0.3, **probe.settings()))
    until(lambda: probe.slot(0).running == 8, what="8 runs")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    in_time(took, 1.3)
    equal((probe.slot(0).running, probe.slot(0).done), (0, 0), "defers run, jobs done")
    equal(queue(redisd.client), texts, "the queue, next to run first")


def test_late_itself(t):
    """A daemon that was not let run for longer than its drain may take, as on a machine that swaps: its
    runs have their time to end all the same."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    texts = [job("Hold", [0, 60], n=i) for i in range(8)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    daemon = t.use(Fettled(redisd, concurrency=8, shutdown_timeout=1, **probe.settings()))
    until(lambda: probe.slot(0).running == 8, what="8 runs")
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("daemon.stopping")
    daemon.signal(signal.SIGSTOP)
    time.sleep(2.5)
    daemon.signal(signal.SIGCONT)
    equal(daemon.wait_exit(), 0, "exit code")
    equal(queue(redisd.client), texts, "the queue, next to run first")


def test_interleaved_queues(t):
    """With several queues and some runs done, what is left is in each queue's old order."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    texts = {name: [job("Hold", [0, 0.05 if i % 3 == 0 else 60], q=name, n=i) for i in range(12)]
             for name in ("a", "b")}
    for name in texts:
        redisd.client.call("LPUSH", "queue:" + name, *texts[name])
    daemon = t.use(Fettled(redisd, concurrency=10, shutdown_timeout=0.3, **probe.settings(),
                           queues=[{"name": "a", "concurrency": 5}, {"name": "b"}]))
    until(lambda: probe.slot(0).running == 10, what="10 long runs")
    time.sleep(0.5)
    daemon.stop()
    left = {name: queue(redisd.client, name) for name in texts}
    for name, got in left.items():
        equal(got, [text for text in texts[name] if text in got], "order of queue " + name)
    equal(sum(map(len, left.values())), 24 - probe.slot(0).done, "jobs left")
    equal(sum(map(len, places(redisd.client).values())), 24 - probe.slot(0).done, "jobs anywhere")


def test_second_sigterm(t):
    """The second one does the same at once."""
    redisd, tag = t.use(Redisd()), a_minute(t)
    texts = odd_texts("Minute", 4)
    redisd.client.call("LPUSH", "queue:default", *texts)
    daemon = t.use(Fettled(redisd, shutdown_timeout=50,
                           handlers=[command("Minute", ["sleep", tag])]))
    until(lambda: len(commands(tag)) == 4, what="4 commands to run")
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("daemon.stopping")
    time.sleep(0.3)
    equal(len(commands(tag)), 4, "commands after the first SIGTERM")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    in_time(took, 1.5)
    equal(commands(tag), [], "commands that still run")
    equal(queue(redisd.client), texts, "the queue, next to run first")


def await_claim(redisd, count):
    """Redis has given that many jobs away."""
    until(lambda: inflight(redisd.client) == count, what="%d jobs in flight" % count)


def test_claim_on_its_way(t):
    """SIGTERM while Redis' answer to a claim is on its way: it is waited for, and what it brings is
    put back without having run."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    cutter.hold(b"late")
    daemon = t.use(Fettled(cutter.url, concurrency=16, **probe.settings()))
    daemon.wait_ready()
    texts = [job("Hold", [0, 60], jid="late%d" % i) for i in range(5)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    await_claim(redisd, 5)
    daemon.signal(signal.SIGTERM)
    daemon.wait_event("daemon.quiet")
    time.sleep(0.3)
    cutter.release()
    start = time.monotonic()
    equal(daemon.wait_exit(), 0, "exit code")
    took = time.monotonic() - start
    in_time(took, 1.5)
    equal(probe.slot(0).started, 0, "runs begun")
    equal(queue(redisd.client), texts, "the queue, next to run first")
    equal(len(daemon.find("job.returned", reason="quiet")), 5, "jobs reported as returned")
    equal(inflight(redisd.client), 0, "jobs in flight")
    equal(redisd.client.call("HLEN", "fettle:owners"), 0, "owners left")


def test_claim_that_is_not_answered(t):
    """If the answer does not come in time, the jobs are left to the lease, and the exit code says so:
    also when they are cut off at once by a second SIGTERM."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    cutter.hold(b"late")
    for timeout in 1, 50:
        daemon = t.use(Fettled(cutter.url, shutdown_timeout=timeout, **probe.settings()))
        daemon.wait_ready()
        before = inflight(redisd.client)
        redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 60], jid="late"))
        await_claim(redisd, before + 1)
        start = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.wait_event("daemon.stopping")
        if timeout == 50:
            daemon.signal(signal.SIGTERM)
        equal(daemon.wait_exit(), 3, "exit code")
        took = time.monotonic() - start
        in_time(took, 2.5)
        equal(daemon.find("daemon.stopped")[0]["left"], 1, "jobs left")
        equal(daemon.find("daemon.stuck"), [], "runs said to be stuck")
        equal(inflight(redisd.client), before + 1, "jobs in flight")


def test_claim_whose_answer_is_lost(t):
    """SIGTERM when a claim's answer has been lost: what it had taken is found and put back."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    texts = [job("Hold", [0, 60], n=i) for i in range(5)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    cutter.cut(b"fettle:token", 1)
    daemon = t.use(Fettled(cutter.url, concurrency=16, **probe.settings()))
    until(lambda: cutter.left() == 0, what="the claim to be cut")
    daemon.stop()
    equal(probe.slot(0).started, 0, "runs begun")
    equal(queue(redisd.client), texts, "the queue, next to run first")
    equal(list(places(redisd.client)), ["queue:default"], "places with jobs")
    equal(redisd.client.call("HLEN", "fettle:owners"), 0, "owners left")


def test_parked_jobs_before_a_claim_on_its_way(t):
    """Parked jobs are older than what a claim on its way brings, and end up in front of it."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    cutter = t.use(Cutter(redisd.socket))
    cutter.hold(b"late")
    daemon = t.use(Fettled(cutter.url, shutdown_timeout=0.2, **probe.settings(Hold=1)))
    texts = [job("Hold", [0, 60], n=i) for i in range(4)]
    late = [job("Hold", [0, 60], jid="late%d" % i) for i in range(2)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    until(lambda: probe.slot(0).running == 1, what="one run")
    await_claim(redisd, 4)
    redisd.client.call("LPUSH", "queue:default", *late)
    await_claim(redisd, 6)
    daemon.signal(signal.SIGTSTP)
    daemon.wait_event("daemon.quiet")
    cutter.release()
    until(lambda: queue(redisd.client) == texts[1:] + late, what="5 jobs back in their order")
    daemon.stop()
    equal(queue(redisd.client), texts + late, "the queue, next to run first")


def test_interrupt_is_the_same(t):
    """SIGINT stops it like SIGTERM; idle it goes at once."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    start = time.monotonic()
    daemon.signal(signal.SIGINT)
    equal(daemon.wait_exit(10), 0, "exit code")
    took = time.monotonic() - start
    in_time(took, 1)
    equal(redisd.client.call("HLEN", "fettle:owners"), 0, "owners left")
    equal(redisd.client.call("SCARD", "processes"), 0, "processes left")
    stopped = daemon.find("daemon.stopped")
    equal([(e["exit"], e["returned"], e["left"]) for e in stopped], [(0, 0, 0)], "last word")


@thrice
def test_commands_that_ignore_sigterm(t):
    """They get SIGKILL, and the exit is still in time."""
    redisd, tag = t.use(Redisd()), a_minute(t)
    script = "trap '' TERM; sleep %s; sleep %s" % (tag, tag)
    daemon = t.use(Fettled(redisd, shutdown_timeout=1,
                           handlers=[command("Stubborn", ["/bin/sh", "-c", script])]))
    texts = odd_texts("Stubborn", 3)
    redisd.client.call("LPUSH", "queue:default", *texts)
    until(lambda: len(commands(tag)) == 3, what="3 commands to run")
    start = time.monotonic()
    daemon.stop()
    took = time.monotonic() - start
    t.note("SIGTERM to exit: %.2f s" % took)
    in_time(took, 2)
    equal(commands(tag), [], "commands that still run")
    equal(queue(redisd.client), texts, "the queue, next to run first")


def test_quiet(t):
    """TSTP: it claims no more and finishes what it has; TERM still ends it."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 1]))
    until(lambda: probe.slot(0).running == 1, what="one run")
    daemon.signal(signal.SIGTSTP)
    daemon.wait_event("daemon.quiet")
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [1, 0]) for _ in range(3)])
    until(lambda: probe.slot(0).done == 1, what="the run to finish")
    time.sleep(1.2)
    equal(probe.slot(1).started, 0, "runs begun while quiet")
    equal(list(places(redisd.client)), ["queue:default"], "places with jobs")
    daemon.stop()
    equal(len(queue(redisd.client)), 3, "jobs in the queue")


def test_quiet_returns_parked_jobs(t):
    """Parked jobs are back in the queue when it is quiet."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    texts = [job("Hold", [0, 2], n=i) for i in range(6)]
    redisd.client.call("LPUSH", "queue:default", *texts)
    daemon = t.use(Fettled(redisd, **probe.settings(Hold=1)))
    until(lambda: probe.slot(0).running == 1, what="one run")
    daemon.signal(signal.SIGTSTP)
    until(lambda: queue(redisd.client) == texts[1:], what="5 jobs back in their order")
    equal(inflight(redisd.client), 1, "jobs in flight")


def test_dashboard_signals(t):
    """TSTP and TERM through ID-signals, as a dashboard sends them."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    name = daemon.wait_ready()["id"]
    until(lambda: redisd.client.call("SISMEMBER", "processes", name), what="the process record")
    redisd.client.call("LPUSH", name + "-signals", "TSTP")
    daemon.wait_event("daemon.quiet", 12)
    redisd.client.call("LPUSH", name + "-signals", "TERM")
    equal(daemon.wait_exit(15), 0, "exit code")


def test_stuck_thread(t):
    """A C handler that never comes back: shutdown says so and leaves its job to the lease (exit 3);
    the others are settled or put back."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    settings = probe.settings(native("BlockInSyscall", "faults"))
    daemon = t.use(Fettled(redisd, workers=2, shutdown_timeout=1, **settings))
    redisd.client.call("LPUSH", "queue:default", job("BlockInSyscall", [60]))
    daemon.wait_event("job.start")
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 60]))
    until(lambda: probe.slot(0).running == 1, what="the other run")
    start = time.monotonic()
    daemon.stop(expect=3)
    took = time.monotonic() - start
    in_time(took, 3)
    daemon.find("daemon.stuck")[0]
    equal(daemon.find("daemon.stopped")[0]["left"], 1, "jobs left")
    left = places(redisd.client)
    equal(sorted(map(len, left.values())), [1, 1], "one in flight, one in its queue")
    assert b"Hold" in left["queue:default"][0], left


def test_exit_without_redis(t):
    """Redis gone for good: it ends in time, with exit 3 if jobs are left for the lease, 0 if not."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, shutdown_timeout=1, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 60]))
    until(lambda: probe.slot(0).running == 1, what="one run")
    redisd.kill()
    daemon.wait_event("redis.lost")
    start = time.monotonic()
    daemon.stop(expect=3)
    took = time.monotonic() - start
    in_time(took, 3)


def test_usage(t):
    """Exit 2 on a wrong command line; --version and --help answer with 0."""
    import subprocess
    from fettled import FETTLED

    def run(*words):
        done = subprocess.run([FETTLED, *words], capture_output=True, text=True,
                              timeout=patience(20))
        return done.returncode, done.stdout, done.stderr
    code, _, error = run("--frobnicate")
    equal(code, 2, "exit code")
    assert "frobnicate" in error, error
    equal(run("stray")[0], 2, "exit code")
    for option in "--version", "--help":
        code, out, _ = run(option)
        equal(code, 0, option)
        assert "fettled" in out, out


main(None if available() else "there is no redis-server")
