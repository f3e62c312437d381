# SPDX-License-Identifier: MIT
"""The daemon's Lua scripts, called as the daemon calls them.

    owner = Owner(client)              # registered under an ID of its own
    rows = owner.claim(["default"])    # → [Row]
    owner.ack(rows[0].seq)

Each method `x` runs the call that `x_call` builds, a Call(name, keys, args), which can also be run
by hand, over another connection: call.run(client)."""

import collections
import hashlib
import itertools
import os
import re

SRCDIR = os.environ.get("SRCDIR") or os.path.join(os.path.dirname(__file__), "..", "..")
DIRECTORY = os.path.join(SRCDIR, "daemon", "scripts")

FENCED, OWNERS, BEAT = "fettle:fenced", "fettle:owners", "fettle:beat"
TOKEN, RECOVERIES, PROMOTER = "fettle:token", "fettle:recoveries", "fettle:promoter"
CANCELLED, FAULTED = "fettle:cancelled", "fettle:faulted"
MIB = 1 << 20

Row = collections.namedtuple("Row", "name seq token state jobs counts")
Tick = collections.namedtuple("Tick", "time owners beats fenced batches next dead oldest record "
                              "signals work paused marks faulted")


def text(name):
    with open(os.path.join(DIRECTORY, name + ".lua"), encoding="utf-8") as file:
        return file.read()


def sha(name):
    """By which it is called."""
    return hashlib.sha1(text(name).encode()).hexdigest().encode()


def names():
    return sorted(f[:-4] for f in os.listdir(DIRECTORY) if f.endswith(".lua"))


def commands(name):
    """The Redis commands that a script's text names."""
    return sorted(set(re.findall(r"\bp?call\('(\w+)'", text(name))))


def queue(name):
    return "queue:" + name


def front(name):
    return "fettle:front:" + name


class Call(collections.namedtuple("Call", "name keys args")):
    def run(self, client):
        return client.eval(text(self.name), self.keys, self.args)


class Owner:
    _numbers = itertools.count(1)

    def __init__(self, client, register=True):
        self.client = client
        self.id = "host:%d:%012x" % (os.getpid(), next(self._numbers))
        self.batches = "fettle:batches:" + self.id
        self.next_seq = 1
        if register:
            self.register()

    def batch(self, seq):
        return "fettle:batch:%s:%d" % (self.id, seq)

    def register_call(self, format="1", ttl=15000):
        return Call("register", [OWNERS, BEAT], [self.id, format, ttl])

    def register(self, **options):
        return int(self.register_call(**options).run(self.client))

    def tick_call(self, queues=(), lock=4000, generation="0", faulted="0"):
        keys = [OWNERS, BEAT, FENCED, self.batches, PROMOTER, "retry", "schedule", "dead",
                "processes", self.id, self.id + "-signals", "paused", CANCELLED, FAULTED]
        for name in queues:
            keys += [queue(name), front(name)]
        return Call("tick", keys, [self.id, lock, 60, 16, generation, faulted, *queues])

    def tick(self, queues=(), **options):
        reply = self.tick_call(queues, **options).run(self.client)
        return Tick(*reply)

    def roster_call(self, *ops):
        """An op: (key, command, argument…)."""
        keys = list(dict.fromkeys(["processes"] + [op[0] for op in ops]))
        args = []
        for key, command, *rest in ops:
            args += [keys.index(key) + 1, command, len(rest), *rest]
        return Call("roster", keys, args)

    def roster(self, *ops):
        return self.roster_call(*ops).run(self.client)

    def retire_call(self):
        return Call("retire", [OWNERS, BEAT, self.batches], [self.id])

    def retire(self):
        return self.retire_call().run(self.client)

    def claim_call(self, queues, max_jobs=1000, max_bytes=8 * MIB, generation="0"):
        """`queues`: names, or (name, limit)."""
        keys = [TOKEN, OWNERS, self.batches, "paused", RECOVERIES]
        args = [self.id, max_jobs, max_bytes]
        for one in queues:
            name, limit = one if isinstance(one, tuple) else (one, max_jobs)
            keys += [queue(name), front(name), self.batch(self.next_seq)]
            args += [name, self.next_seq, limit]
            self.next_seq += 1
        return Call("claim", keys + [CANCELLED], args + [generation])

    @staticmethod
    def rows(call, reply):
        """The rows of a claim's reply."""
        found = []
        for place, token, state, jobs, counts in reply[1:]:
            if place == 0:  # what is cancelled
                continue
            name, seq, _ = call.args[3 * place:3 * place + 3]
            found.append(Row(name, seq, int(token), state.decode(), jobs, counts))
        return found

    def claim(self, queues, **options):
        call = self.claim_call(queues, **options)
        return self.rows(call, call.run(self.client))

    def ack_call(self, *seqs):
        return Call("ack", [OWNERS, self.batches] + [self.batch(s) for s in seqs],
                    [self.id, *seqs])

    def ack(self, *seqs):
        return self.ack_call(*seqs).run(self.client)

    def settle_call(self, *ops):
        """An op: (seq, index, last, "done"), (…, "zadd", set, score, payload) or (…, "push",
        name)."""
        seqs = list(dict.fromkeys(op[0] for op in ops))
        queues = list(dict.fromkeys(op[4] for op in ops if op[3] == "push"))
        args = [self.id, len(seqs), *seqs]
        for seq, index, last, action, *rest in ops:
            if action == "push":
                rest = [queues.index(rest[0]) + 1, rest[0]]
            args += [seqs.index(seq) + 1, index, action, int(last), *rest]
        keys = [OWNERS, self.batches, "retry", "dead", "queues"]
        return Call("settle", keys + [self.batch(s) for s in seqs] + [queue(q) for q in queues],
                    args)

    def settle(self, *ops):
        return self.settle_call(*ops).run(self.client)

    def due_call(self, zset, limit=100, max_bytes=8 * MIB, lock=10000, generation="0"):
        return Call("due", [PROMOTER, zset, CANCELLED],
                    [self.id, lock, limit, max_bytes, generation])

    def due(self, zset, **options):
        """None if another has the lock, else (TIME, next score or None, [(bytes, score)])."""
        reply = self.due_call(zset, **options).run(self.client)
        if not reply:
            return None
        members = [(reply[i], float(reply[i + 1])) for i in range(3, len(reply), 2)]
        return int(reply[0]), float(reply[1]) if reply[1] else None, members

    @staticmethod
    def promote_call(zset, *ops):
        """An op: (old, name, new); (old,) to dead, or (old, None, new)."""
        queues = list(dict.fromkeys(op[1] for op in ops if len(op) > 1 and op[1]))
        args = []
        for old, name, new in (op if len(op) > 1 else (*op, None, "") for op in ops):
            args += [old, queues.index(name) + 1 if name else 0, name or "", new]
        return Call("promote", [zset, "queues", "dead"] + [queue(q) for q in queues], args)

    def promote(self, zset, *ops):
        return self.promote_call(zset, *ops).run(self.client)

    @staticmethod
    def trim_call(max_jobs=0, max_age=0, now=0, limit=100):
        return Call("trim", ["dead"], [max_jobs, max_age, now, limit])

    def trim(self, **options):
        return self.trim_call(**options).run(self.client)

    def fence_call(self, beat=None, format="1"):
        """Of this owner; `beat` as last seen, by default as it is."""
        if beat is None:
            beat = self.client.call("HGET", BEAT, self.id) or ""
        return Call("fence", [OWNERS, BEAT, FENCED], [self.id, beat, format])

    def fence(self, **options):
        return self.fence_call(**options).run(self.client)

    def reap_call(self, seq, name, max_recoveries=3, limit=1000, format="1", only=1):
        """Of this owner."""
        return Call("reap", [FENCED, OWNERS, self.batches, RECOVERIES, "queues", "dead",
                             self.batch(seq), queue(name)],
                    [self.id, seq, name, format, max_recoveries, limit, only])

    def reap(self, seq, name, **options):
        """(left, recovered, [(token, bytes) of a job that went to dead])."""
        left, recovered, dead = self.reap_call(seq, name, **options).run(self.client)
        return left, recovered, [(int(dead[i]), dead[i + 1]) for i in range(0, len(dead), 2)]

    def absolve_call(self, *jobs):
        """Of this owner: the counts of these jobs."""
        digests = [hashlib.sha1(job).hexdigest() for job in jobs]
        return Call("absolve", [RECOVERIES], [self.id, *digests])

    def absolve(self, *jobs):
        return self.absolve_call(*jobs).run(self.client)


def mark_call(ttl, *marks, key=CANCELLED):
    """Marks ("jid:JID", "token:TOKEN"; of FAULTED "class:CLASS") for so many seconds; 0 takes them
    away."""
    return Call("mark", [key], [ttl, *marks])


def cancel_call(key, *ops):
    """An op: (old, new): from this list to dead."""
    return Call("cancel", [key, "dead"], [word for op in ops for word in op])


def snapshot(client, ignore=()):
    """Everything that Redis holds, for comparing."""
    readers = {b"string": lambda k: client.call("GET", k),
               b"list": lambda k: client.call("LRANGE", k, 0, -1),
               b"set": lambda k: sorted(client.call("SMEMBERS", k)),
               b"hash": lambda k: sorted(zip(*[iter(client.call("HGETALL", k))] * 2)),
               b"zset": lambda k: client.call("ZRANGE", k, 0, -1, "WITHSCORES")}
    return {key: readers[client.call("TYPE", key)](key)
            for key in client.call("KEYS", "*") if key.decode() not in ignore}


def census(client):
    """How often each job is in Redis, wherever it is: queues, fronts, sets, batches. Blanks at its
    end do not count (a script may append them); entries that are settled are no jobs."""
    jobs = collections.Counter()
    for key in client.call("KEYS", "*"):
        kind = client.call("TYPE", key)
        if kind == b"list":
            settled = key.split(b":batch:")[-1].rsplit(b":", 1)[0]
            jobs.update(j.rstrip(b" \t") for j in client.call("LRANGE", key, 0, -1)
                        if not key.startswith(b"fettle:batch:") or j != settled)
        elif kind == b"zset":
            jobs.update(j.rstrip(b" \t") for j in client.call("ZRANGE", key, 0, -1))
    return jobs
