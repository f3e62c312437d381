# SPDX-License-Identifier: MIT
"""What each of the daemon's scripts does when nothing fails; fencing; refused arguments."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from redisd import Redisd, available
from resp import RedisError
from scripts import (BEAT, CANCELLED, FAULTED, FENCED, MIB, OWNERS, PROMOTER, RECOVERIES, TOKEN, Call,
                     Owner, census, front, names, queue, snapshot, text)
from tap import equal, main, raises

NASTY = [b"", b"\0", b"\xff\xfe", b"a\r\nb\0c", b'{"class":"X","args":[12345678901234567890,1.10]}']
NOW = time.time()


def server(t, **options):
    return t.use(Redisd(**options)).client


def fill(client, name, count, form=b"%d"):
    """Enqueues jobs 0…; returns them, the next one first."""
    jobs = [form % i for i in range(count)]
    client.pipeline([("LPUSH", queue(name), job) for job in jobs])
    return jobs


def keys(client):
    return sorted(client.call("KEYS", "*"))


def refused(call, client, code, ignore=()):
    before = snapshot(client, ignore)
    equal(raises(RedisError, call.run, client).code, code, call)
    equal(snapshot(client, ignore), before, "what Redis holds after " + call.name)


def test_register_tick_retire(t):
    """An owner comes, lives and goes without a trace."""
    client = server(t)
    owner = Owner(client, register=False)
    assert abs(owner.register() / 1e6 - time.time()) < 60
    equal(client.call("HGET", OWNERS, owner.id), b"1 15000")
    before = client.call("HGET", BEAT, owner.id)
    owner.tick()
    assert client.call("HGET", BEAT, owner.id) != before
    refused(owner.register_call(), client, "BADARG")
    equal(owner.retire(), 1)
    equal(keys(client), [b"fettle:promoter"])  # which expires


def test_tick(t):
    """What is due and what there is to do is told; the promoter is the first who asks."""
    client = server(t)
    one, other = Owner(client), Owner(client)
    tick = one.tick(["a", "b"])
    equal(tick[4:], (0, b"inf", 0, b"inf", 0, [], 0, [], [], []), "with nothing there")
    equal(sorted(tick.owners[::2]), sorted([one.id.encode(), other.id.encode()]))
    equal(dict(zip(tick.beats[::2], tick.beats[1::2]))[one.id.encode()],
          client.call("HGET", BEAT, one.id))
    equal(other.tick().next, b"", "the promoter is another")
    client.call("ZADD", "retry", 7, "r")
    client.call("ZADD", "schedule", 5.5, "s")
    client.call("ZADD", "dead", 3, "d", 4, "e")
    fill(client, "a", 1)
    one.claim(["a"])
    client.call("LPUSH", front("b"), "f")
    client.call("HSET", FENCED, "x", 1)
    client.call("SADD", "processes", one.id)
    client.call("HSET", one.id, "info", "{}")
    client.call("LPUSH", one.id + "-signals", "TSTP", "TERM")
    tick = one.tick(["a", "b"])
    equal(tick[3:], ([b"x", b"1"], 1, b"5.5", 2, b"3", 1, [b"TSTP", b"TERM"], 1, [], [], []))
    equal(client.call("TTL", one.id), 60)
    client.call("SADD", "paused", "b")
    equal(one.tick(["a", "b"])[9:], ([], 0, [2], [], []), "paused")
    client.call("HSET", CANCELLED, "generation", 5, "jid:x", 9)
    equal(one.tick().marks, [b"5", [b"generation", b"5", b"jid:x", b"9"]])
    equal(one.tick(generation="5").marks, [])
    client.call("HSET", FAULTED, "generation", 6, "class:X", 9)
    equal(one.tick(generation="5").faulted, [b"6", [b"generation", b"6", b"class:X", b"9"]])
    equal(one.tick(faulted="6").faulted, [])
    client.call("DEL", "retry")
    client.call("SET", "retry", "x")
    equal(one.tick().next, b"-inf", "what cannot be read looks due")
    refused(Owner(client, register=False).tick_call(), client, "FENCED")


def test_retire_refuses_while_batches_are_left(t):
    client = server(t)
    owner = Owner(client)
    fill(client, "q", 1)
    seq = owner.claim(["q"])[0].seq
    before = snapshot(client)
    equal(owner.retire(), 0)
    equal(snapshot(client), before)
    owner.ack(seq)
    equal(owner.retire(), 1)


def test_claim_order(t):
    """Queues as listed, in each the front first, in each of those the oldest first."""
    client = server(t)
    owner = Owner(client)
    high, low = fill(client, "high", 3, b"h%d"), fill(client, "low", 3, b"l%d")
    client.call("LPUSH", front("low"), "f0", "f1")
    rows = owner.claim(["high", "empty", "low"])
    equal([(r.name, r.state, r.jobs) for r in rows],
          [("high", "ok", high), ("low", "ok", [b"f0", b"f1"] + low)])
    equal(client.call("LRANGE", owner.batch(rows[1].seq), 0, -1), [b"f0", b"f1"] + low)
    equal(client.call("HGET", owner.batches, rows[1].seq), b"%d 5 low" % rows[1].token)
    equal(client.call("EXISTS", queue("high"), queue("low"), front("low")), 0)


def test_claim_bounds(t):
    """max_jobs over all queues, a limit for each; 0 takes nothing."""
    client = server(t)
    owner = Owner(client)
    for name in "abc":
        fill(client, name, 100)
    rows = owner.claim([("a", 3), ("b", 0), ("c", 100)], max_jobs=50)
    equal([(r.name, len(r.jobs)) for r in rows], [("a", 3), ("c", 47)])
    equal(owner.claim(["a"], max_jobs=0), [])
    equal([client.call("LLEN", queue(name)) for name in "abc"], [97, 100, 53])


def test_claim_bytes(t):
    """No more than max_bytes, but always one job."""
    client = server(t)
    owner = Owner(client)
    fill(client, "q", 40, b"x" * 995 + b"%05d")
    equal([len(r.jobs) for r in owner.claim(["q"], max_bytes=10500)], [10])
    equal([len(r.jobs) for r in owner.claim(["q", "q"], max_bytes=10)], [1])
    equal([len(r.jobs) for r in owner.claim(["q"], max_bytes=10000)], [10])
    equal(client.call("LLEN", queue("q")), 19)


def test_claim_reads_little_more_than_it_takes(t):
    """What it asks of a queue of large jobs, small ones before them or not, is bounded too."""
    redisd = t.use(Redisd())
    client, monitor = redisd.client, redisd.connect()
    owner = Owner(client)
    client.pipeline([("LPUSH", queue("q"), b"s")] * 1000)
    client.pipeline([("LPUSH", queue("q"), b"x" * (MIB // 4))] * 100)
    monitor.call("MONITOR")
    taken = [len(r.jobs) for r in owner.claim(["q"], max_jobs=2000)]
    taken += [len(r.jobs) for r in owner.claim(["q"], max_jobs=2000)]
    client.call("ECHO", "end")
    asked = []
    for line in iter(monitor.receive, None):
        words = line.decode().split('"')[1::2]
        if words[0] == "ECHO":
            break
        if words[0] == "LRANGE":
            asked.append(int(words[3]) - int(words[2]) + 1)
    equal(taken, [1031, 32], "jobs of 8 MiB")
    assert sum(asked) <= sum(taken) + 2 * 64, asked


def test_claim_thousands(t):
    """More jobs than Lua unpacks at once, in one batch, in order."""
    client = server(t)
    owner = Owner(client)
    jobs = fill(client, "q", 10001)
    client.call("HSET", RECOVERIES, "x", 1)
    row, = owner.claim(["q"], max_jobs=20000)
    equal(row.jobs, jobs)
    equal(len(row.counts), 10001)
    equal(client.call("LRANGE", owner.batch(row.seq), 0, -1), jobs)


def test_claim_paused(t):
    client = server(t)
    owner = Owner(client)
    fill(client, "a", 1)
    fill(client, "b", 1)
    client.call("SADD", "paused", "a")
    equal([(r.name, r.state, len(r.jobs)) for r in owner.claim(["a", "b"])],
          [("a", "paused", 0), ("b", "ok", 1)])
    equal(client.call("LLEN", queue("a")), 1)


def test_tokens_only_grow(t):
    """Each job has one of its own; they follow the clock, but never go back, even if it does."""
    client = server(t)
    owner, last = Owner(client), int(NOW * 1e6) - 3600 * 10 ** 6
    for ahead in (0, 0, 10 ** 12, 0):
        fill(client, "a", 3)
        fill(client, "b", 2)
        if ahead:
            last += ahead
            client.call("SET", TOKEN, last)
        for row in owner.claim(["a", "b"]):
            assert row.token > last, (row, last)
            last = row.token + len(row.jobs) - 1
        equal(int(client.call("GET", TOKEN)), last, "the last token")
    client.call("SET", TOKEN, "nonsense")
    fill(client, "a", 1)
    refused(owner.claim_call(["a"]), client, "BADTYPE")


def test_one_bad_queue_does_not_stop_the_others(t):
    """Wrong types of queue or front, a SEQ or a batch in use: an error in that row, no more."""
    client = server(t)
    owner = Owner(client)
    client.call("SET", queue("bad"), "x")
    client.call("SET", front("fbad"), "x")
    fill(client, "fbad", 1, b"f%d")
    fill(client, "seq", 1, b"s%d")
    fill(client, "batch", 1, b"b%d")
    fill(client, "good", 1, b"g%d")
    client.call("HSET", owner.batches, 3, "1 1 other")
    client.call("RPUSH", owner.batch(4), "other")
    rows = owner.claim(["bad", "fbad", "seq", "batch", "good"])
    equal([r.state.split()[0] for r in rows], ["WRONGTYPE", "WRONGTYPE", "BADARG", "BADARG", "ok"])
    equal([r.jobs for r in rows], [[], [], [], [], [b"g0"]])
    equal(census(client), dict.fromkeys([b"f0", b"s0", b"b0", b"g0", b"other"], 1))


def test_ack(t):
    """Whole batches go; each answers for itself; twice is no harm."""
    client = server(t)
    owner = Owner(client)
    fill(client, "a", 2)
    fill(client, "b", 2)
    a, b = owner.claim(["a", "b"])
    equal(owner.ack(a.seq, 99, b.seq), [1, 0, 1])
    equal(owner.ack(a.seq), [0])
    owner.retire()
    equal(keys(client), [TOKEN.encode()])


def test_a_batch_of_the_wrong_type(t):
    """Its own acks and settles are refused; those of the others go on."""
    client = server(t)
    owner = Owner(client)
    for name in "abc":
        fill(client, name, 2)
    a, b, c = owner.claim(["a", "b", "c"])
    key = owner.batch(b.seq)
    client.call("RENAME", key, "kept")
    client.call("SET", key, "x")

    def told(replies):
        return [str(r).split()[0] if isinstance(r, RedisError) else r for r in replies]
    equal(told(owner.settle((a.seq, 0, 0, "done"), (b.seq, 0, 0, "done"), (c.seq, 0, 0, "done"))),
          [1, "BADTYPE", 1])
    equal(told(owner.ack(a.seq, b.seq, c.seq)), [1, "WRONGTYPE", 1])
    client.call("RENAME", "kept", key)
    equal(owner.ack(b.seq), [1])


def test_settle(t):
    """Each action; what was settled is settled; the last one takes the batch along."""
    client = server(t)
    owner = Owner(client)
    fill(client, "q", 6)
    row, = owner.claim(["q"])
    seq = row.seq
    equal(owner.settle((seq, 0, 0, "done"), (seq, 1, 0, "zadd", "retry", "12.5", "new"),
                       (seq, 2, 0, "zadd", "dead", "7", ""), (seq, 4, 0, "push", "q"),
                       (seq, 3, 0, "push", "q")), [1] * 5)
    equal(owner.settle((seq, 0, 0, "done"), (seq, 1, 0, "zadd", "retry", "1", "other"),
                       (seq, 3, 0, "push", "q"), (seq, 6, 0, "done"), (77, 0, 0, "done")), [0] * 5)
    equal(client.call("ZRANGE", "retry", 0, -1, "WITHSCORES"), [b"new", b"12.5"])
    equal(client.call("ZRANGE", "dead", 0, -1, "WITHSCORES"), [b"2", b"7"])
    equal([r.jobs for r in owner.claim(["q"])], [[b"3", b"4"]])
    equal(client.call("SMEMBERS", "queues"), [b"q"])
    equal(owner.settle((seq, 5, 1, "done")), [1])
    equal(client.call("EXISTS", owner.batch(seq)), 0)
    equal(client.call("HEXISTS", owner.batches, seq), 0)


def test_settle_never_drops_what_is_live(t):
    """`last`, said too early, deletes nothing; said again, it does."""
    client = server(t)
    owner = Owner(client)
    fill(client, "q", 2)
    seq = owner.claim(["q"])[0].seq
    equal(owner.settle((seq, 0, 1, "done")), [1])
    equal(census(client), {b"1": 1})
    equal(owner.settle((seq, 1, 1, "done")), [1])
    equal(client.call("EXISTS", owner.batch(seq), owner.batches), 0)


def test_equal_members(t):
    """A payload that the set has is not swallowed: the later one gets blanks."""
    client = server(t)
    owner = Owner(client)
    client.pipeline([("LPUSH", queue("q"), "same")] * 10)
    seq = owner.claim(["q"])[0].seq
    equal(owner.settle((seq, 0, 0, "zadd", "retry", "1", "p"),
                       (seq, 1, 0, "zadd", "retry", "2", "p")), [1, 1])
    equal(client.call("ZRANGE", "retry", 0, -1, "WITHSCORES")[1::2], [b"1", b"2"])
    equal(owner.settle(*[(seq, i, i == 9, "zadd", "dead", "3", "") for i in range(2, 10)]), [1] * 8)
    equal(census(client), {b"p": 2, b"same": 8})
    client.call("ZADD", "retry", 5, "same")
    equal(owner.promote("retry", ("same",)), [1])
    equal(census(client)[b"same"], 9)


def test_due(t):
    """Due members in order, with the score of the next one; one promoter at a time."""
    client = server(t)
    owner, other = Owner(client), Owner(client)
    client.call("ZADD", "retry", 10, "a", 20, "b", 30, "c", NOW + 1000, "later")
    now, following, members = owner.due("retry", limit=2)
    assert abs(now / 1e6 - time.time()) < 60
    equal((following, members), (30.0, [(b"a", 10.0), (b"b", 20.0)]))
    equal(owner.due("retry")[1:], (float("%.17g" % (NOW + 1000)),
                                   [(b"a", 10.0), (b"b", 20.0), (b"c", 30.0)]))
    equal(owner.due("schedule")[1:], (None, []))
    equal(other.due("retry"), None)
    client.call("DEL", PROMOTER)
    assert other.due("retry", lock=5000) and 0 < client.call("PTTL", PROMOTER) <= 5000


def test_due_bytes(t):
    """No more than max_bytes, but one at least."""
    client = server(t)
    owner = Owner(client)
    client.pipeline([("ZADD", "retry", i, b"x" * 995 + b"%05d" % i) for i in range(100)])
    equal(len(owner.due("retry", max_bytes=50500)[2]), 50)
    equal(len(owner.due("retry", max_bytes=0)[2]), 1)
    equal(len(owner.due("retry")[2]), 100)


def test_promote(t):
    """To the end of the queue, new bytes; to dead, the old ones; what is gone is left alone."""
    client = server(t)
    owner = Owner(client)
    client.call("ZADD", "schedule", 1, "a", 2, "b", 3, "c")
    client.call("LPUSH", queue("q"), "before")
    equal(owner.promote("schedule", ("a", "q", "A"), ("b",), ("gone", "q", "G"), ("c", "p", "C")),
          [1, 1, 0, 1])
    equal(client.call("LRANGE", queue("q"), 0, -1), [b"A", b"before"])
    equal(client.call("LRANGE", queue("p"), 0, -1), [b"C"])
    equal(client.call("ZRANGE", "dead", 0, -1), [b"b"])
    assert abs(float(client.call("ZSCORE", "dead", "b")) - time.time()) < 60
    equal(sorted(client.call("SMEMBERS", "queues")), [b"p", b"q"])
    equal(client.call("EXISTS", "schedule"), 0)


def test_trim(t):
    """The oldest go, by number or by age, at most `limit`; and are named."""
    client = server(t)
    owner = Owner(client)
    client.call("ZADD", "dead", *[word for i in range(10) for word in (i, "j%d" % i)])
    equal(owner.trim(), [])
    equal(owner.trim(max_jobs=8), [b"j0", b"j1"])
    equal(owner.trim(max_age=10, now=15), [b"j2", b"j3", b"j4"])
    equal(owner.trim(max_jobs=1, limit=2), [b"j5", b"j6"])
    equal(client.call("ZCARD", "dead"), 3)


def test_fence(t):
    """Only an owner whose beat stands still; then it can do nothing any more."""
    client = server(t)
    owner, living = Owner(client), Owner(client)
    seen = client.call("HGET", BEAT, owner.id)
    owner.tick()
    equal(owner.fence(beat=seen), 0)
    refused(owner.fence_call(format="2"), client, "BADARG")
    fill(client, "q", 2)
    seq = owner.claim(["q"])[0].seq
    equal(owner.fence(), 1)
    equal(owner.fence(), 0)
    equal(client.call("HGETALL", FENCED), [owner.id.encode(), b"1"])
    fill(client, "q", 1)
    for call in (owner.tick_call(), owner.claim_call(["q"]), owner.ack_call(seq),
                 owner.retire_call(), owner.settle_call((seq, 0, 0, "done"))):
        refused(call, client, "FENCED")
    living.tick()
    equal(len(living.claim(["q"])), 1)


def test_reap(t):
    """All live jobs come back to the front in their old order; settled ones do not."""
    client = server(t)
    owner = Owner(client)
    jobs = fill(client, "q", 10)
    seq = owner.claim(["q"])[0].seq
    owner.settle((seq, 2, 0, "done"), (seq, 8, 0, "done"))
    client.call("LPUSH", queue("q"), "later")
    refused(owner.reap_call(seq, "q"), client, "BADARG")
    owner.fence()
    refused(owner.reap_call(seq, "other"), client, "BADARG")
    refused(owner.reap_call(seq, "q", format="2"), client, "BADARG")
    equal([owner.reap(seq, "q", limit=4) for _ in range(4)],
          [(6, 3, []), (2, 3, []), (0, 2, []), (0, 0, [])])
    del jobs[8], jobs[2]
    row, = Owner(client).claim(["q"])
    equal(row.jobs, jobs + [b"later"])
    equal(row.counts, [1] * 8 + [0])
    equal(client.call("EXISTS", owner.batch(seq), owner.batches), 0)
    assert 0 < client.call("TTL", RECOVERIES) <= 72 * 3600


def test_reap_buries_what_kills(t):
    """The third recovery of the same bytes is to dead, if nothing else was there at the death; equal
    ones stay apart."""
    client, told = server(t), []
    client.call("LPUSH", queue("q"), "bad")
    for counts, jobs, only in (([], 1, 1), ([1], 1, 1), ([2, 0], 2, 1), ([2], 1, 0), ([2], 1, 1),
                               ([3], 1, 1)):
        owner = Owner(client)
        row, = owner.claim([("q", jobs)])
        equal(row.counts, counts)
        owner.fence()
        left, recovered, dead = owner.reap(row.seq, "q", only=only)
        buried = only and counts in ([2], [3])
        equal((left, recovered, len(dead)), (0, 0, 1) if buried else (0, jobs, 0))
        if counts == [1]:
            client.call("LPUSH", queue("q"), "good", "bad")
        if buried:  # told with its token, and with the bytes that it has in dead
            equal([token for token, _ in dead], [row.token])
            told.append(dead[0][1])
            good, = client.call("RPOP", queue("q"), 1) or [None]
            equal(good, b"good" if counts == [2] else None)
    equal(told, client.call("ZRANGE", "dead", 0, -1))
    equal(census(client), {b"bad": 2})


def test_reap_remembers_that_there_was_more(t):
    """What is left when a reaper dies was not alone, though it is now."""
    client = server(t)
    for name in ("p", "q"):
        fill(client, name, 1)
    for turn in range(3):
        owner = Owner(client)
        rows = owner.claim(["p", "q"])
        owner.fence()
        equal(owner.reap(rows[1].seq, "q", only=0), (0, 1, []))
        equal(client.call("HGET", FENCED, owner.id), b"1 shared")
        equal(owner.reap(rows[0].seq, "p"), (0, 1, []), "turn %d" % turn)


def test_reap_counts_a_death_once(t):
    """Many equal jobs of one dead owner, over many calls and batches: each was recovered once."""
    client = server(t)
    client.call("LPUSH", queue("q"), *["same"] * 10)
    owner = Owner(client)
    rows = [owner.claim([("q", 5)])[0] for _ in range(2)]
    owner.fence()
    for row in rows:
        while owner.reap(row.seq, "q", limit=2)[0] > 0:
            pass
    equal(census(client), {b"same": 10})
    row, = Owner(client).claim(["q"])
    equal((len(row.jobs), row.counts), (10, [1] * 10))


def test_absolve(t):
    """One that was fenced and lives takes back what was counted for it, and that only, and once."""
    client = server(t)
    jobs = fill(client, "q", 3)
    dead, living, other = Owner(client), Owner(client), Owner(client)
    for owner, count in ((dead, 2), (living, 3), (other, 1)):
        row, = owner.claim([("q", count)])
        owner.fence()
        owner.reap(row.seq, "q", max_recoveries=9)
    equal(living.absolve(*jobs, b"unknown"), 2)
    equal(living.absolve(*jobs), 0)
    row, = Owner(client).claim(["q"])
    equal((row.jobs, row.counts), (jobs, [3, 1, 0]))
    equal(client.call("HLEN", RECOVERIES), 2)
    equal(dead.absolve(*jobs), 0)
    equal(other.absolve(jobs[0]), 1)
    client.call("SET", RECOVERIES, "x")
    refused(living.absolve_call(*jobs), client, "WRONGTYPE")


def test_bytes_are_sacred(t):
    """Every byte survives claim, put-back, reap, settle and promotion."""
    client = server(t)
    owner = Owner(client)
    client.pipeline([("LPUSH", queue("q"), job) for job in NASTY])
    row, = owner.claim(["q"])
    equal(row.jobs, NASTY)
    count = len(NASTY)
    owner.settle(*[(row.seq, i, i == 0, "push", "q") for i in reversed(range(count))])
    row, = owner.claim(["q"])
    equal(row.jobs, NASTY)
    owner.fence()
    equal(owner.reap(row.seq, "q"), (0, count, []))
    owner = Owner(client)
    row, = owner.claim(["q"])
    equal(row.jobs, NASTY)
    owner.settle(*[(row.seq, i, 0, "zadd", "retry", i, "") for i in range(count)])
    equal([m for m, _ in owner.due("retry")[2]], NASTY)
    owner.promote("retry", *[(job, "q", job) for job in NASTY])
    equal(owner.claim(["q"])[0].jobs, NASTY)


def test_bad_arguments_change_nothing(t):
    client = server(t)
    owner = Owner(client)
    fill(client, "q", 2)
    seq = owner.claim(["q"], max_jobs=1)[0].seq
    client.call("ZADD", "retry", 1, "r")
    for name in names():
        refused(Call(name, ["a"] * 12, ["b"]), client, "BADARG")
    good = owner.settle_call((seq, 0, 0, "zadd", "dead", "1", ""), (seq, 0, 0, "push", "q"))
    for at, bad in ((1, "0"), (1, "x"), (1, "1.5"), (3, "0"), (3, "2"), (4, "-1"), (4, "0.5"),
                    (5, "drop"), (7, "schedule"), (8, "soon"), (14, "0"), (14, "2"), (15, None)):
        args = good.args[:at] + ([] if bad is None else [bad] + good.args[at + 1:])
        refused(Call("settle", good.keys, args), client, "BADARG")
    good = owner.claim_call(["q"])
    for at, bad in ((1, "-1"), (1, "many"), (2, ""), (5, "1.5"), (5, None)):
        args = good.args[:at] + ([] if bad is None else [bad] + good.args[at + 1:])
        refused(Call("claim", good.keys, args), client, "BADARG")
    for queue_place in ("-1", "2", "x", "0.5"):
        refused(Call("promote", ["retry", "queues", "dead", "queue:q"],
                     ["r", queue_place, "q", "R"]), client, "BADARG")


def test_no_json_in_lua(t):
    for name in names():
        assert "cjson" not in text(name) and "loadstring" not in text(name), name
        assert text(name).startswith("-- SPDX-License-Identifier: MIT\n"), name


main(None if available() else "no redis-server")
