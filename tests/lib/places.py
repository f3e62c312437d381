# SPDX-License-Identifier: MIT
"""Where in Redis the jobs are: every place that may hold one, by the layout of docs/design.md."""

import json

SETS = ("schedule", "retry", "dead")


def _keys(client, pattern):
    cursor, found = b"0", set()
    while True:
        cursor, some = client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found.update(some)
        if cursor == b"0":
            return sorted(key.decode() for key in found)


def batches(client):
    """Key of each in-flight batch → its entries that are not settled, in claim order."""
    found = {}
    for key in _keys(client, "fettle:batch:*"):
        owner = key[len("fettle:batch:"):].rsplit(":", 1)[0].encode()
        live = [raw for raw in client.call("LRANGE", key, 0, -1) if raw != owner]
        if live:
            found[key] = live
    return found


def places(client, sets=SETS):
    """Key → the jobs in it, for each key that has some. Lists: the next to run is last."""
    found = batches(client)
    for pattern in ("queue:*", "fettle:front:*"):
        for key in _keys(client, pattern):
            found[key] = client.call("LRANGE", key, 0, -1)
    for key in sets:
        members = client.call("ZRANGE", key, 0, -1)
        if members:
            found[key] = members
    return found


def inflight(client):
    """How many jobs are in in-flight records."""
    return sum(map(len, batches(client).values()))


def members(client, key):
    """A sorted set as [(job as an object, score)], lowest score first."""
    flat = client.call("ZRANGE", key, 0, -1, "WITHSCORES")
    return [(json.loads(raw), float(score)) for raw, score in zip(flat[::2], flat[1::2])]


def member(client, key, jid):
    """The one member with that jid, as (object, score), or None."""
    found = [one for one in members(client, key) if one[0].get("jid") == jid]
    assert len(found) < 2, found
    return found[0] if found else None


def now(client):
    """Redis' clock, in seconds."""
    seconds, micros = client.call("TIME")
    return int(seconds) + int(micros) / 1e6
