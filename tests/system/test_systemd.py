#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The notify protocol, as the service manager sees it."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, Fettled, job
from notify import Notify
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import in_time, until


def built_with_systemd():
    with open(os.path.join(BUILDDIR, "config.h")) as file:
        return "#define HAVE_SYSTEMD 1" in file.read()


def test_ready_and_stopping(t):
    """READY when it works, STOPPING when it is told to stop; a status at both."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=manager.environment))
    manager.wait("READY", "1")
    daemon.wait_ready()
    manager.wait("STATUS")
    since = manager.mark()
    daemon.stop()
    manager.wait("STOPPING", "1", since=since)


def test_no_manager(t):
    """Without NOTIFY_SOCKET, or with one that nobody listens on, it works as well."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, environment={"NOTIFY_SOCKET": "/nowhere/notify"}))
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["alone"]))
    daemon.wait_event("job.log", line="hello, alone")


def test_time_to_drain(t):
    """While it drains it asks for the time it needs."""
    redisd, manager, probe = t.use(Redisd()), t.use(Notify()), t.use(Probe())
    settings = probe.settings()
    settings["environment"].update(manager.environment)
    daemon = t.use(Fettled(redisd, shutdown_timeout=3, **settings))
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 1.5]))
    until(lambda: probe.slot(0).running == 1, what="one run")
    since = manager.mark()
    daemon.stop()
    stopping = manager.wait("STOPPING", "1", since=since)
    extended = manager.wait("EXTEND_TIMEOUT_USEC", since=since)
    assert int(extended["EXTEND_TIMEOUT_USEC"]) >= 2000000, extended
    assert extended["_at"] - stopping["_at"] < 1, "too late"


def test_reload(t):
    """RELOADING with the time of its begin, and READY when it is done."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=manager.environment))
    manager.wait("READY", "1")
    since = manager.mark()
    daemon.reload(concurrency=3)
    begun = manager.wait("RELOADING", "1", since=since)
    assert abs(int(begun["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 60, begun
    manager.wait("READY", "1", since=since)


def test_reload_while_quiet(t):
    """A reload does not end it, and does not say so."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=manager.environment))
    manager.wait("STATUS", "Running")
    daemon.signal(signal.SIGTSTP)
    manager.wait("STATUS", lambda text: text.startswith("Quiet"))
    since = manager.mark()
    daemon.reload(concurrency=3)
    manager.wait("READY", "1", since=since)
    manager.wait("STATUS", lambda text: text.startswith("Quiet"), since=since)
    equal(manager.find("STATUS", "Running", since), None, "a status that is wrong")


def test_watchdog(t):
    """With WATCHDOG_USEC it reports at least twice in that time, also while Redis is away, but not
    for somebody else's pid."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=dict(manager.environment, WATCHDOG_USEC="1000000")))
    manager.wait("READY", "1")

    def beats(seconds):
        since, end = manager.mark(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            manager.mark()
        return sum(1 for m in manager.messages[since:] if m.get("WATCHDOG") == "1")
    in_time(3 / max(beats(3), 1), 0.7, "a beat, on average,")
    redisd.kill()
    daemon.wait_event("redis.lost")
    in_time(3 / max(beats(3), 1), 0.7, "a beat without Redis, on average,")
    redisd.start()
    manager.mark()
    other = t.use(Notify())
    t.use(Fettled(redisd, environment=dict(other.environment, WATCHDOG_USEC="1000000",
                                           WATCHDOG_PID="1"))).wait_ready()
    other.wait("READY", "1")
    time.sleep(1.5)
    other.mark()
    equal(other.find("WATCHDOG"), None, "a watchdog that is meant for pid 1")


def test_watchdog_of_stuck_workers(t):
    """When no worker of the jobs runtime comes back to a run that waits for one, the watchdog is not
    fed."""
    redisd, manager, probe = t.use(Redisd()), t.use(Notify()), t.use(Probe())
    settings = probe.settings()
    settings["environment"].update(manager.environment, WATCHDOG_USEC="1000000")
    daemon = t.use(Fettled(redisd, workers=1, concurrency=2, shutdown_timeout=0.2, **settings))
    manager.wait("WATCHDOG", "1")
    everyone = 1 + 2  # the worker, and as many extra ones as there can be runs
    redisd.client.call("LPUSH", "queue:default", job("Swamp", [everyone]))
    daemon.wait_event("job.done")
    time.sleep(1)  # by then each has its worker
    redisd.client.call("LPUSH", "queue:default", job("Count", [0]))
    time.sleep(1.5)
    since = manager.mark()
    time.sleep(2)
    manager.mark()
    equal(probe.cells()[0], 0, "runs without a worker")
    equal(manager.find("WATCHDOG", since=since), None, "a watchdog fed while all workers are stuck")
    daemon.kill()


def test_watchdog_after_a_pause(t):
    """Workers that come back after less than half of the time keep it fed, whenever that was."""
    from fettled import native
    redisd, manager, probe = t.use(Redisd()), t.use(Notify()), t.use(Probe())
    settings = probe.settings(native("BlockInSyscall", "faults"))
    settings["environment"].update(manager.environment, WATCHDOG_USEC="2000000")
    t.use(Fettled(redisd, workers=1, **settings))
    since = manager.mark()
    fed = manager.wait("WATCHDOG", "1", since=since)
    since = manager.mark()
    time.sleep(0.7)
    redisd.client.call("LPUSH", "queue:default", job("BlockInSyscall", [0.9]))
    gap = manager.wait("WATCHDOG", "1", since=since)["_at"] - fed["_at"]
    in_time(gap, 1.9)


main("there is no redis-server" if not available() else
     None if built_with_systemd() else "built without libsystemd")
