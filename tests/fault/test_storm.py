#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The fault storm: jobs of every kind of handler, a tenth of them bad in every way that a job can be.
The good ones do not notice; of each bad one the true cause is told; the daemon, its lease and the
latency of other queues do not notice either.

ROWS says what is bad, how each kind of handler does it, and what must become of it. Where a fault
may end the process, a supervisor starts the daemon again, as systemd would."""

import collections
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import child
from fettled import BUILDDIR, Fettled, command, job, native
from load import FULL, jid, pause
from places import members, places
from probe import CLASSES, Probe
from redisd import Redisd, available
from tap import Skip, equal, limit, main
from wait import RELAXED, in_time, until

JOBS = 20000 if FULL else 200 if RELAXED else 2000
BAD = 10            # one in so many
WARM = 100          # jobs before anything is measured
TTL, CONCURRENCY = 1, 64
LAID_DOWN = (0, 1, 2)  # exit codes after which the unit is not restarted (systemd/fettled.service.in)
PICK_UP = 0.05      # seconds, p99
SPIN = 5 if FULL else 0.2
LEAK = 2 ** 30 if FULL else 2 ** 24
FLOOD = 10 ** 8 if FULL else 2 * 10 ** 6
MISDEED = os.path.join(BUILDDIR, "tests", "fault", "misdeed")
ENDPOINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "endpoint.py")
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
MORE_RSS = 64 << 10  # kB
EXTRA = 4  # workers that a stall may call, and that keep their threads
KEPT = CONCURRENCY // 2  # connections to the endpoint, which are as many as the storm has runs at most

with open(os.path.join(BUILDDIR, "config.h")) as _file:
    CONTAINED = '#define FTL_SANITIZER "none"' in _file.read()

WHY_NOT = "a sanitizer tells of each wild pointer, and that is a failure"

DONE = None  # what a deed must come to that is bad for others only

# One way of being bad, by one kind of handler. `error`: the error class (or one of "A|B"), and a text in
# its message;
# DONE; `kills`: it may end the process, or make it begin anew; then it is in `dead` as it was, or with its
# error.
Row = collections.namedtuple("Row", "kind deed error amount kills")


def row(kind, deed, *error, amount=0, kills=False):
    return Row(kind, deed, error or DONE, amount, kills)


ROWS = [
    row("command", "overflow", "Signal", "SIGSEGV"),
    row("command", "divide", "Signal", "SIGFPE"),
    row("command", "illegal", "Signal", "SIGILL"),
    row("command", "abort", "Signal", "SIGABRT"),
    row("command", "null_read", "Signal", "SIGSEGV"),
    row("command", "wild_write", "Signal", "SIGSEGV"),
    row("command", "corrupt", "Signal", "SIGABRT"),
    row("command", "exit", "ExitStatus", "3"),
    row("command", "spin", amount=SPIN),
    row("command", "leak", amount=LEAK),
    row("command", "forget", amount=3),
    row("command", "flood", amount=FLOOD),
    row("command", "late", "Timeout", "not done after", amount=1000),
    row("command", "greedy", "ExitStatus|OutOfMemory", amount=2 ** 26),
    row("task", "panic", "Panic", "as told"),
    row("task", "abort", "Abort"),
    row("task", "exit", "Exit"),
    row("task", "errx", "Exit", "errx(1)"),
    row("task", "posix_exit", "Exit", "_exit(0)"),
    row("task", "assert", "Assert"),
    row("task", "null_read", "SIGSEGV|Signal", kills=True),
    row("task", "wild_write", "SIGSEGV|Signal", kills=True),
    row("task", "corrupt", kills=True),
    row("task", "spin", amount=SPIN),
    row("task", "block", amount=SPIN),
    row("task", "chatter", amount=FLOOD),
    row("task", "late", "Timeout", "not done after", amount=1000),
    row("task", "kill", kills=True),
    row("worker", "fail", "AsTold", "as told"),
    row("worker", "lie", "WorkerError|Timeout"),
    row("worker", "garbage", "WorkerError"),
    row("worker", "cut", "ExitStatus|WorkerError"),
    row("worker", "null_read", "Signal", "SIGSEGV"),
    row("worker", "abort", "Signal", "SIGABRT"),
    row("worker", "illegal", "Signal", "SIGILL"),
    row("worker", "exit", "ExitStatus", "3"),
    row("worker", "stall", "Timeout"),
    row("worker", "spin", amount=SPIN),
    row("worker", "leak", amount=LEAK),
    row("worker", "flood", amount=FLOOD),
    row("worker", "forget"),
    row("http", "failure", "HttpStatus", "500"),
    row("http", "refusal", "HttpStatus", "404"),
    row("http", "garbage", "HttpError"),
    row("http", "close", "HttpError"),
    row("http", "cut", "HttpError"),
    row("http", "stall", "Timeout"),
    row("http", "flood", "HttpError", amount=FLOOD),
]


if CONTAINED:
    ROWS += [
        row("task", "overflow", "StackOverflow"),
        row("task", "overflow_in_printf", "StackOverflow"),
        row("task", "overflow_in_malloc", "StackOverflow"),
        row("task", "illegal", "SIGILL"),
    ]
if CONTAINED and os.uname().machine == "x86_64":
    ROWS.append(row("task", "divide", "SIGFPE"))


# What a task would leave in the daemon for good: in children of modules only.
HOSTED = [
    row("task", "leak", "OutOfMemory", amount=2 ** 30),
    row("task", "forget"),
]


def class_of(kind, deed):
    return "%s.%s" % (kind, deed)


class Kind:
    """A kind of handler: what the configuration says of it, and a job of it."""

    def handlers(self, deeds):
        raise NotImplementedError

    def job(self, deed, i, amount):
        return class_of(self.name, deed), [i, amount]


class Command(Kind):
    name, share = "command", 1
    limits = {"late": ("spin", {"timeout": 0.1}), "greedy": ("leak", {"memory": 2 ** 25})}

    def handlers(self, deeds):
        env = ["FTL_PROBE=" + os.environ.get("FTL_PROBE", "")]
        for deed in deeds:
            does, limits = self.limits.get(deed, (deed, {}))
            yield command(class_of("command", deed), [MISDEED, does], env=env,
                          concurrency=8 if deed == "count" else 2, **limits)


class Task(Kind):
    """Functions of C modules, in tasks of the daemon."""
    name, share, isolation = "task", 3, "task"
    classes = {"count": "Count", "panic": "Panics", "spin": "Spins", "block": "Blocks",
               "chatter": "Chatter", "kill": "Kill", "late": "Late", "abort": "Abort", "exit": "Exit",
               "errx": "Errx", "posix_exit": "PosixExit", "assert": "Assert",
               "null_read": "NullRead", "wild_write": "WildWrite", "corrupt": "HeapCorruption", "overflow": "Overflow", "divide": "DivideByZero",
               "overflow_in_printf": "Snprintf", "overflow_in_malloc": "Malloc",
               "illegal": "Illegal", "leak": "Leak", "forget": "Forgets"}
    modules = {"Assert": "crash", "Errx": "crash", "PosixExit": "crash", "Snprintf": "crash",
               "Malloc": "crash", "Abort": "faults",
               "Exit": "faults", "NullRead": "faults", "WildWrite": "faults",
               "HeapCorruption": "faults", "Overflow": "faults", "DivideByZero": "faults",
               "Illegal": "faults", "Leak": "faults"}

    def handlers(self, deeds):
        for deed in deeds:
            limits = {"timeout": 0.1} if deed == "late" else {}
            name = self.classes[deed]
            if name not in CLASSES or deed == "kill":
                yield native(name, self.modules.get(name, "probe"), concurrency=2,
                             isolation=self.isolation, **limits)

    def job(self, deed, i, amount):
        return self.classes[deed], [amount] if deed == "leak" else [i, amount]


class Hosted(Task):
    """The same functions in child processes: of what ends one, the cause is told; a panic, and what is
    contained, is one failed run there, too."""

    def handlers(self, deeds):
        for deed in deeds:
            limits = {"timeout": 0.1} if deed == "late" else {}
            if deed == "leak":
                limits = {"memory": 2 ** 29}
            name = self.classes[deed]
            yield native(name, self.modules.get(name, "probe"), isolation="process",
                         **limits)


def hosted(which):
    """The row of a task, when it runs in a child."""
    if which.kind != "task" or which.error is DONE and not which.kills:
        return which
    if which.kills:
        return which._replace(error=("SIGSEGV|Signal|ExitStatus",), kills=False)
    return which._replace(error=(which.error[0] + "|Signal|ExitStatus",) + which.error[1:])


class Automatic(Task):
    """The same, in tasks until they crash."""
    isolation = "auto"


def automatic(which):
    """The row of a task that is one, or runs in a child."""
    return hosted(which)._replace(kills=which.kills)


class Worker(Kind):
    """Persistent workers: those of the good jobs, and for each deed one of its own."""
    name, share = "worker", 1

    def handlers(self, deeds):
        env = ["FTL_PROBE=" + os.environ.get("FTL_PROBE", "")]
        for deed in deeds:
            limits = {"timeout": 0.5, "kill_after": 0.2} if deed in ("stall", "lie") else {}
            yield {"class": class_of("worker", deed), "worker": [sys.executable, "-B", WORKER],
                   "env": env, "processes": 1, **limits}


class Http(Kind):
    """An endpoint: one process, which the storm starts."""
    name, share = "http", 1
    port = 0

    def handlers(self, deeds):
        for deed in deeds:
            limits = {"timeout": 0.5} if deed == "stall" else {}
            yield {"class": class_of("http", deed),
                   "url": "http://127.0.0.1:%d/%s" % (self.port, deed), **limits}


KINDS = {kind.name: kind for kind in (Command(), Task(), Worker(), Http())}


class Vitals(collections.namedtuple("Vitals", "fds threads children rss")):
    @classmethod
    def of(cls, pid):
        with open("/proc/%d/status" % pid) as file:
            status = dict(line.split(":", 1) for line in file)
        children = 0
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as file:
                children += len(file.read().split())
        return cls(len(os.listdir("/proc/%d/fd" % pid)), int(status["Threads"]), children,
                   int(status["VmRSS"].split()[0]))


class Beats:
    """Looks at all leases: the longest time for which one that was there did not move."""

    def __init__(self, redisd):
        self.longest = 0
        self._client, self._stop = redisd.connect(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self):
        seen = {}
        while not self._stop.wait(0.01):
            flat, now = self._client.call("HGETALL", "fettle:beat"), time.monotonic()
            beats = dict(zip(flat[::2], flat[1::2]))
            for id, beat in beats.items():
                if id in seen and seen[id][0] == beat:
                    self.longest = max(self.longest, now - seen[id][1])
                else:
                    seen[id] = (beat, now)


class Passers:
    """Jobs that do nothing, pushed to a queue of their own at a steady pace: how long until each
    begins."""

    def __init__(self, redisd, probe, first, every=0.02):
        self._client, self._probe, self._first, self._every = redisd.connect(), probe, first, every
        self._stop, self.pushed = threading.Event(), []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self):
        while not self._stop.wait(self._every) and self._first + len(self.pushed) < self._probe.count:
            text = job("Stamp", [self._first + len(self.pushed)])
            self.pushed.append(time.monotonic_ns())
            self._client.call("LPUSH", "queue:passers", text)

    def pick_ups(self):
        """In seconds, sorted."""
        cells = self._probe.cells(self._first, self._first + len(self.pushed))
        assert all(cells), "%d passers have not run" % cells.count(0)
        return sorted((cell - at) / 1e9 for cell, at in zip(cells, self.pushed))


def end_endpoint(endpoint):
    endpoint.kill()
    child.finish(endpoint, 10)
    endpoint.stdin.close()
    endpoint.stdout.close()


class Storm:
    """`rows` of ROWS, and good jobs of every kind, on so many daemons."""

    def __init__(self, t, rows, daemons, **kinds):
        self.t, self.rows, self.kinds = t, rows, dict(KINDS, **kinds)
        self.redisd, self.probe = t.use(Redisd()), t.use(Probe(JOBS + WARM + 20000))
        self.client = self.redisd.client
        os.environ["FTL_PROBE"] = self.probe.path
        endpoint = child.start([sys.executable, "-B", ENDPOINT, self.probe.path],
                               stdin=child.subprocess.PIPE, stdout=child.subprocess.PIPE)
        t.defer(end_endpoint, endpoint)
        KINDS["http"].port = int(endpoint.stdout.readline())
        deeds = {name: sorted({r.deed for r in rows if r.kind == name}) for name in KINDS}
        handlers = [one for name, kind in self.kinds.items()
                    for one in kind.handlers(["count"] + deeds[name])]
        taken = {one["class"] for one in handlers}
        settings = self.probe.settings()
        settings["handlers"] = handlers + [one for one in settings["handlers"]
                                           if one["class"] not in taken]
        self.crew = [t.use(Fettled(self.redisd, lease_ttl=TTL, concurrency=CONCURRENCY,
                                   queues=[{"name": "passers"},
                                           {"name": "storm", "concurrency": CONCURRENCY // 2}],
                                   log={"level": "warning", "format": "json", "jobs": "failures"},
                                   **settings)) for _ in range(daemons)]
        until(lambda: self.client.call("HLEN", "fettle:owners") == daemons, what="all to be there")
        self.pids = [daemon.pid for daemon in self.crew]
        self.deaths, self.good, self.bad = 0, [], {}
        self._next = 0

    def _text(self, i):
        """A good job, or a bad one; which, is remembered."""
        if i % BAD == 0 and self.rows:
            which = self.rows[i // BAD % len(self.rows)]
            self.bad[i] = which
            kind, deed, amount = self.kinds[which.kind], which.deed, which.amount
        else:
            self.good.append(i)
            ways = [kind for kind in self.kinds.values() for _ in range(kind.share)]
            kind, deed, amount = ways[i % len(ways)], "count", 0
        name, args = kind.job(deed, i, amount)
        return job(name, args, jid=jid(i), queue="storm", retry=0)

    def push(self, count):
        some = range(self._next, self._next + count)
        self._next += count
        for first in range(some.start, some.stop, 50):
            self.client.call("LPUSH", "queue:storm",
                             *map(self._text, range(first, min(first + 50, some.stop))))

    def supervise(self):
        for daemon in self.crew:
            if daemon.process.poll() is not None:
                code = daemon.wait_exit()
                assert code not in LAID_DOWN, "exit %d, after which systemd starts none" % code
                self.deaths += 1
                daemon.start()

    def calm(self):
        """Is nothing left but what is dead?"""
        self.supervise()
        return not self.client.call("LLEN", "queue:storm") and not [key for key in places(self.client) if key != "dead"]

    def blow(self, count, timeout):
        self.push(count)
        # Twice: a job may go from one place to another between the looks at these.
        until(lambda: self.calm() and self.calm(), timeout, "the storm to end", pause=0.05)

    # ---- what must have become of it ---------------------------------------------------------

    def check_jobs(self):
        cells = self.probe.cells(0, self._next)
        dead = {int(one["jid"], 16): one for one, _ in members(self.client, "dead")}
        equal(len(dead), self.client.call("ZCARD", "dead"), "jobs in dead, each once")
        harmed = [i for i in self.good if i in dead]
        assert not harmed, "good jobs in dead: %s" % [dead[i] for i in harmed[:5]]
        lost = [i for i in self.good if not cells[i]]
        assert not lost, "good jobs that did not run: %s" % lost[:5]
        repeats = sum(cells[i] - 1 for i in self.good)
        self.t.note("%d good, %d bad, %d deaths, %d repeats" % (
            len(self.good), len(self.bad), self.deaths, repeats))
        assert repeats <= self.deaths * CONCURRENCY, "%d good jobs were repeated" % repeats
        for i, which in self.bad.items():
            self._check_bad(i, which, dead.get(i), cells[i])

    @staticmethod
    def _check_bad(i, which, found, runs):
        what = "%s, cell %d, %d runs: %s" % (which, i, runs, found)
        if which.error is DONE and not which.kills:
            assert found is None and runs >= 1, what
            return
        if which.deed == "corrupt" and found is None:
            return  # the C library has not noticed it
        assert found is not None, what
        if which.kills and "error_class" not in found:
            return  # buried by the lease, as it was
        error = which.error or ("",)
        assert found.get("error_class") in error[0].split("|"), what
        assert all(text in found["error_message"] for text in error[1:]), what

    def check_daemons(self, before):
        """They are as they were."""
        for daemon, was in zip(self.crew, before):
            def is_back(daemon=daemon, was=was):
                now = Vitals.of(daemon.pid)
                return (now.fds <= was.fds + KEPT and now.threads <= was.threads + EXTRA and
                        now.children <= was.children and
                        (now.rss <= was.rss + MORE_RSS or not CONTAINED))  # shadow memory grows
            try:
                until(is_back, 30, "the daemon to be as it was", pause=0.2)
            except AssertionError as error:
                raise AssertionError("%s: was %s, is %s" % (error, was, Vitals.of(daemon.pid)))
            equal(daemon.find("lease.fenced"), [], "fenced")


def contained(which):
    return not which.kills


def weather(t, rows, **kinds):
    """One daemon, which is the same one all the time."""
    storm = Storm(t, rows, daemons=1, **kinds)
    storm.blow(WARM + JOBS // 10, 600 if FULL else 120)
    before, since = [Vitals.of(daemon.pid) for daemon in storm.crew], time.monotonic()
    with Beats(storm.redisd) as beats, \
            Passers(storm.redisd, storm.probe, JOBS + JOBS // 10 + WARM) as passers:
        storm.blow(JOBS, 3600 if FULL else 200)
    until(lambda: not storm.client.call("LLEN", "queue:passers"), what="the last passer")
    until(storm.calm)
    storm.check_jobs()
    equal(storm.deaths, 0, "deaths")
    equal([daemon.pid for daemon in storm.crew], storm.pids, "pids")
    storm.check_daemons(before)
    times = passers.pick_ups()
    p99 = times[len(times) * 99 // 100]
    t.note("%d passers: p50 %.1f ms, p99 %.1f ms; the longest beat: %.0f ms" % (
        len(times), 1e3 * times[len(times) // 2], 1e3 * p99, 1e3 * beats.longest))
    in_time(p99, PICK_UP, "p99 of the pick-up", since)
    in_time(beats.longest, TTL, "a beat", since)
    return storm


def hosts_of(path):
    """Child processes of modules, and what they have forked, that know this probe."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as line, open("/proc/%s/environ" % pid, "rb") as env:
                if b"--host" in line.read() and path.encode() in env.read():
                    found.append(int(pid))
        except OSError:
            pass  # it has ended
    return found


@limit(7200 if FULL else 600)
def test_contained(t):
    """Everything that must not end the process: its lease is renewed on time, and who comes by is served
    at once."""
    weather(t, list(filter(contained, ROWS)))


@limit(7200 if FULL else 600)
def test_hosted(t):
    """The same with C modules in child processes, so that nothing at all ends the daemon."""
    if not CONTAINED:
        raise Skip(WHY_NOT)
    storm = weather(t, list(map(hosted, ROWS)) + HOSTED, task=Hosted())
    assert hosts_of(storm.probe.path)
    storm.crew[0].stop()
    until(lambda: not hosts_of(storm.probe.path), what="what children have forgotten to be gone")


def deadly_weather(t, change=lambda which: which, **kinds):
    """What may end the process, among the rest, on two daemons: others run the jobs of the dead, none is
    lost, and of the good none is buried."""
    deadly = [which for which in ROWS if which.kills]
    rest = [which for which in ROWS if not which.kills]
    count = max(len(deadly), JOBS // BAD // 20)
    rows = [rest[i % len(rest)] for i in range(JOBS // BAD - count)]
    for i in range(count):
        rows.insert(t.random.randrange(len(rows)), deadly[i % len(deadly)])
    storm = Storm(t, list(map(change, rows)), daemons=2, **kinds)
    storm.blow(JOBS, 3600 if FULL else 200)
    storm.check_jobs()
    assert storm.deaths > 0
    return storm


@limit(7200 if FULL else 600)
def test_deadly(t):
    """In tasks, whatever they do: each that kills its process three times is buried."""
    if not CONTAINED:
        raise Skip(WHY_NOT)
    deadly_weather(t)


@limit(7200 if FULL else 600)
def test_automatic(t):
    """In tasks until they crash: what has killed two processes, and each class that has crashed, goes to
    child processes."""
    if not CONTAINED:
        raise Skip(WHY_NOT)
    storm = deadly_weather(t, automatic, task=Automatic())
    moved = {e["class"] for daemon in storm.crew for e in daemon.find("class.isolated")}
    assert {"Overflow", "Abort", "NullRead"} <= moved, moved
    t.note("%d deaths; classes that have moved: %s" % (storm.deaths, " ".join(sorted(moved))))


main(None if available() else "there is no redis-server")
