# SPDX-License-Identifier: MIT
"""The runner: functions test_*(t) of a file → TAP.

    from tap import main

    def test_something(t):
        \"\"\"What a caller notices.\"\"\"
        redisd = t.use(Redisd())
        assert redisd.client.call("PING") == b"PONG"

    main()

Names (or parts of names) on the command line choose tests. t.use() enters a context manager that is
left at the end of the test; if the test failed, what its diagnose() says is printed first. t.random
is seeded by FTL_TEST_SEED, or at random; the seed is printed. A test that takes longer than its
limit (10 minutes, or @limit(seconds)) fails. @thrice: what was late (wait.Late) may try again."""

import contextlib
import os
import random
import signal
import sys
import time
import traceback

from wait import FULL, Late, Timeout, patient


class Skip(Exception):
    """This test cannot run here; the message says why."""


def limit(seconds):
    """How long a test may take on a plain build."""
    def mark(function):
        function.limit = seconds
        return function
    return mark


def thrice(function):
    """For what has a second or less by design, which a machine with other work may not give it: it
    fails when it has been late three times. Whatever is not Late fails at once, and so does everything in
    full."""
    function.tries = 1 if FULL else 3
    return function


def equal(got, expected, what="value"):
    if got != expected:
        raise AssertionError("%s: got %.2000r, expected %.2000r" % (what, got, expected))


def raises(kind, function, *args, **kwargs):
    """The exception that the call must raise."""
    try:
        result = function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError("no %s, but %.500r" % (kind.__name__, result))


class Test:
    def __init__(self, name, seed):
        self.name = name
        self.random = random.Random("%s %s" % (seed, name))
        self._stack = contextlib.ExitStack()
        self._used = []

    def use(self, resource):
        resource = self._stack.enter_context(resource)
        self._used.append(resource)
        return resource

    def defer(self, function, *args):
        self._stack.callback(function, *args)

    def note(self, text):
        diagnostic(text)

    def diagnose(self):
        for resource in self._used:
            if hasattr(resource, "diagnose"):
                try:
                    diagnostic(resource.diagnose())
                except Exception as error:  # the failure itself matters more
                    diagnostic("no diagnosis: %r" % error)


def diagnostic(text):
    for line in str(text).splitlines():
        print("#", line.encode("ascii", "backslashreplace").decode())
    sys.stdout.flush()


def _out_of_time(*_):
    raise Timeout("the test took too long")


def _run(function, test):
    """Runs and cleans up. None: passed; else the exception. A failing cleanup fails the test."""
    failure = None
    signal.setitimer(signal.ITIMER_REAL, patient(getattr(function, "limit", 600)))
    try:
        function(test)
    except BaseException as error:
        failure = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not isinstance(error, Skip):
            test.diagnose()
    signal.setitimer(signal.ITIMER_REAL, patient(120))
    try:
        test._stack.close()
    except BaseException as error:
        if failure is None:
            test.diagnose()
            failure = error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return failure


def _report(number, function, failure, seconds):
    name = function.__name__
    if failure is None:
        print("ok %d - %s" % (number, name))
    elif isinstance(failure, Skip):
        print("ok %d - %s # SKIP %s" % (number, name, failure))
    else:
        diagnostic("".join(traceback.format_exception(type(failure), failure,
                                                      failure.__traceback__)))
        print("not ok %d - %s" % (number, name))
    if seconds > 5:
        diagnostic("%s took %.1f s" % (name, seconds))
    sys.stdout.flush()


def _chosen(words):
    functions = [value for name, value in vars(sys.modules["__main__"]).items()
                 if name.startswith("test_") and callable(value)]
    if not words:
        return functions
    return [f for f in functions if any(word in f.__name__ for word in words)]


def main(skip_all=None):
    """Runs the tests of __main__ and exits. `skip_all`: the reason why none can run, or None."""
    signal.signal(signal.SIGALRM, _out_of_time)
    if skip_all:
        print("1..0 # SKIP " + skip_all)
        sys.exit(0)
    functions = _chosen(sys.argv[1:])
    seed = os.environ.get("FTL_TEST_SEED") or "%08x" % random.SystemRandom().getrandbits(32)
    print("1..%d" % len(functions))
    diagnostic("seed %s" % seed)
    failed = 0
    for number, function in enumerate(functions, 1):
        start = time.monotonic()
        for left in reversed(range(getattr(function, "tries", 1))):
            failure = _run(function, Test(function.__name__, seed))
            if not isinstance(failure, Late) or left == 0:
                break
            diagnostic("%s: %s; once more" % (function.__name__, failure))
        _report(number, function, failure, time.monotonic() - start)
        failed += failure is not None and not isinstance(failure, Skip)
        if isinstance(failure, KeyboardInterrupt):
            break
    sys.exit(1 if failed or not functions else 0)
