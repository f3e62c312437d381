-- SPDX-License-Identifier: MIT
-- promote: moves members of a set to their queues, or to dead.
--
-- KEYS set queues dead, then the queues
-- ARGV per operation: old queue# NAME new (to the end of the queue), or old 0 "" new (to dead; an
--      empty `new`: the bytes as they are)
-- → one for each operation: 1 = moved, 0 = it was not there any more, or an error (not moved)
--
-- An operation writes the destination, then removes the member; if that fails, it takes the
-- destination back.

local set, queues, dead = KEYS[1], KEYS[2], KEYS[3]
local n_queues = #KEYS - 3

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

local function is(key, kind)
    local found = redis.call('TYPE', key).ok
    return found == kind or found == 'none'
end

if n_queues < 0 or #ARGV % 4 ~= 0 then
    return redis.error_reply('BADARG promote')
end
for i = 2, #ARGV, 4 do
    local queue = tonumber(ARGV[i])
    if not queue or queue < 0 or queue > n_queues or queue ~= math.floor(queue) then
        return redis.error_reply('BADARG operation ' .. (i + 2) / 4)
    end
end
redis.call('ZCARD', set) -- its type, before the first write

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

-- Each destination returns its reply, maybe an error, and what takes it back.
local function to_dead(new, number)
    if not is(dead, 'zset') then
        return { err = 'BADTYPE ' .. dead }
    end
    local reply = redis.pcall('ZADD', dead, 'NX', now, new)
    if reply == 0 then
        new = distinct(new, number)
        reply = redis.pcall('ZADD', dead, 'NX', now, new)
    end
    return reply, function()
        local rank = redis.pcall('ZRANK', dead, new) -- by rank: it is ZREM that has failed
        redis.pcall('ZREMRANGEBYRANK', dead, rank, rank)
    end
end

local function to_queue(queue, name, new)
    if not is(queue, 'list') then
        return { err = 'BADTYPE ' .. queue }
    end
    local reply = redis.pcall('SADD', queues, name)
    if not failed(reply) then
        reply = redis.pcall('LPUSH', queue, new)
    end
    return reply, function()
        redis.pcall('LPOP', queue)
    end
end

local function promote(at)
    local old, queue, reply, undo = ARGV[at], tonumber(ARGV[at + 1]), nil, nil
    if not redis.call('ZSCORE', set, old) then
        return 0
    end
    if queue == 0 then
        local new = ARGV[at + 3] ~= '' and ARGV[at + 3] or old
        reply, undo = to_dead(new, time[1] * 1000000 + time[2] + at)
    else
        reply, undo = to_queue(KEYS[3 + queue], ARGV[at + 2], ARGV[at + 3])
    end
    if failed(reply) then
        return reply
    end
    local removed = redis.pcall('ZREM', set, old)
    if failed(removed) then
        undo()
        return removed
    end
    return 1
end

-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('SREM', queues, '')
local result = {}
for at = 1, #ARGV, 4 do
    result[#result + 1] = promote(at)
end
return result
