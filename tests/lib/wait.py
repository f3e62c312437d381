# SPDX-License-Identifier: MIT
"""Deadlines of the tests, and waiting for what has no event of its own.

All times are seconds on the monotonic clock. FTL_TEST_SLOW (a factor, set for sanitizer builds)
stretches every deadline. What is promised in time is asserted by in_time(): strictly in the fault tests
in full (FTL_FAULT_FULL), with allowance for a busy machine else."""

import collections
import contextlib
import os
import threading
import time

SLOW = float(os.environ.get("FTL_TEST_SLOW", "1"))
RELAXED = SLOW > 1
FULL = bool(os.environ.get("FTL_FAULT_FULL"))


class Timeout(AssertionError):
    """What was waited for did not come."""


class Late(AssertionError):
    """It came, but not in time, which may be the machine's fault: only that may be tried again (@thrice)."""


@contextlib.contextmanager
def by_the_clock():
    """What is other than expected in here is so because something was late."""
    try:
        yield
    except Timeout:
        raise
    except AssertionError as error:
        raise Late(str(error)) from error


def patient(seconds):
    """A deadline's length on this build."""
    return seconds * SLOW


def patience(seconds):
    """How long to wait for what must come: a minute at least, for nothing is proven by giving up
    sooner, and a machine with much else to do is slow."""
    return patient(max(seconds, 60))


def deadline(seconds):
    """When a wait gives up."""
    return time.monotonic() + patience(seconds)


class _Sampler:
    """Sleeps for 10 ms again and again: how late it wakes is how late this machine makes everybody."""

    def __init__(self):
        self._late = collections.deque(maxlen=1 << 20)  # (when it woke, how late) where it matters
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            due = time.monotonic() + 0.01
            time.sleep(0.01)
            now = time.monotonic()
            if now > due + 0.01:
                self._late.append((now, now - due))

    def worst(self, since, until):
        """The longest that it overslept in that time."""
        return max((late for at, late in list(self._late) if at > since and at - late < until), default=0)


_sampler = _Sampler()


def _slack():
    """The factor that a machine gets which has other work (of the last minute, or now)."""
    if FULL:
        return 1
    with open("/proc/loadavg") as file:
        words = file.read().split()
    return 2 + max(float(words[0]), int(words[3].split("/")[0]) - 1) / (os.cpu_count() or 1)


def in_time(took, limit, what="it", since=None, end=None):
    """Asserts a promised time; not under a sanitizer. What the machine was late meanwhile is allowed, too,
    and told where it was needed: until `end` (now), from `since` on if it may have been any part of that."""
    end = end or time.monotonic()
    late, slack = _sampler.worst(end - took if since is None else since, end), _slack()
    text = "%s took %.2f s of %g s; the machine was late by %.2f s" % (what, took, limit, late)
    if took >= limit:
        print("# %s, allowed: %.2f s" % (text, limit * slack + late), flush=True)
    if not RELAXED and took >= limit * slack + late:
        raise Late(text)


def until(condition, timeout=10, what=None, pause=0.005):
    """Asks condition() until its result is true, and returns that. For the state of others (Redis,
    a file, /proc), which cannot be waited for."""
    end = deadline(timeout)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Timeout("waited %gs for %s" % (patience(timeout), what or condition))
        time.sleep(pause)
