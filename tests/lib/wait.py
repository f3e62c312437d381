# SPDX-License-Identifier: MIT
"""Deadlines of the tests, and waiting for what has no event of its own.

All times are seconds on the monotonic clock. FTL_TEST_SLOW (a factor, set for sanitizer builds)
stretches every deadline; a test that asserts a deadline skips that where RELAXED is set."""

import os
import time

SLOW = float(os.environ.get("FTL_TEST_SLOW", "1"))
RELAXED = SLOW > 1


class Timeout(AssertionError):
    """What was waited for did not come."""


def patient(seconds):
    """A deadline's length on this build."""
    return seconds * SLOW


def deadline(seconds):
    return time.monotonic() + patient(seconds)


def until(condition, timeout=10, what=None, pause=0.005):
    """Asks condition() until its result is true, and returns that. For the state of others (Redis,
    a file, /proc), which cannot be waited for."""
    end = deadline(timeout)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Timeout("waited %gs for %s" % (patient(timeout), what or condition))
        time.sleep(pause)
