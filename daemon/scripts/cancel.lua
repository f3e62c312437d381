-- SPDX-License-Identifier: MIT
-- cancel: moves jobs from a list to dead.
--
-- KEYS list dead  ARGV per operation: old new
-- → one for each operation: 1 = moved, 0 = it was not there any more, or an error (not moved)
--
-- An operation writes the destination, then removes the job; if that fails, it takes the destination
-- back. Of equal jobs each operation takes one, that which would run last.

local list, dead = KEYS[1], KEYS[2]

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

if #KEYS ~= 2 or #ARGV == 0 or #ARGV % 2 ~= 0 then
    return redis.error_reply('BADARG cancel')
end
redis.call('LLEN', list) -- their types, before the first write
redis.call('ZCARD', dead)

local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)

-- The same job under bytes that no other has: JSON's blanks, the digits of a number.
local function distinct(bytes, number)
    local parts = { bytes }
    while number > 0 do
        parts[#parts + 1] = number % 2 == 1 and '\t' or ' '
        number = math.floor(number / 2)
    end
    return table.concat(parts)
end

local function cancel(old, new, number)
    local added = redis.pcall('ZADD', dead, 'NX', now, new)
    if added == 0 then
        new = distinct(new, number)
        added = redis.pcall('ZADD', dead, 'NX', now, new)
    end
    if added ~= 1 then
        return added
    end
    local removed = redis.pcall('LREM', list, 1, old)
    if removed ~= 1 then
        redis.pcall('ZREM', dead, new)
    end
    return removed
end

-- A write that changes nothing: it fails if ZREM is not permitted, and it is allowed when Redis is
-- full; those after it are then, too.
redis.call('ZREM', dead, '')
local result = {}
for i = 1, #ARGV, 2 do
    result[#result + 1] = cancel(ARGV[i], ARGV[i + 1], time[1] * 1000000 + time[2] + i)
end
return result
