# SPDX-License-Identifier: MIT
"""The proxy of tests/fault between fettled and Redis, which harms what goes through it.

    proxy = t.use(Proxy(redisd.socket))
    daemon = t.use(Fettled(proxy.url))
    proxy.order("stall down")    # the orders are in tests/fault/proxy.c
    proxy.order("pass")"""

import collections
import os
import shutil
import tempfile

import child
from fettled import BUILDDIR

PROGRAM = os.path.join(BUILDDIR, "tests", "fault", "proxy")
HURRY = os.path.join(BUILDDIR, "tests", "fault", "hurry.so")

Kind = collections.namedtuple(
    "Kind", "seen up up_size up_passed down down_size down_passed answered")
Report = collections.namedtuple("Report", "cuts answers kinds")


class Proxy:
    def __init__(self, server):
        self._directory = tempfile.mkdtemp(prefix="fettle-proxy-")
        self.socket = os.path.join(self._directory, "redis.sock")
        self.url = "unix://" + self.socket
        self._process = child.start([PROGRAM, self.socket, server], stdin=child.subprocess.PIPE,
                                    stdout=child.subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        assert line == "ready\n", "the proxy says %r" % line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        child.finish(self._process, 10)
        self._process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def order(self, text):
        """Returns the report, when the order is in force."""
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the proxy has ended (%s)" % self._process.poll()
        head, *kinds = line.rstrip("\n").split("\t")
        cuts, _, answers, _ = head.split(" ")
        return Report(int(cuts), int(answers),
                      {name: Kind(*map(int, numbers)) for name, *numbers in
                       (kind.rsplit(" ", 8) for kind in kinds)})

    def report(self):
        return self.order("report")

    def diagnose(self):
        return "proxy: %s" % "\n".join(map(str, self.report().kinds.items()))
