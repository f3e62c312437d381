-- SPDX-License-Identifier: MIT
-- beat: an owner says that it is alive.
-- KEYS owners beat  ARGV ID  → TIME µs

local owners, beat, id = KEYS[1], KEYS[2], ARGV[1]

if #KEYS ~= 2 or #ARGV ~= 1 then
    return redis.error_reply('BADARG beat')
end
if redis.call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

local now = redis.call('TIME')
-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('HDEL', beat, '')
redis.call('HINCRBY', beat, id, 1)
return string.format('%.0f', now[1] * 1000000 + now[2])
