# SPDX-License-Identifier: MIT
"""What daemons hold in their in-flight records when they are killed or taken for dead, and what must
become of it.

    deaths = t.use(Deaths(redisd, crew))
    deaths.kill(crew[0])               # it is started again
    deaths.wait(lease_ttl + 5)         # each was taken over in time
    deaths.check(load)                 # what they held may have run again, and nothing else"""

import collections
import json
import threading
import time

from load import number
from places import BATCH, batches
from wait import in_time, until


def _records(client):
    """Owner → the jobs that it holds, as they are; also those that hold none."""
    found = collections.defaultdict(list)
    for key, raws in batches(client).items():
        found[key[len(BATCH):].rsplit(":", 1)[0]] += raws
    for owner in client.call("HKEYS", "fettle:owners"):  # after them: a record of one in it was whole
        found[owner.decode()] += []
    return found


def _numbers(raws):
    return {number(json.loads(raw)) for raw in raws}


def _flush(client):
    """When it returns, Redis has read what was sent to it before: by the second at the latest."""
    client.call("PING")
    client.call("PING")


_Death = collections.namedtuple("_Death", "at owners")


class Deaths:
    """SIGKILL, and a thread that looks how long it takes until all that a dead daemon held is taken over:
    as long as one other at least has been there since the death."""

    def __init__(self, redisd, crew):
        self._redisd, self._crew = redisd, crew
        self._births = {daemon: time.monotonic() for daemon in crew}
        self._pending, self._lock, self._stop = [], threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._unread = 0  # deaths whose record was gone before it was read
        self._seen = collections.Counter()  # job → how many deaths it was in flight at
        self._alone = set()  # jobs that were all that a dead daemon held
        self.longest = (0, None)  # how long it took, and when that was
        self.kills = self.holding = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def kill(self, victim):
        """Kills it, reads what it leaves, and starts it again."""
        pid, at = str(victim.pid), time.monotonic()
        victim.kill()
        _flush(self._redisd.client)
        held = {owner: jobs for owner, jobs in _records(self._redisd.client).items()
                if owner.split(":")[1] == pid}
        self.kills += 1
        self._unread += victim.owner() is not None and victim.owner() not in held
        jobs = _numbers(raw for raws in held.values() for raw in raws)
        self._seen.update(jobs)
        if len(jobs) == 1:
            self._alone.update(jobs)
        with self._lock:
            self._measure(self._pending, at)
            del self._births[victim]
            if jobs:
                self.holding += 1
                self._pending.append(_Death(at, set(held)))
        victim.start()
        with self._lock:
            self._births[victim] = time.monotonic()

    def _measure(self, deaths, at):
        """How long whoever is there longest has let these be."""
        for death in deaths:
            took = at - max(death.at, min(self._births.values(), default=at))
            if took > self.longest[0]:
                self.longest = (took, at)

    def _watch(self):
        with self._redisd.connect() as client:
            while not self._stop.wait(0.02):
                with self._lock:
                    pending = list(self._pending)
                there = set(_records(client)) if pending else set()
                gone = [death for death in pending if not death.owners & there]
                with self._lock:
                    self._measure(gone, time.monotonic())
                    self._pending = [death for death in self._pending if death not in gone]

    def wait(self, limit):
        """Until all is taken over; each was within that time."""
        until(lambda: not self._pending, limit, "what dead daemons held to be taken over")
        took, end = self.longest
        in_time(took, limit, "to take over what a dead daemon held", end=end)

    def check(self, load):
        """Each job has run once more at most for each death that it was in flight at. Those in dead were so
        at three deaths, at the last as the only one."""
        spare = self._unread + sum(len(daemon.find("lease.fenced")) for daemon in self._crew)
        buried = load.held("dead")
        wrong = [] if spare else [i for i in buried if self._seen[i] < 3 or i not in self._alone]
        assert not wrong, "buried for no reason: %s" % wrong[:10]
        load.check(repeats=lambda i: self._seen[i] + spare, dead=len(buried))


def _tokens(client, owner):
    """Token → number of the job, of all that it holds."""
    entries = client.call("HGETALL", "fettle:batches:" + owner)
    found = {}
    for seq, entry in zip(entries[::2], entries[1::2]):
        raws = client.call("LRANGE", "%s%s:%s" % (BATCH.decode(), owner, seq.decode()), 0, -1)
        found.update((int(entry.split()[0]) + i, number(json.loads(raw)))
                     for i, raw in enumerate(raws) if raw != owner.encode())
    return found


class Fenced:
    """What a daemon holds that can do nothing just now, and is about to be taken for dead. It logs all
    jobs."""

    def __init__(self, redisd, daemon):
        self._client = redisd.client
        _flush(self._client)
        self.daemon, self.owner = daemon, daemon.owner()
        self.held = _tokens(self._client, self.owner)
        # A lease of a second may have lapsed by itself just before, and some of that is with others.
        self.whole = self._client.call("HEXISTS", "fettle:owners", self.owner) == 1

    def wait(self):
        """Until others have taken it for dead."""
        until(lambda: self._client.call("HEXISTS", "fettle:owners", self.owner) == 0,
              what="a daemon to be fenced")

    def tokens(self, *names):
        """Of such events about what it held."""
        return {event["token"] for name in names for event in self.daemon.find(name)
                if event["token"] in self.held}


def check_fenced(fences, load):
    """What they held, and had begun, has been refused to settle, and nothing else has, unless connections
    have broken: then also what they had settled before without getting the answer. Only what they held
    has run again. Returns how much was refused."""
    crew = {fence.daemon for fence in fences}
    held = {token for fence in fences for token in fence.held}

    def of(*names):
        return {token for fence in fences for token in fence.tokens(*names)}

    def refused():
        return {event["token"] for daemon in crew for event in daemon.find("job.refused")}
    settled = of("job.failed", "job.dead", "job.returned")
    assert not settled, "settled by a fenced daemon: %s" % sorted(settled)
    until(lambda: of("job.start", "job.done") <= refused(), pause=0.2,
          what="what a fenced daemon had begun to be refused")
    spare = sum(len(daemon.find("lease.fenced")) for daemon in crew) - sum(f.whole for f in fences)
    unsure = spare > 0 or any(daemon.find("redis.lost") for daemon in crew)
    strange = set() if unsure else refused() - held
    assert not strange, "refused, and not held: %s" % sorted(strange)
    times = collections.Counter(i for fence in fences for i in fence.held.values())
    load.check(repeats=lambda i: times[i] + spare)
    return len(refused() & held)
