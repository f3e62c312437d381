#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults of the connection under load: late, slow, stalled, cut, refused, half-open."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled
from load import FULL, Load, amount, pause, queues, room
from probe import Probe
from proxy import Proxy
from records import Fenced, check_fenced
from redisd import Redisd, available
from tap import limit, main, thrice
from wait import Late

TTL, CONCURRENCY = 15 if FULL else 1, 20

# What is ordered, and whether the connections are cut at the end of it: a peer that has lost the
# connection answers with a reset when packets get through again.
FAULTS = (("delay 20", False), ("delay 300", False), ("slice", False), ("stall both", False),
          ("stall up", False), ("stall down", False), ("stall up", True), ("stall down", True),
          ("reset", False), ("refuse", False))


def stage(t, cells, proxies, jobs="none", **options):
    """Two daemons, behind one proxy or one each."""
    redisd, probe = t.use(Redisd()), t.use(Probe(cells))
    proxies = [t.use(Proxy(redisd.socket)) for _ in range(proxies)]
    crew = [t.use(Fettled(proxies[n % len(proxies)].url, lease_ttl=TTL, concurrency=CONCURRENCY,
                          log={"level": "info", "format": "json", "jobs": jobs}, queues=queues(n),
                          **probe.settings())) for n in range(2)]
    for daemon in crew:
        daemon.wait_ready()
    return redisd, proxies, t.use(Load(t, redisd, probe, own=2, **options)), crew


def unfenced(load, crew):
    """Nothing is lost in any case. Nobody is fenced, and so no run repeated; but a lease of a second is
    as long as some of the faults here, and on a busy machine one may be: that must not be so each time."""
    fenced = sum(len(daemon.find("lease.fenced")) for daemon in crew)
    load.check(repeats=fenced * CONCURRENCY)
    if fenced:
        raise Late("%d were fenced" % fenced)


@limit(72000 if FULL else 600)
@thrice
def test_random_faults(t):
    """Work resumes within 2 s of the end of each; nothing is lost, nor repeated."""
    faults, longest = amount(20, 1000), 30 if FULL else 2
    _, (proxy,), load, crew = stage(t, room(1000, faults, 5), 1)
    slowest = 0
    with load.pushing(rate=1000):
        for n in range(faults):
            order, cut = FAULTS[n % len(FAULTS)] if n < len(FAULTS) else t.random.choice(FAULTS)
            proxy.order(order)
            pause(0.05 * (longest / 0.05) ** t.random.random())
            if cut:
                proxy.order("reset")
            lifted = time.monotonic()
            proxy.order("pass")
            slowest = max(slowest, load.resumed(2, lifted))
    t.note("%d faults, work resumed after %.2f s at the latest" % (faults, slowest))
    load.settle()
    unfenced(load, crew)


@limit(7200 if FULL else 600)
@thrice
def test_redis_away(t):
    """Redis away for three times the lease: nobody is fenced, no run is repeated."""
    outages, slowest = amount(2, 50), 0
    _, (proxy,), load, crew = stage(t, room(500, outages, 3 * TTL + 2), 1)
    with load.pushing(rate=500):
        for n in range(outages):
            proxy.order(t.random.choice(("stall both", "refuse")) if n > 1
                        else ("stall both", "refuse")[n])
            pause(3 * TTL)
            lifted = time.monotonic()
            proxy.order("pass")
            slowest = max(slowest, load.resumed(2, lifted))
    t.note("work resumed after %.2f s at the latest" % slowest)
    load.settle()
    unfenced(load, crew)


@limit(7200 if FULL else 600)
def test_cut_off_alone(t):
    """One of two is cut off for three times its lease, and lives: the other has what it held, and goes on.
    When it is back it settles nothing of that, and works again under another name."""
    cuts, fences, slowest = amount(2, 50), [], 0
    redisd, proxies, load, crew = stage(t, room(500, cuts, 3 * TTL + 5), 2, "all", linger=0.3, fails=20)
    with load.pushing(rate=500):
        for _ in range(cuts):
            pause(t.random.uniform(0.2, 0.6))
            n = t.random.randrange(2)
            load.occupy(n, 5)
            mark = crew[n].mark()
            proxies[n].order("stall both")
            end = time.monotonic() + 3 * TTL
            fences.append(Fenced(redisd, crew[n]))
            fences[-1].wait()
            pause(max(0, end - time.monotonic()))
            lifted = time.monotonic()
            proxies[n].order("pass")
            slowest = max(slowest, load.resumed(2, lifted))
            crew[n].wait_event("lease.fenced", since=mark, id=fences[-1].owner)
            crew[n].wait_event("lease.registered", since=mark)
    load.settle()
    refused = check_fenced(fences, load)
    t.note("%d cuts, it worked again after %.2f s at the latest; %d ends were refused" % (
        cuts, slowest, refused))
    assert refused > 0


main(None if available() else "there is no redis-server")
