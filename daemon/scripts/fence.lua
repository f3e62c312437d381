-- SPDX-License-Identifier: MIT
-- fence: ends the right of an owner, whose beat has not moved, to claim, beat and settle.
-- KEYS owners beat fenced  ARGV ID(victim) BEAT FORMAT  → 1 = fenced now, 0 = its beat has moved,
-- or it is gone

local owners, beat, fenced = KEYS[1], KEYS[2], KEYS[3]
local id, seen, format = ARGV[1], ARGV[2], ARGV[3]

if #KEYS ~= 3 or #ARGV ~= 3 or format == '' then
    return redis.error_reply('BADARG fence')
end
local entry = redis.call('HGET', owners, id)
if not entry or (redis.call('HGET', beat, id) or '') ~= seen then
    return 0
end
if entry:match('^%S*') ~= format then
    return redis.error_reply('BADARG the owner has another format')
end

-- A write that changes nothing: it fails if HDEL is not permitted, and it is allowed when Redis is
-- full; those after it are then, too.
redis.call('HDEL', fenced, '')
redis.call('HSET', fenced, id, format)
redis.call('HDEL', owners, id)
redis.call('HDEL', beat, id)
return 1
