# SPDX-License-Identifier: MIT
"""fettle against a real redis-server: what it writes, what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from fettled import FETTLE, Fettled
from redisd import Redisd, available
from tap import equal, main
from wait import patience, until

OK, FAILED, USAGE, NOT_FOUND = range(4)


class Cli:
    """fettle and where it finds Redis: call() returns exit code, stdout and stderr."""

    def __init__(self, redisd=None):
        self.environment = {k: v for k, v in os.environ.items() if k != "FETTLE_REDIS_URL"}
        if redisd is not None:
            self.environment["FETTLE_REDIS_URL"] = redisd.url
            self.client = redisd.client

    def call(self, *words):
        done = subprocess.run([FETTLE] + list(words), env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=patience(30), check=False)
        assert b"Sanitizer" not in done.stderr, done.stderr.decode("utf-8", "replace")
        return done.returncode, done.stdout, done.stderr

    def good(self, *words):
        code, out, err = self.call(*words)
        equal((code, err), (OK, b""), words)
        return out

    def json(self, *words):
        return json.loads(self.good("--json", *words))

    def bad(self, expected, message, *words):
        """Fails with one line on stderr, and with nothing on stdout."""
        code, out, err = self.call(*words)
        equal((code, out), (expected, b""), (words, err))
        assert err.startswith(b"fettle: ") and err.count(b"\n") == 1, err
        assert message.encode() in err, err


def cli(t, **options):
    return Cli(t.use(Redisd(**options)))


def member(jid, **more):
    return json.dumps(dict({"class": "C", "args": [], "jid": jid, "queue": "default"}, **more))


def put(client, key, *members):
    for score, bytes_ in enumerate(members, 1):
        client.call("ZADD", key, score, bytes_)


def test_enqueue_pushes_a_job(t):
    fettle = cli(t)
    jid = fettle.good("enqueue", "Hello", '["world"]').decode().strip()
    equal(len(jid), 24)
    job = json.loads(fettle.client.call("LINDEX", "queue:default", 0))
    times = [job.pop("created_at"), job.pop("enqueued_at")]
    equal(job, {"class": "Hello", "args": ["world"], "jid": jid, "queue": "default"})
    for at in times:
        assert isinstance(at, float) and abs(at - time.time()) < patience(10), at
    equal(fettle.client.call("SMEMBERS", "queues"), [b"default"])


def test_enqueue_keeps_every_byte_of_the_arguments(t):
    fettle = cli(t)
    args = ('[12345678901234567890, 1.10, 1e400, "\\u00e9\\ud83d\\ude00\\u0000", '
            '{"b":1,"a":2,"b":3}, "grün"]')
    fettle.good("enqueue", "X", args)
    raw = fettle.client.call("LINDEX", "queue:default", 0)
    assert ('"args":' + args + ",").encode() in raw, raw
    fettle.good("enqueue", "X", ' [\n1,\n"a\\n"\n]\n')
    raw = fettle.client.call("LINDEX", "queue:default", 0)
    assert b"\n" not in raw and json.loads(raw)["args"] == [1, "a\n"], raw


def test_enqueue_options(t):
    fettle = cli(t)
    said = fettle.json("enqueue", 'Q"uote\n', "--queue", "low", "--retry", "3", "--jid", "my-jid")
    equal(said, {"jid": "my-jid", "queue": "low"})
    job = json.loads(fettle.client.call("LINDEX", "queue:low", 0))
    equal((job["class"], job["retry"], job["jid"], job["queue"]), ('Q"uote\n', 3, "my-jid", "low"))
    fettle.good("enqueue", "X", "--retry", "false")
    equal(json.loads(fettle.client.call("LINDEX", "queue:default", 0))["retry"], False)


def test_enqueue_later(t):
    fettle = cli(t)
    before = time.time()
    equal(fettle.json("enqueue", "A", "--in", "60.5").keys(), {"jid", "queue", "at"})
    fettle.good("enqueue", "B", "--at", "4102444800")
    fettle.good("enqueue", "C", "--at", "2100-01-01T01:00:00+01:00")
    equal(fettle.client.call("EXISTS", "queue:default", "queues"), 0)
    found = fettle.client.call("ZRANGE", "schedule", 0, -1, "WITHSCORES")
    scores = {json.loads(raw)["class"]: float(score) for raw, score in zip(found[::2], found[1::2])}
    equal((scores["B"], scores["C"]), (4102444800, 4102444800))
    assert before + 60 < scores["A"] < time.time() + 61, scores
    assert all("enqueued_at" not in json.loads(raw) for raw in found[::2])
    fettle.good("enqueue", "D", "--at", "1")  # past: at once
    equal(fettle.client.call("LLEN", "queue:default"), 1)


def test_enqueue_refuses(t):
    fettle = cli(t)
    for words, message in [
            (["X", "[1"], "no JSON"), (["X", "{}"], "one JSON array"),
            (["X", "1"], "one JSON array"),
            (["X", '[],"at":1'], "one JSON array"), (["X", '[],"args":[]'], "one JSON array"),
            (["X", "[]}"], "no JSON"), (["X", ""], "no JSON"), (["X", b'["\xff"]'], "no JSON"),
            (["X", "[" * 600 + "]" * 600], "limit"), ([""], "class"), (["X" * 256], "class"),
            (["X", "[]", "--queue", "a b"], "queue name"), (["X", "--queue", "sq|x"], "queue name"),
            (["X", "--in", "soon"], "--in"), (["X", "--in", "-1"], "--in"),
            (["X", "--in", "nan"], "--in"),
            (["X", "--at", "tomorrow"], "--at"), (["X", "--in", "1", "--at", "2"], "exclude"),
            (["X", "--retry", "yes"], "--retry"), (["X", "--retry", "-1"], "--retry"),
            (["X", "--jid", ""], "jid"), (["X", "--jid", "a\tb"], "control"),
            (["X", "--jid", "a\u0085b"], "control"), (["X", "--jid", b"\xc3"], "UTF-8"),
            ([b"\xff"], "UTF-8"), ([b"X\xed\xa0\x80"], "UTF-8"),
            (["X", "[]", "more"], "more"), ([], "arguments")]:
        fettle.bad(USAGE, message, "enqueue", *words)
    equal(fettle.client.call("KEYS", "*"), [])


def test_enqueue_holds_to_max_payload(t):
    fettle = cli(t)
    config = os.path.join(t.use(tempfile.TemporaryDirectory()), "f.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write("max_payload = 1000;\n")
    fettle.bad(USAGE, "max_payload is 1000",
               "--config", config, "enqueue", "X", json.dumps(["x" * 950]))
    fettle.good("--config", config, "enqueue", "X", json.dumps(["x" * 700]))
    size = len(fettle.client.call("LINDEX", "queue:default", 0))
    assert 700 < size <= 1000, size


def test_list_shows_members(t):
    fettle = cli(t)
    put(fettle.client, "retry",
        member("one", error_class="E\x1b[2J", error_message="went wrong", retry_count=2),
        member("two"), "no job", b'\xff\xfe')
    listed = fettle.json("list", "retry")
    equal([m["score"] for m in listed], [1, 2, 3, 4])
    equal([m["valid"] for m in listed], [True, True, False, False])
    equal(listed[0], {"score": 1, "valid": True, "size": len(member("one", error_class="E\x1b[2J",
                      error_message="went wrong", retry_count=2)), "jid": "one", "class": "C",
                      "queue": "default", "error_class": "E\x1b[2J", "error_message": "went wrong",
                      "retry_count": 2})
    equal(len(fettle.json("list", "retry", "--limit", "2")), 2)
    out = fettle.good("list", "retry")
    equal(out.count(b"\n"), 4)
    assert b"one" in out and b"went wrong" in out and b"\x1b" not in out, out
    assert all(not line.endswith(b" ") for line in out.split(b"\n")), out
    equal(fettle.json("list", "schedule"), [])
    put(fettle.client, "dead", member("old"), member("new"))
    equal([m["jid"] for m in fettle.json("list", "dead")], ["new", "old"])
    fettle.bad(USAGE, "none of", "list", "queue")
    fettle.bad(USAGE, "--limit", "list", "dead", "--limit", "0")


def test_list_cuts_long_fields(t):
    """A line shows 80 characters of a field, and that there is more; --json has all of them."""
    fettle = cli(t)
    put(fettle.client, "retry", member("just", error_class="e" * 80, error_message="m" * 80),
        member("more", error_class="e" * 81, error_message="ü" * 1000))
    just, more = fettle.good("list", "retry").decode("utf-8").splitlines()
    assert just.endswith(" %s %s" % ("e" * 80, "m" * 80)), just
    assert more.endswith(" %s… %s…" % ("e" * 79, "ü" * 79)), more
    equal([m["error_message"] for m in fettle.json("list", "retry")], ["m" * 80, "ü" * 1000])


def test_retry_moves_to_the_queue(t):
    fettle = cli(t)
    put(fettle.client, "retry",
        '{"class":"C","big":12345678901234567890,"jid":"one","queue":"low","retry_count":4,'
        '"failed_at":1.5,"retried_at":2.5,"at":7}', member("two"))
    equal(fettle.good("retry", "retry", "one"), b"retried 1\n")
    raw = fettle.client.call("LINDEX", "queue:low", 0)
    assert b'"big":12345678901234567890,' in raw and b'"retry_count":4' in raw, raw
    job = json.loads(raw)
    assert abs(job["enqueued_at"] - time.time()) < patience(10) and "at" not in job, job
    equal(fettle.client.call("SMEMBERS", "queues"), [b"low"])
    equal(fettle.client.call("ZRANGE", "retry", 0, -1), [member("two").encode()])


def test_jids_are_not_patterns(t):
    fettle = cli(t)
    put(fettle.client, "dead", member("a*b"), member("axb"), member("a[1]"), member("ab\\"))
    for jid in ["a?b", "a*", "*", "[a]"]:
        equal(fettle.call("delete", "dead", jid)[0], NOT_FOUND, jid)
    for jid in ["a*b", "a[1]"]:
        equal(fettle.json("delete", "dead", jid), {"deleted": 1, "skipped": 0, "failed": 0})
    equal(fettle.client.call("ZCARD", "dead"), 2)


def test_what_is_not_there_is_said(t):
    fettle = cli(t)
    put(fettle.client, "retry", member("one"), member("two"))
    code, out, err = fettle.call("retry", "retry", "one", "none", "two")
    equal((code, out, err), (NOT_FOUND, b"retried 2\n", b"fettle: no job none in retry\n"))
    equal(fettle.client.call("LLEN", "queue:default"), 2)
    equal(fettle.good("retry", "retry", "--all"), b"retried 0\n")


def test_all_moves_large_sets(t):
    fettle = cli(t)
    count = 2500
    fettle.client.pipeline([("ZADD", "retry", i, member("j%d" % i, queue="q%d" % (i % 7)))
                            for i in range(count)])
    equal(fettle.json("kill", "retry", "--all"), {"killed": count, "skipped": 0, "failed": 0})
    equal(fettle.client.call("ZCARD", "retry"), 0)
    equal(fettle.client.call("ZCARD", "dead"), count)
    equal(fettle.json("retry", "dead", "--all"), {"retried": count, "skipped": 0, "failed": 0})
    equal(fettle.client.call("ZCARD", "dead"), 0)
    jobs = [json.loads(raw)["jid"] for i in range(7)
            for raw in fettle.client.call("LRANGE", "queue:q%d" % i, 0, -1)]
    equal(sorted(jobs), sorted("j%d" % i for i in range(count)))


def test_what_is_no_job_stays_or_goes_as_it_is(t):
    fettle = cli(t)
    put(fettle.client, "retry", b"\xff\x00 no job", member("bad", queue="no queue"), member("good"))
    code, out, err = fettle.call("retry", "retry", "--all")
    equal((code, out), (FAILED, b"retried 1\n"), err)
    assert b"2 left where they are" in err, err
    equal(fettle.client.call("ZCARD", "retry"), 2)
    equal(fettle.good("kill", "retry", "--all"), b"killed 2\n")
    equal(set(fettle.client.call("ZRANGE", "dead", 0, -1)),
          {b"\xff\x00 no job", member("bad", queue="no queue").encode()})
    equal(fettle.good("delete", "dead", "--all"), b"deleted 2\n")
    equal(fettle.client.call("EXISTS", "dead", "retry"), 0)


def test_nothing_is_lost_where_redis_refuses(t):
    """A job that cannot arrive stays where it was."""
    fettle = cli(t)
    put(fettle.client, "retry", member("one"))
    fettle.client.call("SET", "queue:default", "not a list")
    code, out, err = fettle.call("--json", "retry", "retry", "one")
    equal((code, json.loads(out)), (FAILED, {"retried": 0, "skipped": 0, "failed": 1}), err)
    equal(fettle.client.call("ZRANGE", "retry", 0, -1), [member("one").encode()])
    fettle.client.call("SET", "dead", "no set")
    equal(fettle.call("kill", "retry", "--all")[0], FAILED)
    equal(fettle.client.call("ZRANGE", "retry", 0, -1), [member("one").encode()])
    fettle.bad(FAILED, "WRONGTYPE", "enqueue", "X")


def test_moves_want_their_words(t):
    fettle = cli(t)
    fettle.bad(USAGE, "jids, or --all", "retry", "retry")
    fettle.bad(USAGE, "jids, or --all", "delete", "dead", "x", "--all")
    fettle.bad(USAGE, "none of", "delete", "queue", "--all")
    fettle.bad(USAGE, "already", "kill", "dead", "--all")
    fettle.bad(USAGE, "no effect", "stats", "--all")
    fettle.bad(USAGE, "no command", "frobnicate")
    code, out, err = fettle.call()
    assert (code, out) == (USAGE, b"") and err.startswith(b"usage:"), (code, out, err)
    equal(fettle.call("--bogus")[0], USAGE)


def test_stats(t):
    fettle = cli(t)
    client = fettle.client
    now = time.time()
    for name, age in [("default", 100), ("low", 1)]:
        client.call("SADD", "queues", name)
        client.call("LPUSH", "queue:" + name, json.dumps({"class": "X", "enqueued_at": now - age}))
        client.call("LPUSH", "queue:" + name, "no job")
    client.call("LPUSH", "fettle:front:low",
                json.dumps({"class": "X", "enqueued_at": (now - 50) * 1000}))
    client.call("SADD", "paused", "low")
    client.call("SET", "stat:processed", 12)
    put(client, "retry", "a", "b")
    put(client, "dead", "c")
    for field in ["busy 3", "concurrency 8", "quiet true", "rss 5000", "beat %.6f" % (now - 2)]:
        client.call("HSET", "host:1:abcabcabcabc", *field.split())
    client.call("SADD", "processes", "host:1:abcabcabcabc", "host:2:000000000000")

    stats = fettle.json("stats")
    latency = {queue["name"]: queue.pop("latency") for queue in stats["queues"]}
    beat_age = stats["processes"][0].pop("beat_age")
    equal(stats, {
        "processed": 12, "failed": 0, "retry": 2, "schedule": 0, "dead": 1,
        "queues": [{"name": "default", "length": 2, "paused": False},
                   {"name": "low", "length": 3, "paused": True}],
        "processes": [{"id": "host:1:abcabcabcabc", "busy": 3, "concurrency": 8, "quiet": True,
                       "rss_kb": 5000}]})
    for got, expected in [(latency["default"], 100), (latency["low"], 50), (beat_age, 2)]:
        assert expected - 1 < got < expected + 1 + time.time() - now, (got, expected)

    out = fettle.good("stats").decode()
    assert "processed 12" in out and "host:1:abc" in out and "paused" in out and "quiet" in out, out


def test_stats_say_what_cannot_be_read_and_go_on(t):
    """A key of the wrong type is named; the rest is there, and the exit code says it is not all."""
    fettle = cli(t)
    client = fettle.client
    client.call("SADD", "queues", "bad", "good", "\x1b[2J")
    client.call("SET", "queue:bad", "no list")
    client.call("SET", "queue:\x1b[2J", "no list")
    client.call("LPUSH", "queue:good", member("one"))
    client.call("LPUSH", "retry", "no set")
    put(client, "dead", "a", "b")
    code, out, err = fettle.call("--json", "stats")
    stats = json.loads(out)
    equal((code, stats["dead"], "retry" in stats), (FAILED, 2, False), err)
    equal([(q["name"], q["length"]) for q in stats["queues"]], [("good", 1)])
    for key in b"queue:bad", b"retry", b"queue:?[2J":
        assert b"fettle: Redis: " + key + b": WRONGTYPE" in err, err
    code, out, err = fettle.call("stats")
    assert code == FAILED and b"retry ?  schedule 0  dead 2\n" in out and b"good" in out, out
    fettle.bad(FAILED, "retry: WRONGTYPE", "list", "retry")
    fettle.bad(FAILED, "queue:bad: WRONGTYPE", "enqueue", "X", "--queue", "bad")


def test_with_a_daemon(t):
    """The daemon runs what fettle enqueues and retries, and shows in its stats."""
    redisd = t.use(Redisd())
    fettle = Cli(redisd)
    daemon = t.use(Fettled(redisd, concurrency=3))
    jid = fettle.good("enqueue", "Hello", '["world"]').decode().strip()
    daemon.wait_event("job.done", jid=jid)
    jid = fettle.good("enqueue", "Fail", '["oh no"]').decode().strip()
    daemon.wait_event("job.failed", jid=jid, attempt=1)
    listed = until(lambda: fettle.json("list", "retry"), what="the job in retry")
    equal([(m["jid"], m["error_message"], m["retry_count"]) for m in listed], [(jid, "oh no", 0)])
    equal(fettle.good("retry", "retry", jid), b"retried 1\n")
    daemon.wait_event("job.failed", jid=jid, attempt=2)

    def shown():
        processes = fettle.json("stats")["processes"]
        return processes and processes[0]
    process = until(shown, 20, "the daemon in the stats")
    equal((process["concurrency"], process["quiet"]), (3, False))


def test_queues_of_plain_producers(t):
    """A producer that does nothing but LPUSH: the queues that a daemon serves are in the stats."""
    redisd = t.use(Redisd())
    fettle = Cli(redisd)
    daemon = t.use(Fettled(redisd, queues=[{"name": "default"}, {"name": "low"}]))
    daemon.wait_ready()
    redisd.client.call("SADD", "paused", "low")
    redisd.client.call("LPUSH", "queue:low", json.dumps({"class": "Hello", "args": ["x"]}))
    listed = until(lambda: fettle.json("stats")["queues"], 10, "queues in the stats")
    equal([(q["name"], q["length"], q["paused"]) for q in listed],
          [("default", 0, False), ("low", 1, True)])


def test_addresses(t):
    """The URL of the command line, of the environment, of the file; the prefix; the password."""
    redisd = t.use(Redisd(requirepass="hush"))
    client = redisd.connect(password="hush")
    directory = t.use(tempfile.TemporaryDirectory())
    config, password = os.path.join(directory, "f.conf"), os.path.join(directory, "password")
    with open(password, "w", encoding="ascii") as file:
        file.write("hush\n")
    os.chmod(password, 0o600)
    with open(config, "w", encoding="ascii") as file:
        file.write('redis = { url = "%s?db=3"; password_file = "%s"; prefix = "p:"; };\n'
                   'concurrency = 3; # the daemon\'s business' "\n" % (redisd.open_url, password))
    fettle = Cli()
    fettle.good("--config", config, "enqueue", "X")
    client.call("SELECT", 3)
    equal(sorted(client.call("KEYS", "*")), [b"p:queue:default", b"p:queues"])
    equal(client.call("SMEMBERS", "p:queues"), [b"default"])

    url = "unix://:hush@" + redisd.socket + "?db=4"
    fettle.good("--redis", url, "--prefix", "q:", "enqueue", "X")
    client.call("SELECT", 4)
    equal(sorted(client.call("KEYS", "*")), [b"q:queue:default", b"q:queues"])
    fettle.environment["FETTLE_REDIS_URL"] = url
    fettle.good("enqueue", "X")
    equal(client.call("EXISTS", "queue:default"), 1)

    fettle.bad(FAILED, "NOAUTH", "--redis", redisd.open_url, "stats")
    os.chmod(password, 0o644)
    fettle.environment["FETTLE_REDIS_URL"] = ""  # as if it were not set
    fettle.bad(FAILED, "no access", "--config", config, "stats")


def test_what_cannot_be_reached_is_said(t):
    fettle = cli(t)
    fettle.bad(FAILED, "cannot connect to Redis at /nonexistent/s: No such file", "--redis",
               "unix:///nonexistent/s", "stats")
    fettle.bad(FAILED, "cannot connect to Redis at 127.0.0.1:1: ", "--redis", "redis://127.0.0.1:1",
               "stats")
    fettle.bad(FAILED, "rediss:// or unix://", "--redis", "http://h", "stats")
    fettle.bad(FAILED, "database", "--redis", "redis://h/x", "stats")
    fettle.bad(FAILED, "No such file", "--config", "/nonexistent/f.conf", "stats")
    fettle.bad(FAILED, "regular file", "--config", "/", "stats")


def test_help_and_version_need_no_redis(t):
    fettle = cli(t)
    fettle.environment["FETTLE_REDIS_URL"] = "unix:///nonexistent/s"
    assert fettle.good("--help").startswith(b"usage:")
    assert fettle.good("--version").startswith(b"fettle "), "version"


main(None if available() else "no redis-server")
