#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fettled --dev: a private Redis, the sample modules, every job logged, and how to enqueue."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import child
from fettled import FETTLED, MODULES_DIR, job
from redisd import available
from resp import Redis
from tap import equal, main
from wait import RELAXED, Timeout, deadline, in_time, patience, until


class Dev:
    """The daemon as a person starts it: what it prints, as lines with the time at which they came."""

    def __init__(self, *words, program=FETTLED):
        self.lines = []
        self._news = threading.Condition()
        self.process = child.start([program, "--dev", *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append((time.monotonic(), line.decode(errors="replace").rstrip("\n")))
                self._news.notify_all()

    def wait(self, pattern, timeout=20, since=0):
        """The time and the match of the first line with this pattern."""
        end = deadline(timeout)
        with self._news:
            while True:
                for at, line in self.lines[since:]:
                    match = re.search(pattern, line)
                    if match:
                        return at, match
                if not self._news.wait(max(end - time.monotonic(), 0)):
                    raise Timeout("no line with " + pattern)

    def socket(self):
        return self.wait(r"redis-cli -s '?([^ ']+)'? LPUSH")[1].group(1)

    def run(self, line):
        """Runs the printed line, or what it says if there is no redis-cli; returns the seconds
        until the job has logged."""
        since = len(self.lines)
        with Redis(self.socket()) as client:
            start = time.monotonic()
            if shutil.which("redis-cli") is None:
                client.call("LPUSH", "queue:default", job("Hello", ["world"]))
            else:
                done = subprocess.run(line, shell=True, capture_output=True, text=True,
                                      timeout=patience(20))
                equal(done.returncode, 0, done.stderr)
        return self.wait(r"event=job\.log .*hello, world", since=since)[0] - start

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return child.finish(self.process, 10)

    def diagnose(self):
        return "\n".join(line for _, line in self.lines)


def test_the_printed_line_runs_a_job(t):
    """The printed redis-cli line runs the sample job; its log line is there within 100 ms, at the
    best of three times, since others use the machine too."""
    dev = t.use(Dev())
    _, match = dev.wait(r"(redis-cli .*LPUSH .*)$")
    dev.wait(r"daemon\.ready")
    best = min(dev.run(match.group(1)) for _ in range(3))
    t.note("%.0f ms from the start of redis-cli to the log line" % (best * 1000))
    in_time(best, 0.1, "the log line")
    dev.wait(r"event=job\.done .*class=Hello")
    equal(dev.stop(), 0, "exit code")


def test_it_cleans_up(t):
    """Its redis-server ends with it, and nothing of its directory is left."""
    dev = t.use(Dev())
    socket = dev.socket()
    dev.wait(r"daemon\.ready")
    with Redis(socket) as client:
        text = client.call("INFO", "server").decode()
    pid = int(re.search(r"process_id:(\d+)", text).group(1))
    equal(dev.stop(), 0, "exit code")
    until(lambda: not os.path.exists("/proc/%d" % pid), 5, "redis-server to be gone")
    assert not os.path.exists(socket), socket


def test_killed_it_leaves_no_server(t):
    """Also after SIGKILL no redis-server stays behind."""
    dev = t.use(Dev())
    socket = dev.socket()
    dev.wait(r"daemon\.ready")
    with Redis(socket) as client:
        pid = int(re.search(r"process_id:(\d+)", client.call("INFO", "server").decode()).group(1))
    dev.process.kill()
    child.finish(dev.process, 5)
    until(lambda: not os.path.exists("/proc/%d" % pid), 5, "redis-server to be gone")
    shutil.rmtree(os.path.dirname(socket), ignore_errors=True)


def test_a_directory_is_kept(t):
    """--dev DIR keeps its jobs there from one start to the next."""
    directory = tempfile.mkdtemp(prefix="fettle-dev-")
    t.defer(shutil.rmtree, directory)
    first = t.use(Dev(directory))
    first.wait(r"daemon\.ready")
    with Redis(first.socket()) as client:
        client.call("LPUSH", "queue:later", job("Hello", ["kept"]))
    equal(first.stop(), 0, "exit code")
    second = t.use(Dev(directory))
    second.wait(r"daemon\.ready")
    with Redis(second.socket()) as client:
        equal(client.call("LLEN", "queue:later"), 1, "jobs kept")
    equal(second.stop(), 0, "exit code")


def test_a_directory_has_one_daemon(t):
    """While one uses it, the next is refused by name, and the first does not notice; after a kill -9
    it is free as soon as the server has ended."""
    directory = tempfile.mkdtemp(prefix="fettle-dev-")
    t.defer(shutil.rmtree, directory)
    first = t.use(Dev(directory))
    first.wait(r"daemon\.ready")
    second = t.use(Dev(directory))
    equal(child.finish(second.process, 10), 1, "exit code")
    second.wait("--dev: %s: another fettled uses it" % re.escape(directory))
    with Redis(first.socket()) as client:
        pid = int(re.search(r"process_id:(\d+)", client.call("INFO", "server").decode()).group(1))
        client.call("LPUSH", "queue:default", job("Hello", ["untouched"]))
    first.wait("hello, untouched")
    first.process.kill()
    child.finish(first.process, 5)
    until(lambda: not os.path.exists("/proc/%d" % pid), 5, "redis-server to be gone")
    third = t.use(Dev(directory))
    third.wait(r"daemon\.ready")
    equal(third.stop(), 0, "exit code")


def test_the_lock_outlives_a_restart(t):
    """A daemon that has begun anew still has its directory for itself, and gives it back at its end."""
    if RELAXED:
        return t.note("under a sanitizer nothing is contained")
    directory = tempfile.mkdtemp(prefix="fettle-dev-")
    t.defer(shutil.rmtree, directory)
    first = t.use(Dev(directory))
    first.wait(r"daemon\.ready")
    with Redis(first.socket()) as client:
        client.call("LPUSH", "queue:default", job("NullRead"))
        first.wait(r"event=daemon\.restart")
        client.call("LPUSH", "queue:default", job("Hello", ["again"]))
    first.wait("hello, again")
    second = t.use(Dev(directory))
    equal(child.finish(second.process, 10), 1, "exit code")
    equal(first.stop(), 0, "exit code")
    third = t.use(Dev(directory))
    third.wait(r"daemon\.ready")
    equal(third.stop(), 0, "exit code")


def test_all_samples(t):
    """Both modules are loaded; a failure is logged and the daemon goes on."""
    dev = t.use(Dev())
    dev.wait(r"daemon\.ready")
    with Redis(dev.socket()) as client:
        client.call("LPUSH", "queue:default", job("Fail", ["on purpose"]), job("Leak", [1000]))
        dev.wait(r"event=job\.failed .*on purpose")
        dev.wait(r"event=job\.done .*class=Leak")
        for queue in "critical", "low":
            client.call("LPUSH", "queue:" + queue, job("Hello", [queue]))
            dev.wait("hello, " + queue)
    equal(dev.stop(), 0, "exit code")


def test_the_server_outlives_a_restart(t):
    """After a wild pointer the daemon begins anew: with the same server, which goes at the end."""
    if RELAXED:
        return t.note("under a sanitizer nothing is contained")
    dev = t.use(Dev())
    dev.wait(r"daemon\.ready")
    with Redis(dev.socket()) as client:
        client.call("SET", "mark", "1")
        client.call("LPUSH", "queue:default", job("NullRead"))
        dev.wait(r"event=daemon\.restart")
        client.call("LPUSH", "queue:default", job("Hello", ["again"]))
        dev.wait("hello, again")
        equal(client.call("GET", "mark"), b"1", "what was there before")
    directory = os.path.dirname(dev.socket())
    equal(dev.stop(), 0, "exit code")
    assert not os.path.exists(directory), directory


def test_faults_need_not_be_there(t):
    """They are not installed: the samples that are there run, and a fault has no handler."""
    directory = tempfile.mkdtemp(prefix="fettle-dev-")
    t.defer(shutil.rmtree, directory)
    os.mkdir(os.path.join(directory, "modules"))
    shutil.copy(os.path.join(MODULES_DIR, "hello.so"), os.path.join(directory, "modules"))
    dev = t.use(Dev(program=shutil.copy(FETTLED, directory)))
    with Redis(dev.socket()) as client:
        client.call("LPUSH", "queue:default", job("Hello", ["installed"]), job("Leak", [1000]))
    dev.wait("hello, installed")
    dev.wait(r"event=job\.unroutable .*class=Leak")
    equal(dev.stop(), 0, "exit code")


main(None if available() else "there is no redis-server")
