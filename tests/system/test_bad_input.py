#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is no job, or no job for this daemon: it ends where the layout says, and the daemon goes on."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, job, native
from places import member, members, now, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import until


def goes_on(daemon, client, text):
    client.call("LPUSH", "queue:default", job("Hello", [text]))
    daemon.wait_event("job.log", line="hello, " + text)


# Bytes that are no job: they stay as they are, and only the log has the reason.
NO_JOBS = {
    "empty": b"",
    "not JSON": b"hello",
    "cut off": b'{"class":"Hello","args":[',
    "trailing bytes": b'{"class":"Hello","args":[]} x',
    "an array": b'[{"class":"Hello"}]',
    "a number": b"1795196280.5",
    "a string": b'"Hello"',
    "null": b"null",
    "NUL": b"\x00",
    "NUL inside": b'{"class":"Hello","args":["\x00"]}',
    "invalid UTF-8": b'{"class":"Hello","args":["\xff\xfe"]}',
    "an overlong form": b'{"class":"Hello","args":["\xc0\xaf"]}',
    "a surrogate in UTF-8": b'{"class":"Hello","args":["\xed\xa0\x80"]}',
    "single quotes": b"{'class':'Hello'}",
    "a comma too many": b'{"class":"Hello",}',
    "deep arrays": b"[" * 10000 + b"]" * 10000,
}


def test_no_jobs(t):
    """Each is in dead, byte for byte, with its reason in the log."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    for name, raw in NO_JOBS.items():
        since = daemon.mark()
        redisd.client.call("LPUSH", "queue:default", raw)
        event = daemon.wait_event("job.invalid", since=since)
        assert event["reason"] and event["queue"] == "default", (name, event)
        equal(event["size"], len(raw), name)
        until(lambda: redisd.client.call("ZSCORE", "dead", raw), what=name + " in dead")
        score = float(redisd.client.call("ZSCORE", "dead", raw))
        assert abs(score - now(redisd.client)) < 20, score
    goes_on(daemon, redisd.client, "still here")
    until(lambda: list(places(redisd.client)) == ["dead"], what="nothing but dead")
    equal(redisd.client.call("ZCARD", "dead"), len(NO_JOBS), "members of dead")


def test_all_at_once(t):
    """The same in one push among good jobs."""
    redisd = t.use(Redisd())
    good = [job("Hello", [str(i)]).encode() for i in range(len(NO_JOBS))]
    mixed = [raw for two in zip(NO_JOBS.values(), good) for raw in two]
    redisd.client.call("LPUSH", "queue:default", *mixed)
    daemon = t.use(Fettled(redisd))
    daemon.wait_events(len(good), "job.done")
    until(lambda: list(places(redisd.client)) == ["dead"], what="nothing but dead")
    equal(sorted(redisd.client.call("ZRANGE", "dead", 0, -1)), sorted(NO_JOBS.values()), "dead")


def test_too_large(t):
    """2 MB with max_payload 1 MiB: dead, and the daemon's limit is the configured one."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, max_payload=1048576))
    large = job("Hello", ["x" * 2000000], jid="large")
    fits = job("Noop", ["x" * 1000000], jid="fits")
    redisd.client.call("LPUSH", "queue:default", large, fits)
    daemon.wait_event("job.done", jid="fits")
    until(lambda: redisd.client.call("ZCARD", "dead") == 1, what="the large job in dead")
    got = json.loads(redisd.client.call("ZRANGE", "dead", 0, -1)[0])
    equal((got["jid"], len(got["args"][0])), ("large", 2000000), "the job in dead")
    event = daemon.wait_event("job.invalid")
    assert event["reason"] and event["size"] == len(large), event


def test_too_deep(t):
    """Depth 10,000 inside an object: dead."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    deep = '{"class":"Noop","jid":"deep","args":%s1%s}' % ("[" * 10000, "]" * 10000)
    redisd.client.call("LPUSH", "queue:default", deep)
    daemon.wait_event("job.invalid")
    until(lambda: redisd.client.call("ZCARD", "dead") == 1, what="the job in dead")
    assert deep.encode()[:-1] in redisd.client.call("ZRANGE", "dead", 0, -1)[0], "its bytes"
    goes_on(daemon, redisd.client, "not so deep")


def test_no_class(t):
    """An object without a usable class: dead, with the reason in the job."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    texts = ['{"args":[],"jid":"a"}', '{"class":7,"args":[],"jid":"b"}', '{"class":"","jid":"c"}',
             '{"class":"%s","jid":"d"}' % ("X" * 1000), '{}']
    redisd.client.call("LPUSH", "queue:default", *texts)
    until(lambda: redisd.client.call("ZCARD", "dead") == 5, what="5 in dead")
    for got, _ in members(redisd.client, "dead"):
        assert got["error_class"] and got["error_message"], got
        assert got["jid"] and got["queue"] == "default", got
    goes_on(daemon, redisd.client, "still here")


def test_features_that_are_not_ours(t):
    """A batch id or an encrypted argument: dead with a clear error instead of half working."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["x"], jid="b", bid="abc"),
                       job("Hello", ["x"], jid="e", encrypt=True))
    for jid, word in ("b", "bid"), ("e", "encrypt"):
        got, _ = until(lambda: member(redisd.client, "dead", jid), what=jid + " in dead")
        assert word in got["error_message"], got


def test_class_without_handler(t):
    """It waits in retry with its counts untouched, whatever its `retry` says, and runs once a daemon
    with the handler is there."""
    redisd = t.use(Redisd())
    without = t.use(Fettled(redisd, handlers=[native("Noop")]))
    without.wait_ready()
    redisd.client.call("LPUSH", "queue:default",
                       job("Hello", ["a"], jid="plain"), job("Hello", ["b"], jid="never", retry=False),
                       job("Hello", ["c"], jid="third", retry_count=2, failed_at=1700000000.5,
                           retried_at=1700000001.5, retry=2))
    until(lambda: redisd.client.call("ZCARD", "retry") == 3, what="3 in retry")
    for got, score in members(redisd.client, "retry"):
        equal(got.get("retry_count"), {"third": 2}.get(got["jid"]), "retry_count of " + got["jid"])
        equal(got["queue"], "default", "queue")
        assert 14 <= score - now(redisd.client) <= 60.5, score - now(redisd.client)
    equal({e["jid"] for e in without.wait_events(3, "job.unroutable")}, {"plain", "never", "third"},
          "reported")
    without.stop()
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    for raw in redisd.client.call("ZRANGE", "retry", 0, -1):
        redisd.client.call("ZADD", "retry", "XX", repr(now(redisd.client)), raw)
    done = daemon.wait_events(3, "job.done")
    equal({(e["jid"], e["attempt"]) for e in done}, {("plain", 1), ("never", 1), ("third", 4)},
          "runs and their attempts")
    until(lambda: not places(redisd.client), what="no job left")


def test_unroutable_for_too_long(t):
    """After unroutable_ttl it is dead, class NoHandler."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, unroutable_ttl=1, handlers=[native("Noop")]))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Nobody", [], jid="lost"))

    def due():
        for raw in redisd.client.call("ZRANGE", "retry", 0, -1):
            redisd.client.call("ZADD", "retry", "XX", repr(now(redisd.client) - 1), raw)
        return member(redisd.client, "dead", "lost")
    got, _ = until(due, 15, "the job in dead", pause=0.2)
    equal((got["error_class"], got["class"]), ("NoHandler", "Nobody"), "classes")
    assert got["error_message"], got
    equal(daemon.wait_event("job.dead")["reason"], "unroutable_ttl", "reason")


def test_ten_identical_jobs(t):
    """Ten byte-identical jobs without jid that all fail are ten members of retry."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, concurrency=20))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", *[job("Fail", ["twin"])] * 10)
    daemon.wait_events(10, "job.failed")
    until(lambda: list(places(redisd.client)) == ["retry"], what="nothing but retry")
    equal(redisd.client.call("ZCARD", "retry"), 10, "members of retry")
    jids = {got["jid"] for got, _ in members(redisd.client, "retry")}
    equal(len(jids), 10, "different jids")
    assert all(len(jid) == 24 and set(jid) <= set("0123456789abcdef") for jid in jids), jids


def test_ten_identical_jobs_without_handler(t):
    """The same for a class that nobody handles, for jobs of one jid, and for bytes that are no job:
    of those, all but one have blanks behind them."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd, concurrency=20))
    redisd.client.call("LPUSH", "queue:default", *[job("Nobody", [])] * 10)
    until(lambda: redisd.client.call("ZCARD", "retry") == 10, what="10 members of retry")
    redisd.client.call("LPUSH", "queue:default", *[job("Fail", ["same"], jid="same")] * 5)
    until(lambda: redisd.client.call("ZCARD", "retry") == 15, what="5 more, of one jid")
    redisd.client.call("LPUSH", "queue:default", *["no job"] * 3)
    until(lambda: sorted(places(redisd.client)) == ["dead", "retry"], what="nothing in flight")
    dead = redisd.client.call("ZRANGE", "dead", 0, -1)
    equal((sorted(raw.strip() for raw in dead), b"no job" in dead), ([b"no job"] * 3, True), "dead")


def test_equal_jobs_that_say_later(t):
    """Two jobs of the same bytes, jid included, whose rewrites are the same: both are in `retry`."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    t.use(Fettled(redisd, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", *[job("Later", [1000], jid="same")] * 3)
    until(lambda: sorted(places(redisd.client)) == ["retry"], what="nothing in flight")
    members = redisd.client.call("ZRANGE", "retry", 0, -1)
    equal((len(members), len({raw.strip() for raw in members})), (3, 1), "in retry")


def test_bytes_survive_a_rewrite(t):
    """What fettle does not understand comes out of a failure as it went in."""
    redisd = t.use(Redisd())
    t.use(Fettled(redisd))
    head = '{ "x":12345678901234567890,"y":1.10,"z":1e5, "class":"Fail","args":["\\u00e9\\/",-0.0],'
    tail = '"cattr":{"b":[ ],"a":null},"jid":"odd","tags":["\\ud83d\\ude00"]'
    redisd.client.call("LPUSH", "queue:default", head + tail + " }")
    raw = until(lambda: redisd.client.call("ZRANGE", "retry", 0, -1), what="the job in retry")[0]
    assert raw.decode().startswith(head + tail), raw
    got = json.loads(raw)
    equal((got["retry_count"], got["queue"]), (0, "default"), "new members")


main(None if available() else "there is no redis-server")
