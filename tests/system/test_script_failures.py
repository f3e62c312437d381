# SPDX-License-Identifier: MIT
"""Each script with each of its commands made to fail: not permitted, out of memory, a key of the
wrong type, a key that is not permitted. Whatever happens, each job is in exactly one place; and
when the cause is gone, the same call, or the next one, completes the work.

A scene is a prepared Redis, the calls that are to fail, and what a good end looks like."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from redisd import Redisd, available
from resp import RedisError
from scripts import (CANCELLED, FENCED, OWNERS, Owner, cancel_call, census, commands, front,
                     mark_call, names, queue, snapshot)
from tap import diagnostic, equal, main


class Scene:
    """`calls` are run one after another; `gone` are jobs whose run succeeded, which may or may not
    be in Redis; all others must be there once. again() makes the calls that follow when what failed
    works again; by default the same ones."""

    def __init__(self, client):
        self.client = client
        self.owner = Owner(client)
        self.jobs = []
        self.gone = []
        self.prepare()
        self.expected = set(self.jobs) - set(self.gone)

    def fill(self, key, form, count, command="LPUSH"):
        jobs = [form % i for i in range(count)]
        for i, job in enumerate(jobs):
            self.client.call(command, key, *([i] if command == "ZADD" else []), job)
        self.jobs += jobs

    def claim(self, name):
        return self.owner.claim([name])[0].seq

    def calls(self):
        raise NotImplementedError

    def again(self):
        return self.calls()

    def check(self, when, lost=()):
        """`lost`: what the test itself has overwritten."""
        found = census(self.client)
        for job in self.expected - set(lost):
            equal(found[job], 1, "places of %r %s" % (job, when))
        for job in set(self.jobs) & set(self.gone):
            assert found[job] <= 1, "%r is in %d places %s" % (job, found[job], when)
        strange = set(found) - set(self.jobs)
        assert not strange, "%r %s" % (strange, when)

    def done(self):
        """What must hold when all calls have succeeded."""
        raise NotImplementedError


class Register(Scene):
    def prepare(self):
        self.new = Owner(self.client, register=False)

    def calls(self):
        return [self.new.register_call()]

    def done(self):
        return self.client.call("HEXISTS", OWNERS, self.new.id)


class Tick(Scene):
    def prepare(self):
        client, me = self.client, self.owner.id
        self.fill("retry", b"r%d", 2, "ZADD")
        self.fill("schedule", b"s%d", 2, "ZADD")
        self.fill("dead", b"d%d", 2, "ZADD")
        self.fill(queue("q"), b"j%d", 2)
        client.call("SADD", "processes", me)
        client.call("SADD", "paused", "p")
        client.call("HSET", me, "info", "x")
        client.call("LPUSH", me + "-signals", "TSTP")
        self.gone = [b"TSTP"]
        self.jobs += self.gone

    def calls(self):
        return [self.owner.tick_call(["p", "q"])]

    def done(self):
        return (self.client.call("HGET", "fettle:beat", self.owner.id) != b"0" and
                self.client.call("GET", "fettle:promoter") == self.owner.id.encode())


class Roster(Scene):
    def prepare(self):
        self.client.call("HSET", "old", "info", "x")

    def calls(self):
        return [self.owner.roster_call(("processes", "SADD", "me"), ("me", "HSET", "a", 1, "b", 2),
                                       ("me", "EXPIRE", 60), ("stat:x", "INCRBY", 5),
                                       ("old", "DEL"))]

    def done(self):
        client = self.client
        return (client.call("HGETALL", "me") == [b"a", b"1", b"b", b"2"] and
                client.call("SISMEMBER", "processes", "me") and not client.call("EXISTS", "old"))


class Retire(Scene):
    def prepare(self):
        self.fill(queue("q"), b"j%d", 2)

    def calls(self):
        return [self.owner.retire_call()]

    def done(self):
        return not self.client.call("HEXISTS", OWNERS, self.owner.id)


class Claim(Scene):
    def prepare(self):
        for name in ("a", "b"):
            self.fill(front(name), b"f" + name.encode() + b"%d", 2)
            self.fill(queue(name), name.encode() + b"%d", 3)
        self.client.call("HSET", "fettle:recoveries", "x", 1)
        self.client.call("SADD", "paused", "nobody")

    def calls(self):
        return [self.owner.claim_call([("a", 4), "b"])]

    def done(self):
        return (self.client.call("LLEN", queue("a")) <= 1 and
                not self.client.call("EXISTS", front("a"), front("b"), queue("b")))


class Ack(Scene):
    def prepare(self):
        self.fill(queue("q"), b"j%d", 3)
        self.one = self.claim("q")
        self.fill(queue("q"), b"k%d", 3)
        self.two = self.claim("q")
        self.gone = list(self.jobs)

    def calls(self):
        return [self.owner.ack_call(self.one, self.two)]

    def done(self):
        return not self.client.call("EXISTS", self.owner.batches, self.owner.batch(self.one),
                                    self.owner.batch(self.two))


class Settle(Scene):
    def prepare(self):
        self.fill(queue("q"), b"j%d", 6)
        self.seq = self.claim("q")
        self.gone = [b"j0"]

    def calls(self):
        seq = self.seq
        return [self.owner.settle_call((seq, 0, 0, "done"), (seq, 1, 0, "zadd", "retry", 5, "j1\t"),
                                       (seq, 2, 0, "zadd", "dead", 5, ""), (seq, 5, 0, "push", "q"),
                                       (seq, 4, 0, "push", "q"), (seq, 3, 1, "push", "q"))]

    def done(self):
        return not self.client.call("EXISTS", self.owner.batch(self.seq), self.owner.batches)


class SettleTwice(Settle):
    """Two batches in one call, both at their end."""

    def prepare(self):
        self.fill(queue("q"), b"j%d", 1)
        self.seq = self.claim("q")
        self.fill(queue("q"), b"k%d", 2)
        self.other = self.claim("q")

    def calls(self):
        return [self.owner.settle_call((self.seq, 0, 1, "zadd", "dead", 1, ""),
                                       (self.other, 1, 0, "push", "q"),
                                       (self.other, 0, 1, "zadd", "retry", 1, ""))]

    def done(self):
        return not self.client.call("EXISTS", self.owner.batch(self.seq),
                                    self.owner.batch(self.other))


class Due(Scene):
    def prepare(self):
        self.fill("retry", b"j%d", 3, "ZADD")

    def calls(self):
        return [self.owner.due_call("retry")]

    def done(self):
        return self.client.call("GET", "fettle:promoter") == self.owner.id.encode()


class Promote(Scene):
    def prepare(self):
        self.fill("retry", b"j%d", 4, "ZADD")

    def calls(self):
        return [self.owner.promote_call("retry", (b"j0", "q", b"j0 "), (b"j1",),
                                        (b"j2", "p", b"j2 "), (b"j3", "q", b"j3"))]

    def done(self):
        return not self.client.call("EXISTS", "retry")


class Trim(Scene):
    def prepare(self):
        self.fill("dead", b"j%d", 4, "ZADD")
        self.gone = [b"j0", b"j1"]

    def calls(self):
        return [self.owner.trim_call(max_jobs=2)]

    def done(self):
        return self.client.call("ZCARD", "dead") == 2


class Fence(Scene):
    def prepare(self):
        self.fill(queue("q"), b"j%d", 3)
        self.seq = self.claim("q")
        self.call = self.owner.fence_call()

    def calls(self):
        return [self.call]

    def done(self):
        return (not self.client.call("HEXISTS", OWNERS, self.owner.id) and
                self.client.call("HEXISTS", FENCED, self.owner.id))


class Reap(Scene):
    """In two calls: a part of the batch, then the rest; two of its jobs for the third time, but not
    alone."""

    def prepare(self):
        self.fill(queue("q"), b"j%d", 6)
        for _ in range(2):
            seq = self.owner.claim(["q"], max_jobs=2)[0].seq
            self.owner.fence()
            self.owner.reap(seq, "q")
            self.owner = Owner(self.client)
        self.seq = self.claim("q")
        self.owner.fence()

    def calls(self):
        return [self.owner.reap_call(self.seq, "q", limit=5), self.owner.reap_call(self.seq, "q")]

    def done(self):
        return not self.client.call("EXISTS", self.owner.batch(self.seq), self.owner.batches)


class ReapDead(Reap):
    """One that was alone."""

    def prepare(self):
        self.fill(queue("q"), b"j%d", 2)
        self.seq = self.owner.claim(["q"], max_jobs=1)[0].seq
        self.owner.fence()

    def calls(self):
        return [self.owner.reap_call(self.seq, "q", max_recoveries=1)]


class Absolve(Scene):
    """Of four counts, two are for the first time."""

    def prepare(self):
        self.fill(queue("q"), b"j%d", 4)
        for count in 2, 4:
            self.owner = Owner(self.client)
            seq = self.owner.claim(["q"], max_jobs=count)[0].seq
            self.owner.fence()
            self.owner.reap(seq, "q")

    def calls(self):
        return [self.owner.absolve_call(*self.jobs)]

    def done(self):
        counts = self.client.call("HVALS", "fettle:recoveries")
        return counts == [b"1", b"1"]


class Mark(Scene):
    """One mark anew, one whose time is over, one that is taken away."""

    def prepare(self):
        self.client.call("HSET", CANCELLED, "generation", 5, "jid:old", 7, "jid:gone", 2 ** 33)

    def calls(self):
        return [mark_call(60, "jid:new", "token:77"), mark_call(0, "jid:gone")]

    def done(self):
        marks = self.client.call("HGETALL", CANCELLED)[::2]
        return (sorted(marks) == [b"generation", b"jid:new", b"token:77"] and
                60 < self.client.call("TTL", CANCELLED))


class Cancel(Scene):
    def prepare(self):
        self.fill(queue("q"), b"j%d", 4)

    def calls(self):
        return [cancel_call(queue("q"), (b"j1", b"j1\t"), (b"j3", b"j3\t"))]

    def done(self):
        return (self.client.call("LRANGE", queue("q"), 0, -1) == [b"j2", b"j0"] and
                self.client.call("ZCARD", "dead") == 2)


SCENES = [Register, Tick, Roster, Retire, Claim, Ack, Settle, SettleTwice, Due, Promote, Trim,
          Fence, Reap, ReapDead, Absolve, Mark, Cancel]


def attempt(calls, client):
    """Runs them; the errors, inside replies too."""
    errors = []

    def look(reply):
        if isinstance(reply, RedisError):
            errors.append(str(reply))
        elif isinstance(reply, list):
            for one in reply:
                look(one)
        elif isinstance(reply, bytes) and reply[:6] in (b"NOPERM", b"WRONGT", b"BADTYP", b"OOM co"):
            errors.append(reply.decode())
    for call in calls:
        try:
            look(call.run(client))
        except RedisError as error:
            look(error)
    return errors


def stage(client, kind):
    client.call("CONFIG", "SET", "maxmemory", 0)
    client.call("FLUSHALL")
    scene = kind(client)
    scene.check("before anything")
    return scene


def finish(scene, client, when):
    """The cause is gone: everything completes."""
    equal(attempt(scene.again(), client), [], "errors after " + when)
    scene.check("in the end, after " + when)
    assert scene.done(), "not complete after " + when


def limited(t, redisd, *rules):
    """A connection of a user who may do everything but …"""
    redisd.client.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", "+@all", "~*", "&*",
                       *rules)
    return t.use(redisd.connect(user="limited", password="pw"))


def test_every_script_has_a_scene(t):
    """And each of them works when nothing fails."""
    client = t.use(Redisd()).client
    seen = set()
    for kind in SCENES:
        scene = stage(client, kind)
        calls = scene.calls()
        seen.update(call.name for call in calls)
        equal(attempt(calls, client), [], kind.__name__)
        scene.check("after " + kind.__name__)
        assert scene.done(), kind.__name__
    equal(sorted(seen), names())


def test_command_not_permitted(t):
    """ACL: everything but one command, for each command that the script's text names."""
    redisd = t.use(Redisd())
    failures = 0
    for kind in SCENES:
        for command in commands(stage(redisd.client, kind).calls()[0].name):
            scene = stage(redisd.client, kind)
            when = "%s without %s" % (kind.__name__, command)
            user = limited(t, redisd, "-" + command.lower())
            errors = attempt(scene.calls(), user)
            failures += bool(errors)
            assert all("NOPERM" in e or "can't run" in e for e in errors), (when, errors)
            scene.check("after " + when)
            finish(scene, redisd.client, when)
    diagnostic("%d failures" % failures)
    assert failures > 50


def test_full_redis_can_be_worked_off(t):
    """Over maxmemory, all scripts do all they do: it is they who make room."""
    client = t.use(Redisd()).client
    for kind in SCENES:
        scene = stage(client, kind)
        calls = scene.calls()
        client.call("CONFIG", "SET", "maxmemory", 1)
        equal(str(attempt_set(client)), "OOM", "a plain write")
        equal(attempt(calls, client), [], kind.__name__)
        scene.check("after %s in a full Redis" % kind.__name__)
        assert scene.done(), kind.__name__


def test_failed_call_changes_nothing(t):
    """Where a call is all or nothing, a failed one leaves Redis as it was, but for burnt tokens and
    a queue's name in `queues`."""
    redisd = t.use(Redisd())
    client, failures = redisd.client, 0
    for kind in (Register, Retire, Claim, Ack, Fence, Reap, ReapDead, Absolve, Trim, Mark,
                 Cancel):
        for command in commands(stage(client, kind).calls()[0].name):
            call = stage(client, kind).calls()[0]
            user = limited(t, redisd, "-" + command.lower())
            before = snapshot(client, ("fettle:token", "queues"))
            if attempt([call], user):
                failures += 1
                equal(snapshot(client, ("fettle:token", "queues")), before,
                      "Redis after %s without %s" % (kind.__name__, command))
    assert failures > 40, failures


def attempt_set(client):
    try:
        return client.call("SET", "x", 1)
    except RedisError as error:
        return error.code


def test_out_of_memory(t):
    """Where not even the first, empty write is permitted to lift the limit, nothing is moved."""
    redisd = t.use(Redisd())
    for kind in SCENES:
        scene = stage(redisd.client, kind)
        when = kind.__name__ + " out of memory"
        user = limited(t, redisd, "-hdel", "-pexpire", "-srem")
        calls = scene.calls()
        redisd.client.call("CONFIG", "SET", "maxmemory", 1)
        attempt(calls, user)
        scene.check("after " + when)
        redisd.client.call("CONFIG", "SET", "maxmemory", 0)
        finish(scene, redisd.client, when)


def test_wrong_type(t):
    """Each key in turn holds something else; what it held is not the script's to keep."""
    client = t.use(Redisd()).client
    for kind in SCENES:
        for number in range(len(stage(client, kind).calls()[0].keys)):
            scene = stage(client, kind)
            calls = scene.calls()
            key = calls[0].keys[number]
            saved = client.call("DUMP", key)
            inside = [j for j in census(client)]
            string = client.call("TYPE", key) == b"string" or key in ("fettle:token",
                                                                      "fettle:promoter")
            client.call("DEL", key)
            inside = set(inside) - set(census(client))
            client.call(*(("SADD", key, "wrong") if string else ("SET", key, "wrong")))
            when = "%s with %s of the wrong type" % (kind.__name__, key)
            attempt(calls, client)
            scene.check("after " + when, lost=inside)
            client.call("DEL", key)
            if saved:
                client.call("RESTORE", key, 0, saved)
            scene.check("after %s, mended," % when)
            finish(scene, client, when)


def test_only_declared_keys(t):
    """A user who may touch nothing but the KEYS of a call can make it: none is made up inside."""
    redisd = t.use(Redisd())
    for kind in SCENES:
        scene = stage(redisd.client, kind)
        for call in scene.calls():
            user = limited(t, redisd, "resetkeys", *["~" + key for key in call.keys])
            equal(attempt([call], user), [], kind.__name__)
        scene.check("after %s on its own keys" % kind.__name__)
        assert scene.done(), kind.__name__


def test_the_checker_sees(t):
    """Lost and doubled jobs are found."""
    client = t.use(Redisd()).client
    for harm in (("LPOP", queue("b")), ("RPUSH", "elsewhere", "b0"), ("ZADD", "dead", 1, "b0"),
                 ("RPUSH", queue("b"), "stranger")):
        scene = stage(client, Claim)
        client.call(*harm)
        try:
            scene.check("now")
        except AssertionError:
            continue
        raise AssertionError("%r was not seen" % (harm,))


main(None if available() else "no redis-server")
