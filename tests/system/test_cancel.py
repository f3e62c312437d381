#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`fettle cancel`: wherever a job is, it ends in `dead` as Cancelled, within its time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, Fettled, command, job, native
from places import inflight, member, members, now, places
from probe import Probe
from redisd import Redisd, available
from scripts import CANCELLED, Owner, mark_call
from tap import Skip, equal, main
from wait import in_time, patience, until
from web import Web, built

OK, FAILED, USAGE, NOT_FOUND = range(4)
HEARD = 1.0   # seconds until every daemon knows
GRACE = 1.0   # for a run that has been asked
KILLED = 0.5  # between TERM and KILL


class Stage:
    """A server, a probe, daemons, and fettle beside them."""

    def __init__(self, t, cells=16, daemons=1, bounds=None, handlers=(), **settings):
        self.t, self.redisd, self.probe = t, t.use(Redisd()), t.use(Probe(cells))
        settings.setdefault("lease_ttl", 15)
        self.crew = [t.use(Fettled(self.redisd, **settings,
                                   **self.probe.settings(*handlers, **(bounds or {}))))
                     for _ in range(daemons)]
        for daemon in self.crew:
            daemon.wait_ready()
        self.daemon = self.crew[0] if self.crew else None
        self.client = self.redisd.client

    def push(self, jid, name, *args, queue="default", **more):
        self.client.call("SADD", "queues", queue)
        self.client.call("LPUSH", "queue:" + queue, job(name, args, jid=jid, **more))

    def fettle(self, *words, expect=OK):
        """(seconds, stdout, stderr)."""
        start = time.monotonic()
        done = subprocess.run([FETTLE, "--redis", self.redisd.url, *words], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=patience(30), check=False)
        took = time.monotonic() - start
        assert "Sanitizer" not in done.stderr, done.stderr
        assert expect is None or done.returncode == expect, (done, expect)
        self.t.note("%s: %.2f s" % (" ".join(words), took))
        return took, done.stdout, done.stderr

    def dead(self, jid, count=1):
        """The one member of dead with that jid: cancelled."""
        found = [one for one, _ in members(self.client, "dead") if one.get("jid") == jid]
        equal(len(found), count, "members of dead")
        for one in found:
            equal(one["error_class"], "Cancelled")
            assert one["error_message"].startswith("cancelled by an operator"), one
            assert "retry_count" not in one, one
        return found[0]

    def nothing_else(self):
        equal([key for key in places(self.client) if key != "dead"], [], "places with jobs")

    def running(self, count):
        until(lambda: inflight(self.client) == count, what="%d in flight" % count)


def test_waiting_places(t):
    """In a queue, in a front, scheduled, retrying: all of a jid at once, and nobody else's."""
    stage = Stage(t, daemons=0)
    client = stage.client
    stage.push("a", "Count", 0, queue="one")
    stage.push("b", "Count", 0, queue="one")
    stage.push("a", "Count", 0, queue="two")
    client.call("LPUSH", "fettle:front:one", job("Count", [1], jid="a"))
    client.call("ZADD", "schedule", now(client) + 1000, job("Count", [2], jid="a", queue="one"))
    client.call("ZADD", "retry", now(client) + 1000,
                job("Count", [3], jid="a", queue="one", retry_count=4), now(client) + 1000,
                job("Count", [3], jid="aa", queue="one"))
    took, out, err = stage.fettle("cancel", "a")
    equal((out, err), ("5 cancelled: 3 queued, 1 scheduled, 1 retrying\n", ""))
    in_time(took, 1)
    found = [one for one, _ in members(client, "dead")]
    equal(sorted(one["queue"] for one in found), ["one"] * 4 + ["two"])
    equal({one["error_class"] for one in found}, {"Cancelled"})
    equal([one.get("retry_count") for one in found if one["args"] == [3]], [4], "counts stay")
    equal(json.loads(client.call("LRANGE", "queue:one", 0, -1)[0])["jid"], "b")
    equal((client.call("LLEN", "queue:one"), client.call("ZCARD", "retry")), (1, 1))
    equal(stage.fettle("--json", "cancel", "aa")[1],
          '{"cancelled":1,"ending":0,"running":0,"queued":0,"scheduled":0,"retrying":1}\n')


def test_long_queue(t):
    """Two of 20,000, equal to the byte, from among what is pushed and popped meanwhile."""
    stage = Stage(t, daemons=0)
    client = stage.client
    texts = [job("Count", [0], jid="j%d" % i) for i in range(20000)]
    texts[5000] = texts[15000] = job("Count", [0], jid="mine", retry=False, dead=False)
    for i in range(0, len(texts), 1000):
        client.call("LPUSH", "queue:default", *texts[i:i + 1000])
    client.call("SADD", "queues", "default")
    equal(stage.fettle("cancel", "mine")[1], "2 cancelled: 2 queued\n")
    stage.dead("mine", count=2)
    left = client.call("LRANGE", "queue:default", 0, -1)
    equal([one.decode() for one in left], [one for one in texts[::-1] if "mine" not in one])


def test_running_native(t):
    """A run that waits and one that computes end as soon as they are asked, one that does not listen
    after its grace; one that succeeds meanwhile has succeeded."""
    stage = Stage(t)
    stage.push("waits", "Linger", 0, 1000)
    stage.push("computes", "Steps", 1, 10 ** 12)
    stage.push("insists", "Insist", 2, 1000)
    stage.push("succeeds", "Insist", 3, 1)
    stage.running(4)
    took, out, err = stage.fettle("cancel", "waits", "computes")
    equal((out, err), ("2 cancelled: 2 running\n", ""))
    in_time(took, HEARD)
    took, out, _ = stage.fettle("cancel", "insists")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + GRACE)
    for jid in ("waits", "computes", "insists"):
        stage.dead(jid)
        event = stage.daemon.wait_event("job.cancelled", jid=jid)
        equal((event["queue"], "duration_ms" in event), ("default", True))
    stage.daemon.wait_event("job.done", jid="succeeds")
    _, out, err = stage.fettle("cancel", "succeeds", expect=NOT_FOUND)
    equal((out, err), ("0 cancelled\n", "fettle: no job succeeds is waiting or running\n"))
    equal(stage.probe.cells(0, 4)[0::2], (0, 0), "runs that were cut off")
    until(lambda: not [key for key in places(stage.client) if key != "dead"])


def test_running_command(t):
    """TERM for the group; KILL for what ignores it."""
    stage = Stage(t, handlers=[command("Obeys", ["/bin/sh", "-c", "sleep 1000 & wait"]),
                               command("Ignores", ["/bin/sh", "-c",
                                                   "trap '' TERM; while :; do sleep 1; done"])])
    stage.push("obeys", "Obeys")
    stage.push("ignores", "Ignores")
    stage.running(2)
    took, out, _ = stage.fettle("cancel", "obeys")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + 0.2)
    took, out, _ = stage.fettle("cancel", "ignores")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + KILLED + 0.2)
    stage.dead("obeys")
    stage.dead("ignores")
    children = "/proc/%d/task/%d/children" % (stage.daemon.pid, stage.daemon.pid)
    until(lambda: open(children).read() == "", what="no child to be left")


def test_running_in_a_child(t):
    """A function of a C module in a child process: it is asked there, and the child stays. One that
    never waits ends with its child."""
    stage = Stage(t, handlers=[native("Hold", "probe", isolation="process"),
                               native("Spins", "probe", isolation="process", kill_after=0.2)])
    stage.push("waits", "Hold", 0, 1000)
    stage.push("spins", "Spins", 0, 1000)
    until(lambda: stage.probe.slot(0).running == 1 and stage.probe[0] == 1, what="both to run")
    took, out, _ = stage.fettle("cancel", "waits")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + 0.2)
    equal(stage.daemon.find("worker.died"), [], "dead children")
    equal(stage.probe.slot(0).running, 0)
    took, out, _ = stage.fettle("cancel", "spins")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + GRACE + 0.5)
    equal(stage.daemon.wait_event("worker.died")["handler"], "Spins")
    for jid in ("waits", "spins"):
        stage.dead(jid)
    stage.nothing_else()


def test_running_blocking(t):
    """A run in a thread of its own is asked like any other."""
    stage = Stage(t, handlers=[native("Linger", "probe", isolation="task", blocking=True),
                               native("Insist", "probe", isolation="task", blocking=True)])
    for i, (jid, name) in enumerate((("waits", "Linger"), ("insists", "Insist"))):
        stage.push(jid, name, i, 1000)
    stage.running(2)
    took, out, _ = stage.fettle("cancel", "waits")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD)
    took, out, _ = stage.fettle("cancel", "insists")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD + GRACE)
    for jid in ("waits", "insists"):
        stage.dead(jid)
    stage.nothing_else()
    equal(stage.probe.cells(0, 2), (0, 0), "runs that were cut off")


def test_running_request(t):
    """The request is given up: its connection is closed."""
    if not built():
        raise Skip("built without libcurl")
    web, hung_up = t.use(Web()), threading.Event()
    web.answers["/mute"] = lambda request: hung_up.set() if request.rfile.read(1) == b"" else None
    stage = Stage(t, handlers=[web.handler("Mute", "/mute")])
    stage.push("asks", "Mute")
    until(lambda: web.requests, what="the request")
    took, out, _ = stage.fettle("cancel", "asks")
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD)
    stage.dead("asks")
    stage.nothing_else()
    until(hung_up.is_set, what="the connection to be closed")


def test_parked_and_not_retried(t):
    """A job that waits for its handler's bound never runs; a job says that it wants no dead set,
    or has no handler: it is there all the same."""
    stage = Stage(t, bounds={"Hold": 1})
    stage.push("first", "Hold", 0, 1000)
    stage.daemon.wait_event("job.start", jid="first")
    stage.push("second", "Hold", 0, 1000, retry=False, dead=False)
    stage.running(2)
    equal(stage.fettle("cancel", "second", "first")[1], "2 cancelled: 2 running\n")
    equal(stage.probe.slot(0).started, 1)
    stage.dead("second")
    assert "duration_ms" not in stage.daemon.wait_event("job.cancelled", jid="second")
    mark_call(60, "jid:nobody").run(stage.client)
    stage.push("nobody", "NoSuchClass")
    until(lambda: member(stage.client, "dead", "nobody"))
    stage.dead("nobody")
    stage.nothing_else()


def test_every_daemon(t):
    """Two jobs with one jid on two daemons that are both full; all others of them run on."""
    stage = Stage(t, daemons=2, concurrency=2)
    for i in range(4):
        stage.push("same" if i % 2 else "other%d" % i, "Linger", i, 1000)
        stage.running(i + 1)
    took, out, _ = stage.fettle("cancel", "same")
    equal(out, "2 cancelled: 2 running\n")
    in_time(took, HEARD)
    stage.dead("same", count=2)
    equal(inflight(stage.client), 2)
    stage.fettle("cancel", "other0", "other2")


def test_token(t):
    """A run without a jid, by its token; no other."""
    stage = Stage(t)
    for _ in range(2):
        stage.client.call("LPUSH", "queue:default", job("Linger", [0, 1000]))
    stage.running(2)
    token = stage.daemon.wait_events(2, "job.start")[0]["token"]
    took, out, _ = stage.fettle("cancel", "--token", str(token))
    equal(out, "1 cancelled: 1 running\n")
    in_time(took, HEARD)
    (one, _), = members(stage.client, "dead")
    equal(one["error_message"], "cancelled by an operator, token %d" % token)
    equal(inflight(stage.client), 1)
    _, out, err = stage.fettle("cancel", "--token", str(token), expect=NOT_FOUND)
    equal((out, err), ("0 cancelled\n", "fettle: no run with the token %d\n" % token))
    other = stage.daemon.find("job.start")[1]["token"]
    stage.fettle("cancel", "--token", str(other))


def test_nothing_to_cancel(t):
    """An unknown jid, one that is dead already; wrong words."""
    stage = Stage(t, daemons=0)
    stage.client.call("ZADD", "dead", 5, job("Count", [0], jid="gone", error_class="Cancelled"))
    for jid in ("nobody", "gone"):
        _, out, err = stage.fettle("cancel", jid, expect=NOT_FOUND)
        equal((out, err), ("0 cancelled\n", "fettle: no job %s is waiting or running\n" % jid))
    stage.push("there", "Count", 0)
    _, out, _ = stage.fettle("cancel", "nobody", "there", expect=NOT_FOUND)
    equal(out, "1 cancelled: 1 queued\n")
    for words in ([], ["--token", "x"], ["--token", "0"], ["a", "--token", "1"], [""], ["x" * 128]):
        stage.fettle("cancel", *words, expect=USAGE)


def test_the_mark_alone(t):
    """What the mark says holds for every claim and every promotion while it lasts, however the job
    comes there; `fettle retry` takes it away."""
    stage = Stage(t)
    client = stage.client
    mark_call(3600, "jid:m").run(client)
    stage.push("m", "Count", 0)
    client.call("ZADD", "schedule", now(client), job("Count", [0], jid="m", queue="default"))
    until(lambda: client.call("ZCARD", "dead") == 2, what="both in dead")
    stage.dead("m", count=2)
    equal(stage.probe[0], 0)
    stage.nothing_else()
    stage.fettle("retry", "dead", "m")
    until(lambda: stage.probe[0] == 2, what="both to run")
    mark_call(1, "jid:m").run(client)
    until(lambda: not client.call("EXISTS", CANCELLED), what="the mark to end")
    stage.push("m", "Count", 0)
    until(lambda: stage.probe[0] == 3, what="it to run")


def test_between_mark_and_search(t):
    """Jobs of one jid are pushed, claimed, scheduled and promoted while it is cancelled: of those
    that were there when it began none runs afterwards."""
    stage = Stage(t, cells=400, concurrency=4)
    client = stage.client
    for round_ in range(3):
        jid, base = "r%d" % round_, 100 * round_
        for i in range(100):
            text = job("Linger", [base + i, 0.02], jid=jid, queue="default")
            if i % 2:
                client.call("LPUSH", "queue:default", text)
            else:
                client.call("ZADD", "schedule", now(client) + i / 200, text)
        client.call("SADD", "queues", "default")
        until(lambda: sum(stage.probe.cells(base, base + 100)) > 5, what="some to run")
        stage.fettle("cancel", jid)
        done = sum(stage.probe.cells(base, base + 100))
        dead = sum(one["jid"] == jid for one, _ in members(client, "dead"))
        equal(done + dead, 100, "done and cancelled")
        stage.nothing_else()


def test_while_it_stops(t):
    """A run that is cancelled while its daemon stops goes to dead, not back to its queue."""
    stage = Stage(t, shutdown_timeout=5)
    stage.push("mine", "Linger", 0, 1000)
    stage.push("other", "Linger", 1, 1000)
    stage.running(2)
    stage.daemon.signal(signal.SIGTERM)
    stage.daemon.wait_event("daemon.stopping")
    equal(stage.fettle("cancel", "mine")[1], "1 cancelled: 1 running\n")
    equal(stage.daemon.wait_exit(), 0)
    stage.dead("mine")
    equal([json.loads(one)["jid"] for one in places(stage.client)["queue:default"]], ["other"])


def test_its_daemon_dies(t):
    """Nobody else knows what runs there; when another has recovered the job, it is cancelled."""
    stage = Stage(t, daemons=2, lease_ttl=1)
    stage.push("mine", "Linger", 0, 1000)
    stage.running(1)
    victim = until(lambda: next((d for d in stage.crew if d.find("job.start", jid="mine")), None),
                   what="its start to be told")  # it is in flight a moment before
    victim.signal(signal.SIGSTOP)
    try:
        stage.fettle("cancel", "mine", expect=None)
        until(lambda: member(stage.client, "dead", "mine"), what="the other to cancel it")
    finally:
        victim.signal(signal.SIGCONT)
    stage.dead("mine")
    victim.wait_event("lease.fenced")
    until(lambda: victim.find("job.refused", jid="mine"), what="its own run to be cut off")
    stage.nothing_else()


def test_stuck_run(t):
    """A run that never comes back is told to be still ending; it is cancelled when it ends."""
    stage = Stage(t, handlers=[{"class": "Spin", "module": "faults"}])
    stage.push("spins", "Spin", 6)
    stage.running(1)
    took, out, _ = stage.fettle("cancel", "spins", expect=FAILED)
    equal(out, "0 cancelled; 1 still ending\n")
    in_time(took, 4.5)
    until(lambda: member(stage.client, "dead", "spins") or not inflight(stage.client))
    stage.nothing_else()


def test_redis_restarts(t):
    """Redis is killed while a run is being cancelled: the mark is there when it comes back."""
    redisd, probe = t.use(Redisd(appendonly="yes")), t.use(Probe(4))
    daemon = t.use(Fettled(redisd, **probe.settings()))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Linger", [0, 1000], jid="mine"))
    daemon.wait_event("job.start", jid="mine")
    mark_call(60, "jid:mine").run(redisd.client)
    redisd.restart()
    until(lambda: member(redisd.client, "dead", "mine"), what="it to be cancelled")


def test_a_mark_is_renewed(t):
    """Also one whose time is over, while others keep the key."""
    client = t.use(Redisd()).client
    mark_call(1, "jid:a").run(client)
    mark_call(60, "jid:b").run(client)
    until(lambda: float(client.call("HGET", CANCELLED, "jid:a")) < now(client), what="its end")
    mark_call(60, "jid:a").run(client)
    assert float(client.call("HGET", CANCELLED, "jid:a")) > now(client)


def test_marks_are_bounded(t):
    """More than 4,000 marks are refused; those whose time is over make room."""
    client = t.use(Redisd()).client
    owner = Owner(client)
    for i in range(4):
        mark_call(60 if i else 1, *("jid:%d" % n for n in range(1000 * i, 1000 * i + 1000))).run(client)
    generation = client.call("HGET", CANCELLED, "generation")
    marks = owner.tick().marks
    equal((marks[0], len(marks[1])), (generation, 8002))
    equal(owner.tick(generation=generation).marks, [], "nothing new")
    equal(len(owner.claim_call(["q"], generation=generation).run(client)), 1, "nothing new")
    equal(owner.claim_call(["q"]).run(client)[1][:3], [0, generation, b"cancelled"])
    until(lambda: _marked(client), what="room")


def _marked(client):
    try:
        return mark_call(60, "jid:more").run(client)
    except Exception as error:
        assert "more than 4000" in str(error), error
        return False


main(None if available() else "there is no redis-server")
