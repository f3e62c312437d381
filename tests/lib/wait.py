# SPDX-License-Identifier: MIT
"""Deadlines of the tests, and waiting for what has no event of its own.

All times are seconds on the monotonic clock. FTL_TEST_SLOW (a factor, set for sanitizer builds)
stretches every deadline. What is promised in time is asserted by in_time()."""

import os
import time

SLOW = float(os.environ.get("FTL_TEST_SLOW", "1"))
RELAXED = SLOW > 1


class Timeout(AssertionError):
    """What was waited for did not come."""


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


def in_time(took, limit, what="it"):
    """Asserts a promised time; not under a sanitizer. A machine that is slow, or has other work (of the
    last minute, or now), gets more of it."""
    with open("/proc/loadavg") as file:
        words = file.read().split()
    allowed = limit * (2 + max(float(words[0]), int(words[3].split("/")[0]) - 1))
    assert RELAXED or took < allowed, "%s took %.2f s, allowed here: %.2f s, else %g s" % (
        what, took, allowed, limit)


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
