-- SPDX-License-Identifier: MIT
-- register: a new owner, who may claim, beat and settle from now on.
-- KEYS owners beat  ARGV ID FORMAT TTL_MS  → TIME µs

local owners, beat = KEYS[1], KEYS[2]
local id, format, ttl = ARGV[1], ARGV[2], ARGV[3]

if #KEYS ~= 2 or #ARGV ~= 3 or id == '' or not format:find('^%d+$') or not ttl:find('^%d+$') then
    return redis.error_reply('BADARG register')
end
if redis.call('HEXISTS', owners, id) == 1 or redis.call('HEXISTS', beat, id) == 1 then
    return redis.error_reply('BADARG the ID is in use')
end

local now = redis.call('TIME')
-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('HDEL', owners, '')
redis.call('HSET', beat, id, '0')
redis.call('HSET', owners, id, format .. ' ' .. ttl)
return string.format('%.0f', now[1] * 1000000 + now[2])
