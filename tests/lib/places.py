# SPDX-License-Identifier: MIT
"""Where in Redis the jobs are: every place that may hold one, by the layout of docs/design.md."""

import json

SETS = ("schedule", "retry", "dead")
BATCH = b"fettle:batch:"
LISTS = (BATCH + b"*", b"queue:*", b"fettle:front:*")


# Everything is looked at in one moment: a job that moves between two looks would be in none, or twice.
_KEYS = """
local found = {}
for _, pattern in ipairs(ARGV) do
    for _, key in ipairs(redis.call('KEYS', pattern)) do
        found[#found + 1] = key
    end
end
"""
_OCCUPIED = _KEYS + """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then found[#found + 1] = key end
end
return found
"""
_PLACES = _KEYS + """
for i, key in ipairs(found) do found[i] = {key, redis.call('LRANGE', key, 0, -1)} end
for _, key in ipairs(KEYS) do found[#found + 1] = {key, redis.call('ZRANGE', key, 0, -1)} end
return found
"""


def occupied(client, sets=SETS):
    """The keys that hold jobs, or have an in-flight batch."""
    return [key.decode() for key in client.call("EVAL", _OCCUPIED, len(sets), *sets, *LISTS)]


def places(client, sets=SETS, lists=LISTS):
    """Key → the jobs in it, for each key that has some. Lists: the next to run is last; of in-flight
    batches, in claim order, the entries that are not settled."""
    found = {}
    for key, jobs in client.call("EVAL", _PLACES, len(sets), *sets, *lists):
        if key.startswith(BATCH):
            owner = key[len(BATCH):].rsplit(b":", 1)[0]
            jobs = [raw for raw in jobs if raw != owner]
        if jobs:
            found[key.decode()] = jobs
    return found


def batches(client):
    """The same of in-flight batches only."""
    return places(client, (), LISTS[:1])


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
