-- SPDX-License-Identifier: MIT
-- beat: an owner says that it is alive, and hears what is cancelled.
-- KEYS owners beat cancelled  ARGV ID generation
-- → [TIME µs], and if the generation is not the caller's: [TIME µs, generation, [field, value…]]

local owners, beat, cancelled = KEYS[1], KEYS[2], KEYS[3]
local id, known = ARGV[1], ARGV[2]

if #KEYS ~= 3 or #ARGV ~= 2 then
    return redis.error_reply('BADARG beat')
end
if redis.call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

local generation = redis.call('HGET', cancelled, 'generation') or '0'
local marks = generation ~= known and redis.call('HGETALL', cancelled)
local now = redis.call('TIME')
-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('HDEL', beat, '')
redis.call('HINCRBY', beat, id, 1)
local result = { string.format('%.0f', now[1] * 1000000 + now[2]) }
if marks then
    result[2], result[3] = generation, marks
end
return result
