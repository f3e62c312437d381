#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a daemon costs that has nothing to do: calls to Redis, wake-ups of all its threads, memory.

A call is a command that it sends, a script being one. Those in which it is blocked (BLMOVE) do not
count, nor do the commands that a script runs inside Redis."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job
from redisd import Redisd, available
from tap import Skip, equal, main
from wait import RELAXED, until

QUEUES = [{"name": "q%d" % i} for i in range(20)]  # more than it stands in BLMOVE for
WINDOW, WINDOWS = 5.5, 6  # seconds; so many are tried until one is quiet


def lines_of(path, name):
    with open(path) as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(name))


def switches(pid):
    """Voluntary context switches of all threads: each ends a sleep."""
    return sum(lines_of("/proc/%d/task/%s/status" % (pid, thread), "voluntary_ctxt_switches")
               for thread in os.listdir("/proc/%d/task" % pid))


def calls(redisd, seconds):
    """The commands that clients send in so many seconds, but for BLMOVE."""
    found = []
    with redisd.connect() as monitor:
        monitor.call("MONITOR")
        time.sleep(seconds)
        redisd.client.call("ECHO", "the end")
        while not found or b"the end" not in found[-1]:
            found.append(monitor.receive())
    return [line for line in found[:-1] if b" lua] " not in line and b'"BLMOVE"' not in line]


def measure(redisd, pid):
    """The calls, the wake-ups, and the seconds in which they were made."""
    before, begin = switches(pid), time.monotonic()
    made = calls(redisd, WINDOW)
    took = time.monotonic() - begin
    return made, switches(pid) - before, took


def test_idle(t):
    """At most one call and two wake-ups a second, 8 MiB; after some work, too. A busy machine adds
    wake-ups, so one quiet window will do; it adds no calls, so all of them count."""
    if RELAXED:
        raise Skip("figures are those of plain builds")
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, queues=QUEUES, concurrency=64,
                           log={"level": "info", "format": "json", "jobs": "all"}))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:q0", job("Hello", ["idle"]))
    daemon.wait_event("job.done")
    made, seconds, is_quiet, window = [], 0, False, 0
    while window < 2 or (window < WINDOWS and not is_quiet):
        some, woken, took = measure(redisd, daemon.pid)
        made, seconds, window = made + some, seconds + took, window + 1
        resident = lines_of("/proc/%d/status" % daemon.pid, "VmRSS")
        is_quiet |= woken <= 2 * took
        t.note("%.2f calls/s, %.2f wake-ups/s, %d KiB" % (len(some) / took, woken / took, resident))
        assert resident <= 8192, "%d KiB" % resident
    assert is_quiet, "it is woken too often"
    told = b"\n".join(made).decode()
    # One more: what the work has left to tell.
    assert len(made) <= seconds + 1, "%d calls in %.1f s:\n%s" % (len(made), seconds, told)


def test_nobody_waits_for_it(t):
    """What lands where no BLMOVE stands is begun within the next tick, as is what was paused."""
    redisd = t.use(Redisd())
    client = redisd.client
    daemon = t.use(Fettled(redisd, queues=QUEUES))
    daemon.wait_ready()
    client.call("SADD", "paused", "q1", "q18")
    until(lambda: b"q18" in client.call("SMEMBERS", "paused"))
    for number in (0, 1, 18, 19):
        client.call("LPUSH", "queue:q%d" % number, job("Hello", ["q"], jid="j%d" % number))
    client.call("LPUSH", "fettle:front:q2", job("Hello", ["front"], jid="front"))
    for jid in ("j0", "j19", "front"):
        daemon.wait_event("job.done", jid=jid)
    equal(daemon.find("job.start", jid="j1") + daemon.find("job.start", jid="j18"), [], "paused")
    client.call("DEL", "paused")
    for jid in ("j1", "j18"):
        daemon.wait_event("job.done", jid=jid)


main(None if available() else "there is no redis-server")
