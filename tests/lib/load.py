# SPDX-License-Identifier: MIT
"""Jobs under faults, in the manner of Jepsen's set test: a producer that knows which of its pushes
Redis has acknowledged, runs that are counted outside fettle, and the sum at the end.

    load = t.use(Load(t, redisd, probe))
    load.push(1000)                    # or: with load.pushing(rate=2000): …
    load.settle()                      # until nothing is queued or in flight
    load.check(repeats=0)

Most jobs count themselves in the probe; some wait before they do, some fail and go to `retry`, each
known by its jid. Daemons with a queue of their own beside the common one (`queues(n)`, and Load(own=N))
are known to work each."""

import collections
import contextlib
import json
import os
import threading
import time

from fettled import job
from places import batches, now, occupied, places
from resp import RedisError
from wait import FULL, RELAXED, Timeout, in_time, until

SHARD, SHARDS = map(int, os.environ.get("FTL_SHARD", "0/1").split("/"))

SPARE = 10000  # cells that pushing() leaves for jobs of the caller's own, however long it takes


def amount(check, full):
    """How often a fault is tried: in `make check` (less under sanitizers), or in full, of which a
    shard does its part."""
    if FULL:
        return (full + SHARDS - 1) // SHARDS
    return max(1, check // 10) if RELAXED else check


def room(rate, times, seconds):
    """Cells for what is pushed at that rate while so many faults last so long on average, on a machine
    that takes its time."""
    return int(2 * rate * (times * seconds + 120))


def jid(i):
    return "%024x" % i


def number(event):
    """That of the job that an event is about."""
    return int(event["jid"], 16)


def queues(n):
    """Of daemon n: one that no other serves, and the common one."""
    return [{"name": "own%d" % n}, {"name": "default"}]


class Load:
    def __init__(self, t, redisd, probe, linger=0.02, fails=100, own=0):
        self._t, self._redisd, self.probe = t, redisd, probe
        self._linger, self._fails, self._own = linger, fails, own
        self._next = 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = None
        self.acknowledged = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._halt()

    def fails(self, i):
        """Is this one that ends in `retry`?"""
        return self._fails and i % self._fails == 7

    def _owner(self, i):
        """Whose own queue it goes to; None: to the common one."""
        return i // 10 % self._own if self._own and i % 10 == 5 else None

    def text(self, i):
        if self.fails(i):
            return job("Fail", ["as told"], jid=jid(i))
        if self._owner(i) is not None:
            return job("Tally", [i, self._owner(i)], jid=jid(i))
        if self._linger and i % 10 == 3:
            return job("Linger", [i, self._linger * (i % 100) / 50], jid=jid(i))
        return job("Count", [i], jid=jid(i))

    # ---- pushing ------------------------------------------------------------------------------

    def _take(self, count, spare=SPARE):
        with self._lock:
            first = self._next
            self._next = max(first, min(first + count, self.probe.count - spare))
            return range(first, self._next)

    def _full(self):
        return self._next >= self.probe.count - SPARE

    def take(self):
        """A number for a job of the caller's own."""
        return self._take(1, spare=0)[0]

    def push(self, count, client=None):
        """Pushes so many more, 20 in each LPUSH. Raises what the connection raises."""
        client = client or self._redisd.client
        while count > 0:
            some = self._take(min(count, 20))
            if not some:
                return
            for owner in {self._owner(i) for i in some}:
                mine = [i for i in some if self._owner(i) == owner]
                client.call("LPUSH", "queue:default" if owner is None else "queue:own%d" % owner,
                            *map(self.text, mine))
                self.acknowledged.update(mine)
            count -= len(some)

    def occupy(self, n, seconds):
        """Daemon n has begun a run that lasts so long, and whoever comes first has, or will have, another."""
        started = self.probe.slot(n).started
        for queue in "default", "own%d" % n:
            i = self.take()
            self._redisd.client.call("LPUSH", "queue:" + queue,
                                     job("Linger", [i, seconds] + [n] * (queue != "default"), jid=jid(i)))
            self.acknowledged.add(i)
        until(lambda: self.probe.slot(n).started > started, what="a long run to begin")

    def schedule(self, count, seconds):
        """Puts so many more into `schedule`, due one after the other within so many seconds."""
        client, some = self._redisd.client, self._take(count)
        for n, i in enumerate(some):
            text = json.dumps(dict(json.loads(self.text(i)), queue="default"))
            client.call("ZADD", "schedule", now(client) + seconds * n / len(some), text)
            self.acknowledged.add(i)

    def _run(self, rate):
        client = None
        while not self._stop.is_set() and self._next < self.probe.count:
            try:
                client = client or self._redisd.connect(timeout=5)
                self.push(20, client)
            except (OSError, RedisError):
                client = None
            self._stop.wait(20 / rate)
        if client:
            client.close()

    def _halt(self):
        if self._thread:
            self._stop.set()
            self._thread.join()
            self._thread = None

    @contextlib.contextmanager
    def pushing(self, rate=2000):
        """Pushes about so many a second from a thread, through outages, while there are cells."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(rate,), daemon=True)
        self._thread.start()
        try:
            yield self
        finally:
            self._halt()
            assert not (FULL and self._full()), "there was not room for the load"

    # ---- the sum ------------------------------------------------------------------------------

    def runs(self):
        return self.probe.runs()

    def resumed(self, most, since):
        """Waits until each daemon has run more from its own queue; how long that took since then, when
        the fault had not yet been lifted, must be below `most` seconds."""
        before = [self.probe.slot(n).done for n in range(self._own)]
        for n, done in enumerate(before):
            until(lambda: self.probe.slot(n).done > done or self._full(), most + 20, "daemon %d to resume" % n)
        assert before and not (FULL and self._full()), "there was not room for the load"
        took = time.monotonic() - since
        in_time(took, most, "to resume")
        return took

    def _held(self):
        """How often each of our jobs is in Redis, by place."""
        held = collections.defaultdict(list)
        for key, raws in places(self._redisd.client).items():
            for raw in raws:
                held[int(json.loads(raw)["jid"], 16)].append(key)
        return held

    def held(self, key):
        """The numbers of our jobs that are in that place."""
        return sorted(i for i, where in self._held().items() if key in where)

    def busy(self):
        """Where jobs are that are not at their end: anywhere but in `retry` and `dead`."""
        return occupied(self._redisd.client, ("schedule",))

    def settle(self, timeout=60):
        """Waits until every job is done, or in one of these."""
        try:
            until(lambda: not self.busy(), timeout, "all jobs to end", pause=0.1)
        except Timeout as error:
            raise Timeout("%s: %s" % (error, self.busy()[:5])) from None

    def check(self, repeats=0, dead=0):
        """Nothing is lost, nothing is there twice, at most `repeats` runs were repeated (of each job
        repeats(i), if it is a function), at most `dead` jobs are in `dead`."""
        client, held = self._redisd.client, self._held()
        cells = self.probe.cells()  # after it: what is not in Redis any more has run
        alive = {id.decode() for id in client.call("HKEYS", "fettle:owners")}
        stray = [key for key in batches(client)
                 if key.split(":", 2)[2].rsplit(":", 1)[0] not in alive]
        lost = [i for i in sorted(self.acknowledged) if not held.get(i) and not cells[i]]
        twice = {i: where for i, where in held.items() if len(where) > 1}
        wrong = {i: where for i, where in held.items()
                 if "retry" in where and not self.fails(i)}
        extra = sum(n - 1 for n in cells if n > 1)
        buried = sum("dead" in where for where in held.values())
        self._t.note("%d acknowledged, %d runs, %d repeated, %d in retry, %d in dead" % (
            len(self.acknowledged), sum(cells), extra,
            sum("retry" in where for where in held.values()), buried))
        assert not lost, "lost: %d, %s" % (len(lost), lost[:10])
        assert not twice, "more than once in Redis: %s" % dict(list(twice.items())[:5])
        assert not wrong, "failed for no reason: %s" % dict(list(wrong.items())[:5])
        assert not stray, "in the records of dead owners: %s" % stray[:5]
        if callable(repeats):
            over = {i: n for i, n in enumerate(cells) if n > 1 and n - 1 > repeats(i)}
            assert not over, "repeated for no reason, of %d runs: %s" % (
                extra, dict(list(over.items())[:10]))
        else:
            assert extra <= repeats, "%d runs repeated, at most %d may be" % (extra, repeats)
        assert buried <= dead, "%d jobs in dead, at most %d may be" % (buried, dead)


def pause(seconds):
    """The length of a fault; it is what the test is about, not a wait for something."""
    time.sleep(seconds)
