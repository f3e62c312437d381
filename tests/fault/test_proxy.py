#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults of the connection under load: late, slow, stalled, cut, refused, half-open."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled
from load import FULL, Load, amount, pause
from probe import Probe
from proxy import Proxy
from redisd import Redisd, available
from tap import equal, limit, main, thrice

TTL, CONCURRENCY = 15 if FULL else 1, 20
INFO = {"level": "info", "format": "json", "jobs": "none"}

# What is ordered, and whether the connections are cut at the end of it: a peer that has lost the
# connection answers with a reset when packets get through again.
FAULTS = (("delay 20", False), ("delay 300", False), ("slice", False), ("stall both", False),
          ("stall up", False), ("stall down", False), ("stall up", True), ("stall down", True),
          ("reset", False), ("refuse", False))


def stage(t, cells, daemons):
    redisd, probe = t.use(Redisd()), t.use(Probe(cells))
    proxy = t.use(Proxy(redisd.socket))
    crew = [t.use(Fettled(proxy.url, lease_ttl=TTL, concurrency=CONCURRENCY, log=INFO,
                          **probe.settings())) for _ in range(daemons)]
    for daemon in crew:
        daemon.wait_ready()
    return redisd, proxy, t.use(Load(t, redisd, probe)), crew


def unfenced(load, crew):
    """Nothing is lost in any case. Nobody is fenced, and so no run repeated; but a lease of a second is
    as long as some of the faults here, and on a busy machine one may be: that must not be so each time."""
    fenced = sum(len(daemon.find("lease.fenced")) for daemon in crew)
    try:
        load.check(repeats=fenced * CONCURRENCY)
    except AssertionError as error:
        raise RuntimeError("whatever the machine does") from error
    equal(fenced, 0, "fenced")


once_more = thrice if TTL == 1 else lambda function: function


@limit(72000 if FULL else 600)
@once_more
def test_random_faults(t):
    """Work resumes within 2 s of the end of each; nothing is lost, nor repeated."""
    faults, longest = amount(20, 1000), 30 if FULL else 2
    redisd, proxy, load, crew = stage(t, 20000000 if FULL else 400000, 2)
    slowest = 0
    with load.pushing(rate=1000):
        for n in range(faults):
            order, cut = FAULTS[n % len(FAULTS)] if n < len(FAULTS) else t.random.choice(FAULTS)
            proxy.order(order)
            pause(0.05 * (longest / 0.05) ** t.random.random())
            if cut:
                proxy.order("reset")
            proxy.order("pass")
            slowest = max(slowest, load.resumed(2))
    t.note("%d faults, work resumed after %.2f s at the latest" % (faults, slowest))
    load.settle()
    unfenced(load, crew)


@limit(7200 if FULL else 600)
@once_more
def test_redis_away(t):
    """Redis away for three times the lease: nobody is fenced, no run is repeated."""
    redisd, proxy, load, crew = stage(t, 4000000 if FULL else 200000, 2)
    with load.pushing(rate=500):
        for n in range(amount(2, 50)):
            proxy.order(t.random.choice(("stall both", "refuse")) if n > 1
                        else ("stall both", "refuse")[n])
            pause(3 * TTL)
            proxy.order("pass")
            load.resumed(2)
    load.settle()
    unfenced(load, crew)


main(None if available() else "there is no redis-server")
