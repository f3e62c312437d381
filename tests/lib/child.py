# SPDX-License-Identifier: MIT
"""Child processes that cannot outlive their test."""

import ctypes
import signal
import subprocess

from wait import Timeout, patience

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(argv, **options):
    """Popen of a child that the kernel kills when this process ends. From the main thread only: it
    is the thread that counts as the parent."""
    return subprocess.Popen(argv, preexec_fn=_die_with_parent, **options)


def finish(process, timeout):
    """Waits for its end; returns the exit code (negative: a signal)."""
    try:
        return process.wait(patience(timeout))
    except subprocess.TimeoutExpired:
        raise Timeout("pid %d (%s) still runs after %gs"
                      % (process.pid, process.args[0], patience(timeout))) from None
