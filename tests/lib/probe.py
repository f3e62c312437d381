# SPDX-License-Identifier: MIT
"""The effects of jobs outside fettle: the file that tests/modules/probe.c writes, mapped.

    probe = t.use(Probe(cells=100))
    daemon = t.use(Fettled(redisd, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", job("Count", [7]))
    until(lambda: probe[7] == 1)"""

import collections
import mmap
import os
import struct
import tempfile

from fettled import BUILDDIR, HELLO, MODULES_DIR, native

TEST_MODULES_DIR = os.environ.get("TEST_MODULES_DIR") or os.path.join(BUILDDIR, "tests", "modules")
CLASSES = ("Count", "Tally", "Linger", "Order", "Stamp", "Hold", "Kill", "Steps", "Heed", "Swamp", "Later",
           "Never", "Insist")

_PAGE = 4096
_SLOT = struct.Struct("=4q")
_RUNS = 16 * _SLOT.size + 8  # behind the slots and the order

Slot = collections.namedtuple("Slot", "running most started done")


class Probe:
    def __init__(self, cells=1):
        self.count = cells
        with tempfile.NamedTemporaryFile(prefix="fettle-probe-", delete=False) as file:
            self.path = file.name
            file.truncate(_PAGE + 8 * cells)
        with open(self.path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._map.close()
        os.unlink(self.path)

    def settings(self, *handlers, **bounds):
        """Arguments for Fettled: these handlers, then those of the probe (`Hold=1` bounds that class to
        one at a time), then those of the module hello."""
        own = [native(name, "probe", **({"concurrency": bounds[name]} if name in bounds else {}))
               for name in CLASSES]
        return {"environment": {"FTL_PROBE": self.path},
                "module_path": [MODULES_DIR, TEST_MODULES_DIR],
                "handlers": list(handlers) + own + HELLO}

    def __getitem__(self, index):
        return self.cells(index, index + 1)[0]

    def cells(self, start=0, end=None):
        """The cells as a tuple."""
        end = self.count if end is None else end
        return struct.unpack_from("=%dq" % (end - start), self._map, _PAGE + 8 * start)

    def runs(self):
        """How many runs of Count, Tally and Linger have succeeded, in all."""
        return struct.unpack_from("=q", self._map, _RUNS)[0]

    def slot(self, index):
        return Slot(*_SLOT.unpack_from(self._map, _SLOT.size * index))

    def diagnose(self):
        return "probe: %s; used slots: %s" % (collections.Counter(self.cells()).most_common(5), {
            i: tuple(self.slot(i)) for i in range(16) if any(self.slot(i))})
