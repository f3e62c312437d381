#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A daemon dies or is taken for dead: its jobs are run by another, and it cannot settle any more."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, command, job, native
from places import inflight, member, places
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import RELAXED, in_time, patient, until

TTL = 2
TASK = native("Hold", "probe", isolation="task")


def pair(t, redisd, probe, **settings):
    """Two daemons that both are there all along. The second serves the queue `default` from serve() on:
    what is claimed before that is the first one's."""
    settings = dict(probe.settings(), lease_ttl=TTL, shutdown_timeout=1, **settings)
    first = t.use(Fettled(redisd, queues=[{"name": "default"}], **settings))
    second = t.use(Fettled(redisd, queues=[{"name": "other"}], **settings))
    first.wait_ready()
    second.wait_ready()
    return first, second


def serve(daemon):
    daemon.reload(queues=[{"name": "other"}, {"name": "default"}])
    daemon.wait_event("config.reloaded")


def fence(client, owner):
    """As one who has found it silent."""
    client.call("MULTI")
    client.call("HDEL", "fettle:owners", owner)
    client.call("HDEL", "fettle:beat", owner)
    client.call("HSET", "fettle:fenced", owner, "1")
    client.call("EXEC")


def test_sigkill_with_eight_jobs(t):
    """SIGKILL with 8 jobs running: a second daemon claims them within lease_ttl + 5 s."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    first, second = pair(t, redisd, probe)
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 30], n=i) for i in range(8)])
    until(lambda: probe.slot(0).running == 8 and inflight(redisd.client) == 8, what="8 runs")
    serve(second)
    first.kill()
    start = time.monotonic()
    claimed = second.wait_events(8, "job.start", TTL + 15)
    took = max(event["_at"] for event in claimed) - start
    t.note("SIGKILL to the 8th claim, lease_ttl %d: %.2f s" % (TTL, took))
    in_time(took, TTL + 5)
    equal({event["attempt"] for event in claimed}, {2}, "attempts after one recovery")
    equal(len(claimed), 8, "claims")
    until(lambda: sum(e["recovered"] for e in second.find("lease.reaped")) == 8, what="8 recovered")
    equal(inflight(redisd.client), 8, "jobs in flight")


def test_nobody_there(t):
    """All daemons dead: the next that starts recovers, however late. Jobs of the same bytes are not
    taken for one job that was recovered so often."""
    redisd, probe = t.use(Redisd()), t.use(Probe(20))
    settings = dict(probe.settings(), lease_ttl=TTL)
    first = t.use(Fettled(redisd, **settings))
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 60])] * 8)
    until(lambda: probe.slot(0).running == 8, what="8 runs")
    first.kill()
    redisd.client.call("LPUSH", "queue:default", *[job("Count", [i]) for i in range(20)])
    time.sleep(TTL + 1)
    last = t.use(Fettled(redisd, concurrency=50, shutdown_timeout=1, **settings))
    last.wait_ready()
    start = time.monotonic()
    until(lambda: probe.slot(0).started == 16, TTL + 10, "the 8 to run again")
    took = time.monotonic() - start
    in_time(took, TTL + 5)
    until(lambda: all(probe.cells()), what="the others")


def test_poison_job(t):
    """A job whose runs kill their process three times is dead at the third; others live on."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    settings = dict(probe.settings(TASK), lease_ttl=1)
    daemon = t.use(Fettled(redisd, start=False, **settings))
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 60], jid="poison"))
    for attempt in 1, 2, 3:
        daemon.start()
        until(lambda: probe.slot(0).started == attempt, 10, "attempt %d" % attempt)
        daemon.kill()
    daemon.start()
    until(lambda: redisd.client.call("ZCARD", "dead") == 1, 10, "the job in dead")
    equal(probe.slot(0).started, 3, "runs")
    equal(list(places(redisd.client)), ["dead"], "places with jobs")
    told = daemon.wait_event("job.dead", jid="poison")
    equal([told.get(key) for key in ("reason", "class", "queue")], ["recovered", "Hold", "default"])
    assert told["token"] > daemon.find("job.start")[-1]["token"] - 1, told
    until(lambda: sum(e["dead"] for e in daemon.find("lease.reaped")) == 1, what="its end to be told")


def test_innocent_beside_a_poison_job(t):
    """What was in flight at two deaths, and has to be a task, runs alone: at the third death only one is buried, and what
    was not in flight at it goes on."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client = redisd.client
    daemon = t.use(Fettled(redisd, start=False, shutdown_timeout=0.1,
                           **dict(probe.settings(TASK), lease_ttl=1)))
    client.call("LPUSH", "queue:default", *[job("Hold", [0, 60], jid=n) for n in ("a", "b", "c")])
    for attempt in 1, 2:
        if attempt == 2:
            client.call("LPUSH", "queue:default", job("Hold", [0, 1.5], jid="late"))
        daemon.start()
        until(lambda: probe.slot(0).started == (3, 7)[attempt - 1], 10, "run %d" % attempt)
        daemon.kill()
    mark = daemon.mark()
    daemon.start()
    first = daemon.wait_event("job.start", attempt=3, since=mark)
    until(lambda: inflight(client) == 1, what="nothing else in flight")
    equal([e["jid"] for e in daemon.find("job.start", since=mark) if e["attempt"] > 2],
          [first["jid"]], "runs of those that have seen two deaths")
    daemon.kill()
    daemon.start()
    told = daemon.wait_event("job.dead", reason="recovered")
    equal([told[key] for key in ("jid", "class", "queue")], [first["jid"], "Hold", "default"])
    again = daemon.wait_event("job.start", attempt=3, since=daemon._begin)
    assert again["jid"] in {"a", "b", "c"} - {first["jid"]}, again
    equal(client.call("ZCARD", "dead"), 1, "buried")


def test_stopped_past_its_lease(t):
    """A daemon paused for longer than its lease wakes up fenced: it settles nothing of what is no
    longer its own, says so, and works on under a new identity."""
    redisd, probe = t.use(Redisd()), t.use(Probe(3))
    first, second = pair(t, redisd, probe)
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 4], jid="twice"))
    until(lambda: probe.slot(0).running == 1, what="the run")
    first.signal(signal.SIGSTOP)
    serve(second)
    second.wait_event("job.start", TTL + 15, jid="twice")
    old = first.find("daemon.ready")[0]["id"]
    first.signal(signal.SIGCONT)
    first.wait_event("lease.fenced")
    new = first.wait_events(2, "lease.registered")[-1]["id"]
    assert new != old, new
    token = first.find("job.start", jid="twice")[0]["token"]
    first.wait_event("job.refused", 15, token=token)
    second.wait_event("job.done", 15, jid="twice")
    until(lambda: not places(redisd.client), what="no job left")
    second.stop()
    redisd.client.call("LPUSH", "queue:default", job("Count", [0]))
    until(lambda: probe[0] == 1, what="the first daemon to work again")


def test_runs_of_a_lost_registration(t):
    """A daemon that is fenced while it lives asks its runs to end, wherever they are: a handler is
    told by its waits, a command by TERM. They are run again, and by then nothing of them is left."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client = redisd.client
    handlers = [command("Command", ["sleep", "600"]),
                native("Linger", "probe", isolation="process"),
                native("Late", "probe"), native("Hold", "probe", blocking=True)]
    daemon = t.use(Fettled(redisd, shutdown_timeout=0.2, **probe.settings(*handlers)))
    old = daemon.wait_ready()["id"]
    client.call("LPUSH", "queue:default", job("Hold", [0, 600]), job("Late", [0, 600]),
                job("Linger", [0, 600]), job("Command"))
    begun = {event["token"]: event["class"] for event in daemon.wait_events(4, "job.start")}
    until(lambda: probe.slot(0).running == 1, what="the run that waits")
    fence(client, old)
    refused = daemon.wait_events(4, "job.refused", reason="fenced")
    equal({event["token"]: event["class"] for event in refused}, begun, "what was refused")
    again = daemon.wait_events(8, "job.start")[4:]
    equal(sorted(event["class"] for event in again), sorted(begun.values()), "what ran again")
    equal(probe[0], 0, "runs that went on to their end")
    until(lambda: probe.slot(0).started == 2, what="the second run")
    equal(probe.slot(0).running, 1, "runs of one job at a time")


def test_parked_jobs_of_a_lost_registration(t):
    """What was parked when the daemon was fenced is not started under the old registration, and what
    ran is ended: each runs when it has been recovered."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client = redisd.client
    daemon = t.use(Fettled(redisd, lease_ttl=2, **probe.settings(Hold=1)))
    old = daemon.wait_ready()["id"]
    client.call("LPUSH", "queue:default", *[job("Hold", [0, 3], jid="j%d" % i) for i in range(3)])
    until(lambda: probe.slot(0).running == 1 and inflight(client) == 3, what="1 run, 2 parked")
    fence(client, old)
    daemon.wait_event("lease.fenced")
    until(lambda: probe.slot(0).done >= 3 and not places(client), 30, "no job left")
    equal(probe.slot(0).started, 4, "runs begun: one was under way, then all 3")
    equal(len(daemon.wait_events(3, "job.refused", reason="fenced")), 3, "refused")


def test_lapsed_leases_of_the_living(t):
    """Daemons that are paused past their lease, more often than a job may see deaths: each takes its
    count back when it wakes up, and the job goes on."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    client = redisd.client
    settings = dict(probe.settings(), lease_ttl=1, shutdown_timeout=0.2)
    daemons = [t.use(Fettled(redisd, **settings)) for _ in range(2)]
    for daemon in daemons:
        daemon.wait_ready()
    client.call("LPUSH", "queue:default", job("Hold", [0, 100], jid="live"))

    def last_run():
        runs = [(e["token"], n) for n, d in enumerate(daemons) for e in d.find("job.start")]
        return max(runs, default=(0, None))
    for lapse in range(4):
        token, number = until(lambda: last_run()[0] and last_run(), what="a run")
        mark = daemons[number].mark()
        daemons[number].signal(signal.SIGSTOP)
        until(lambda: last_run()[0] > token, 20, "the other one's run")
        run, = daemons[1 - number].find("job.start", token=last_run()[0])
        equal(run["attempt"], 2, "attempt while the other one looks dead")
        daemons[number].signal(signal.SIGCONT)
        daemons[number].wait_event("lease.fenced", 20, since=mark)
        until(lambda: client.call("EXISTS", "fettle:recoveries") == 0, 20, "no count left")
    equal((client.call("ZCARD", "dead"), inflight(client)), (0, 1), "dead, in flight")


def test_killed_again_and_again(t):
    """Daemons killed at random moments under load: no job is lost, all are run at least once."""
    count = 600 if RELAXED else 4000
    redisd, probe = t.use(Redisd()), t.use(Probe(count))
    settings = dict(probe.settings(), lease_ttl=1, concurrency=50, shutdown_timeout=2,
                    log={"level": "info", "format": "json", "jobs": "failures"})
    steady = t.use(Fettled(redisd, **dict(settings, concurrency=2)))
    victim = t.use(Fettled(redisd, **settings))
    steady.wait_ready()
    step = count // 8
    for start in range(0, count, step):
        for i in range(start, min(start + step, count), 20):
            redisd.client.call("LPUSH", "queue:default", *[
                job("Fail" if n % 50 == 7 else "Count", [n], jid="%024x" % n)
                for n in range(i, min(i + 20, count))])
        time.sleep(t.random.uniform(0.0, 0.1))
        victim.kill()
        victim.start()
        victim.wait_ready()
    fails = len([n for n in range(count) if n % 50 == 7])
    until(lambda: sum(map(bool, probe.cells())) + redisd.client.call("ZCARD", "retry") >= count, 30,
          "each job to end", pause=0.1)
    until(lambda: list(places(redisd.client)) == ["retry"], 15, "nothing but retry")
    equal(redisd.client.call("ZCARD", "retry"), fails, "members of retry")
    twice = sum(1 for n in probe.cells() if n > 1)
    t.note("%d of %d jobs ran more than once" % (twice, count))


def test_outage_expires_nobody(t):
    """Redis away for longer than the lease: nobody is fenced, no job runs twice."""
    redisd, probe = t.use(Redisd(appendonly="yes")), t.use(Probe())
    first, second = pair(t, redisd, probe)
    serve(second)
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 6], n=i) for i in range(4)])
    until(lambda: probe.slot(0).running == 4, what="4 runs")
    redisd.signal(signal.SIGSTOP)
    time.sleep(TTL + 1)
    redisd.signal(signal.SIGCONT)
    redisd.kill()
    time.sleep(patient(0.5))
    redisd.start()
    until(lambda: probe.slot(0).done >= 4, 20, "4 ends")
    until(lambda: not places(redisd.client), 20, "no job left")
    equal(probe.slot(0).started, 4, "runs begun")
    for daemon in first, second:
        equal(daemon.find("lease.fenced"), [], "fenced daemons")


def test_put_backs_do_not_count(t):
    """Shutdowns that cut a job off do not bring it nearer to dead, nor raise its attempt."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, start=False, shutdown_timeout=0.1, **probe.settings()))
    redisd.client.call("LPUSH", "queue:default", job("Hold", [0, 60], jid="patient"))
    for attempt in range(1, 6):
        daemon.start()
        until(lambda: probe.slot(0).started == attempt, 10, "run %d" % attempt)
        daemon.stop()
    equal({e["attempt"] for e in daemon.find("job.start")}, {1}, "attempts")
    equal(member(redisd.client, "dead", "patient"), None, "dead job")
    equal(list(places(redisd.client)), ["queue:default"], "places with jobs")


main(None if available() else "there is no redis-server")
