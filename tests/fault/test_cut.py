#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Connections cut after every byte of every command and reply that the daemon uses, and every error
reply of Redis at every call, while daemons are killed, stopped, fenced and started. They log in, as
the user of the shipped ACL, and use a database that is not the first. What is asked of sentinels is cut
in tests/system/test_sentinel.py.

All daemons have a twentieth of their pauses (hurry.c), so that thousands of cuts take seconds."""

import collections
import contextlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job, native
from load import FULL, SHARD, SHARDS, Load, jid
from probe import Probe
from proxy import HURRY, Proxy
from redisd import Redisd, available
from tap import equal, limit, main
from wait import RELAXED, Timeout, deadline, until

CONCURRENCY, DAEMONS, STAGES = 4, 6, 3
LONGEST = 10000 if FULL else 512  # bytes; what is longer repeats itself
ENOUGH = 20  # messages that are all shorter than the cursor: longer ones were an exception

SCRIPTS = ("absolve", "ack", "claim", "due", "fence", "mark", "promote", "reap", "register",
           "retire", "roster", "settle", "tick", "trim")
USED = {"LOAD " + name for name in SCRIPTS} | set(SCRIPTS) | {
    "AUTH", "SELECT", "BLMOVE", "CLIENT", "CONFIG", "DEL fettle:promoter", "EXISTS",
    "EXISTS fettle:batches", "GET fettle:promoter", "HDEL fettle:fenced", "HEXISTS fettle:fenced",
    "HGETALL fettle:batches", "HSCAN fettle:recoveries", "INFO", "PING", "ROLE", "SET", "SMEMBERS",
    "SREM"}
RECOVERY = {"absolve", "reap", "EXISTS fettle:batches", "HDEL fettle:fenced",
            "HEXISTS fettle:fenced", "HSCAN fettle:recoveries"}
PRUNING = {"EXISTS", "SET", "SMEMBERS"}
LEAVING = {"CLIENT", "CONFIG", "INFO", "PING", "ROLE", "register", "retire", "DEL fettle:promoter",
           "GET fettle:promoter", "SREM"}

ERRORS = (
    "-NOSCRIPT No matching script. Please use EVAL.",
    "-LOADING Redis is loading the dataset in memory",
    "-READONLY You can't write against a read only replica.",
    "-OOM command not allowed when used memory > 'maxmemory'.",
    "-MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist",
    "-NOAUTH Authentication required.",
    "-NOPERM this user has no permissions to run the command",
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "-MOVED 3999 127.0.0.1:1",
    "-UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "-WRONGTYPE Operation against a key holding the wrong kind of value")

# What an owner has in its record, or nil: it is none any more. In the same moment it may lose its lease.
HELD = """
local id, found = ARGV[1], {}
if redis.call('HEXISTS', 'fettle:owners', id) == 0 then return false end
for _, seq in ipairs(redis.call('HKEYS', 'fettle:batches:' .. id)) do
    for _, raw in ipairs(redis.call('LRANGE', 'fettle:batch:' .. id .. ':' .. seq, 0, -1)) do
        if raw ~= id then found[#found + 1] = raw end
    end
end
if ARGV[2] == '1' then
    redis.call('HDEL', 'fettle:owners', id)
    redis.call('HDEL', 'fettle:beat', id)
    redis.call('HSET', 'fettle:fenced', id, '1')
end
return found
"""


class Crew:
    """Daemons behind one proxy that come and go in all ways there are."""

    def __init__(self, t, redisd, proxy, probe):
        settings = dict(probe.settings(native("Moody", "crash", processes=1)), isolation_ttl=2,
                        lease_ttl=1, concurrency=CONCURRENCY, shutdown_timeout=0.5,
                        dead={"max_jobs": 0, "max_age": 1000000},
                        log={"level": "warning", "format": "json", "jobs": "none"})
        settings["environment"]["LD_PRELOAD"] = HURRY
        self._t, self._random, self._client = t, t.random, redisd.client
        self._daemons = [t.use(Fettled(redisd.url_at(proxy.socket), **settings))
                         for _ in range(DAEMONS)]
        self._stopping = set()
        self._lapsed = set()  # owners that have died, lost their lease, or left something at their end
        self._held = collections.Counter()  # of each job: how many of them held it then

    def _owners(self):
        return [id for id in self._client.call("HKEYS", "fettle:owners")
                if self._client.call("EXISTS", b"fettle:batches:" + id)]

    def _lapse(self, owner, fence=False):
        """What that owner holds may run again."""
        found = self._client.call("EVAL", HELD, 0, owner, int(fence))
        if found is not None:
            self._lapsed.add(owner.decode())
            self._held.update(int(json.loads(raw)["jid"], 16) for raw in found)

    def _lapse_of(self, pid):
        for owner in self._owners():
            if owner.split(b":")[1] == b"%d" % pid:
                self._lapse(owner)

    def _reap(self):
        for daemon in list(self._stopping):
            if daemon.process.poll() is None:
                continue
            pid, code = daemon.pid, daemon.wait_exit()
            assert code in (0, 3, -signal.SIGTERM), "exit %d" % code  # the last: while it starts
            if code == 3:
                self._lapse_of(pid)
            self._stopping.remove(daemon)
            daemon.start()

    def _fence(self):
        """As one who has found it silent: one that lives and has jobs."""
        alive = {b"%d" % daemon.pid for daemon in self._daemons}
        owners = [owner for owner in self._owners() if owner.split(b":")[1] in alive]
        if owners:
            self._lapse(self._random.choice(owners), fence=True)

    def _kill(self, daemon):
        daemon.signal(signal.SIGSTOP)  # nothing begins any more that is not in the record
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._lapse_of(daemon.pid)
        daemon.kill()
        daemon.start()

    def _stop(self, daemon):
        daemon.signal(signal.SIGTERM)
        self._stopping.add(daemon)

    def _prune(self):
        """What a dashboard does, and what a host that died has left."""
        self._client.call("DEL", "process_cleanup", "processes")
        self._client.call("SADD", "processes", "gone:1:000000000000")

    def _crash(self):
        """What moves a class to children, and is told by `mark`."""
        self._client.call("LPUSH", "queue:default",
                          job("Moody", ["abort"], jid=jid(0), retry=False))

    def _bury(self):
        """What is to be trimmed."""
        self._client.call("ZADD", "dead", 1, job("Old", jid=jid(0)))

    def stir(self, wanted):
        """Somebody goes in some way; mostly in one that leads to what is wanted."""
        self._reap()
        if self._random.random() < (0.15 if wanted & RECOVERY else 0.01):
            self._fence()
        if self._random.random() < (0.2 if wanted & PRUNING else 0.01):
            self._prune()
        if "trim" in wanted and self._random.random() < 0.2:
            self._bury()
        if "mark" in wanted and self._random.random() < 0.2:
            self._crash()
        daemon = self._random.choice(self._daemons)
        if daemon in self._stopping:
            return
        if self._random.random() < (0.02 if "fence" in wanted else 0.003):
            self._kill(daemon)
        elif self._random.random() < (0.1 if wanted & (LEAVING | PRUNING) else 0.003):
            self._stop(daemon)

    def calm(self):
        end = deadline(20)
        while self._stopping:
            assert time.monotonic() < end, "a daemon does not end"
            self._reap()
            time.sleep(0.02)

    def lapses(self):
        return len(self._lapsed)

    def check(self, load):
        """Only what was in flight at a lapse has run again, once for each; what was at three may be
        dead. If the machine is too slow for a lease of a second, the logs tell of further lapses."""
        events = [event for daemon in self._daemons
                  for event in daemon.find("lease.fenced") + daemon.find("lease.reaped")]
        others = {event.get("owner") or event["id"] for event in events} - self._lapsed
        unseen, held = len(others) * CONCURRENCY, sum(self._held.values())
        self._t.note("%d were held at %d lapses; %d leases lost by themselves" % (
            held, self.lapses(), len(others)))
        load.check(repeats=held + unseen if others else self._held.__getitem__,
                   dead=sum(n >= 3 for n in self._held.values()) + unseen)


Stage = collections.namedtuple("Stage", "redisd proxy load crew")


def stages(t, cells):
    """Several, each with a server, a proxy and daemons of its own: they mostly wait."""
    made = []
    for _ in range(STAGES):
        redisd, probe = t.use(Redisd(db=1)), t.use(Probe(cells))
        proxy = t.use(Proxy(redisd.socket))
        made.append(Stage(redisd, proxy, t.use(Load(t, redisd, probe, linger=0.1)),
                          Crew(t, redisd, proxy, probe)))
    return made


def stir(stage, left):
    """Steps until left() has nothing left, each yielding what there is; a few jobs are scheduled
    meanwhile."""
    scheduled, todo = 0, left()
    while todo:
        if stage.load.runs() > 0:
            stage.crew.stir(set(todo))
        if time.monotonic() - scheduled > 0.5:
            scheduled = time.monotonic()
            stage.load.schedule(20, 0.5)
        yield todo
        todo = left()


def together(ways, seconds):
    """Takes a step of each in turn, until all are at their end."""
    end = deadline(seconds)
    while ways:
        steps = [(way, next(way, None)) for way in ways]
        ways = [way for way, left in steps if left]
        if time.monotonic() > end:
            raise Timeout("left: %s" % [left[:10] for _, left in steps if left])
        time.sleep(0.02)


def run(t, made, way, seconds):
    """Goes that way on each stage, under load, and takes the sum; what the proxies have done."""
    with contextlib.ExitStack() as stack:
        for stage in made:
            stack.enter_context(stage.load.pushing(rate=500))
        together([way(n, stage) for n, stage in enumerate(made)], seconds)
        for stage in made:
            stage.crew.calm()
    reports = [stage.proxy.order("pass") for stage in made]
    for stage in made:
        stage.load.settle()
        until(lambda: stage.redisd.client.call("ZCOUNT", "dead", 0, 9) == 0,
              what="the old to be trimmed")
        stage.crew.check(stage.load)
    return reports


def uncut(report):
    """Of what the daemon uses: not seen, or not cut through."""
    def done(name):
        kind, most = report.kinds.get(name), 10000 if name.startswith("LOAD ") else LONGEST
        return (kind and kind.down_size > 0 and
                (kind.up >= min(kind.up_size, most) or kind.up_passed > ENOUGH) and
                (kind.down >= min(kind.down_size, most) or kind.down_passed > ENOUGH))
    return [name for name in sorted(USED) if not done(name)]


@limit(36000 if FULL else 600)
def test_every_offset(t):
    """Each seventh byte of each command and each reply, the first chosen by the seed; or each, of
    which a shard takes every so many."""
    made = stages(t, 200000)
    first, step = (SHARD, SHARDS) if FULL else (t.random.randrange(7), 7)

    def way(number, stage):
        stage.proxy.order("cut %d %d %d" % (first + number * step, STAGES * step, LONGEST))
        yield from stir(stage, lambda: uncut(stage.proxy.report()))
    reports = run(t, made, way, 18000 if FULL else 600)
    t.note("%d cuts, %d lapses" % (sum(report.cuts for report in reports),
                                   sum(stage.crew.lapses() for stage in made)))
    equal(sorted({name for report in reports for name in report.kinds} - USED), [],
          "commands that the list lacks")


@limit(3600 if FULL else 600)
def test_every_error(t):
    """Each error reply at each call, in Redis' place."""
    def unanswered(stage):
        kinds = stage.proxy.report().kinds
        return [name for name in sorted(USED) if name not in kinds or not kinds[name].answered]

    def way(number, stage):
        for error in ERRORS[number::STAGES]:
            stage.proxy.order("error " + error)
            start = time.monotonic()
            yield from stir(stage, lambda: unanswered(stage))
            t.note("%.1f s: %s" % (time.monotonic() - start, error[:20]))
    made = stages(t, 200000)
    reports = run(t, made, way, 600)
    t.note("%d errors, %d lapses" % (sum(report.answers for report in reports),
                                     sum(stage.crew.lapses() for stage in made)))


main("there is no redis-server" if not available() else
     "a preloaded library is not for sanitizers" if RELAXED else None)
