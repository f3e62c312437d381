#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two releases beside each other, the second of which has another format of the in-flight record
(tests/fault/next_format.c): under load and with deaths on both sides, each record is reaped by
whoever can read it, and by nobody else."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, Fettled, job
from load import Load, amount, pause, room
from places import batches
from probe import Probe
from records import Deaths
from redisd import Redisd, available
from tap import equal, limit, main
from wait import until

NEXT = os.path.join(BUILDDIR, "tests", "fault", "next")
TTL, CONCURRENCY = 1, 20
LOG = {"level": "info", "format": "json", "jobs": "none"}


def stage(t, cells, **settings):
    redisd, probe = t.use(Redisd()), t.use(Probe(cells))

    def start(program):
        daemon = t.use(Fettled(redisd, program=program, lease_ttl=TTL, concurrency=CONCURRENCY,
                               log=LOG, **dict(probe.settings(), **settings)))
        daemon.wait_ready()
        return daemon
    return redisd, probe, start


def formats(client, key):
    return sorted({value.split()[0] for value in client.call("HVALS", key)})


def test_an_older_one_leaves_it_alone(t):
    """What a dead daemon of the next release held is there until one of that release comes; what an
    older one has left, the next release takes at once."""
    redisd, probe, start = stage(t, 8)
    client = redisd.client
    new = start(NEXT)
    owner = new.find("daemon.ready")[0]["id"]
    equal(client.call("HGET", "fettle:owners", owner), b"2 1000", "what it registers")
    client.call("LPUSH", "queue:default", job("Hold", [0, 600]), job("Hold", [1, 600]))
    until(lambda: probe.slot(0).running + probe.slot(1).running == 2, what="two runs")
    new.kill()
    kept = batches(client)
    old = start(None)
    since = old.mark()
    time.sleep(3 * TTL)  # whoever could read it would have it by now
    equal((batches(client), formats(client, "fettle:owners"), old.find("lease.reaped", since=since)),
          (kept, [b"1", b"2"], []), "what the older one leaves alone")
    client.call("HDEL", "fettle:owners", owner)
    client.call("HSET", "fettle:fenced", owner, 2)  # fenced by one that could, who then died
    time.sleep(2 * TTL)
    equal((batches(client), old.find("lease.reaped", since=since)), (kept, []), "fenced, and left alone")
    client.call("LPUSH", "queue:default", job("Hold", [2, 600]))
    until(lambda: probe.slot(2).running == 1, what="a run of the older one")
    old.kill()
    new = start(NEXT)
    until(lambda: all(probe.slot(i).running for i in range(3)), what="all of them to run again")
    until(lambda: formats(client, "fettle:owners") == [b"2"], what="the older one to be fenced")
    until(lambda: not client.call("EXISTS", "fettle:fenced"), what="the end of both")
    until(lambda: sum(e["recovered"] for e in new.find("lease.reaped")) == 3, what="all to be told")
    equal(sorted(sum(e["recovered"] for e in new.find("lease.reaped", owner=o))
                 for o in {e["owner"] for e in new.find("lease.reaped")}), [1, 2], "recovered")
    new.kill()


@limit(600)
def test_side_by_side(t):
    """Under load, with kills on both sides: nothing is lost, no more repeated than was in flight."""
    kills = amount(12, 1000)
    redisd, probe, start = stage(t, room(2000, kills, 0.5))
    crew = [start(program) for program in (None, None, NEXT, NEXT)]
    load, deaths = t.use(Load(t, redisd, probe)), t.use(Deaths(redisd, crew))
    with load.pushing(rate=2000):
        for n in range(kills):
            pause(t.random.uniform(0.05, 0.2))
            victim = crew[n % len(crew)]
            deaths.kill(victim)
            victim.wait_ready()
    load.settle()
    deaths.check(load)
    equal(formats(redisd.client, "fettle:owners"), [b"1", b"2"], "formats side by side")


main(None if available() else "there is no redis-server")
