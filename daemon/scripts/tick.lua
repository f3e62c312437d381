-- SPDX-License-Identifier: MIT
-- tick: an owner's turn: it beats, and learns all that it would have to poll for otherwise.
--
-- KEYS owners beat fenced batches:ID promoter retry schedule dead processes ID ID-signals paused
--      cancelled faulted, then per queue: queue front
-- ARGV ID LOCK_MS EXPIRE_S max_signals cancelled faulted (the generations that the caller knows), then
--      per queue: NAME
-- → [TIME µs, [owner, entry…], [owner, beat…], [fenced, FORMAT…], batches, next, dead, oldest,
--    record, [signal…], work, [place of a paused queue…], cancelled, faulted]
--
-- next: "" = another is the promoter; else the lowest score in retry and schedule, "inf" = none.
-- dead, oldest: the size of the set and its lowest score, for the promoter only. record: 1 = the
-- record of the process is there (and lasts EXPIRE_S from now). work: 1 = a queue that is not
-- paused, or its front, has jobs. cancelled, faulted: the marks there: [], or [generation, [field,
-- value…]] if the generation is not the caller's.
--
-- The beat does not depend on the rest: what of that cannot be done is as if nothing were there;
-- a set that cannot be read looks due, so that whoever asks for its members learns why.

local UNPACK, FIXED_KEYS, FIXED_ARGS = 4000, 14, 6
local call, pcall = redis.call, redis.pcall
local owners, beat, fenced, batches, promoter, retry, schedule, dead, processes, record, signals,
    paused, cancelled, faulted = unpack(KEYS, 1, FIXED_KEYS)
local id, lock, expire, max_signals, known_cancelled, known_faulted = unpack(ARGV, 1, FIXED_ARGS)
local queues = #ARGV - FIXED_ARGS

if queues < 0 or #KEYS ~= FIXED_KEYS + 2 * queues or not tonumber(lock) or not tonumber(expire)
    or not tonumber(max_signals) then
    return redis.error_reply('BADARG tick')
end
if call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

-- A reply, or `otherwise` in place of an error or of nothing.
local function soft(otherwise, reply)
    if not reply or type(reply) == 'table' and reply.err then
        return otherwise
    end
    return reply
end

local time = call('TIME')
-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
call('HDEL', beat, '')
call('HINCRBY', beat, id, 1)

local function is_promoter()
    local holder = pcall('GET', promoter)
    if not holder then
        return soft(false, pcall('SET', promoter, id, 'PX', lock))
    end
    return holder == id and soft(0, pcall('PEXPIRE', promoter, lock)) == 1
end

local function lowest(set)
    return soft({ '', '-inf' }, pcall('ZRANGE', set, 0, 0, 'WITHSCORES'))[2] or 'inf'
end

local next, dead_count, dead_oldest = '', 0, ''
if is_promoter() then
    local one, other = lowest(retry), lowest(schedule)
    next = tonumber(one) and tonumber(other) and tonumber(one) > tonumber(other) and other or one
    if one == '-inf' or other == '-inf' then
        next = '-inf'
    end
    dead_count, dead_oldest = soft(0, pcall('ZCARD', dead)), lowest(dead)
end

local recorded = soft(0, pcall('SISMEMBER', processes, id)) == 1
    and soft(0, pcall('EXPIRE', record, expire)) == 1
if recorded then
    pcall('HSET', record, 'beat', string.format('%d.%06d', time[1], time[2]))
end

local function any(from)
    for i = from, #KEYS, UNPACK do
        if soft(0, pcall('EXISTS', unpack(KEYS, i, math.min(i + UNPACK - 1, #KEYS)))) > 0 then
            return true
        end
    end
    return false
end

local work, resting = 0, {}
local some = any(FIXED_KEYS + 1)
if some or soft(0, pcall('EXISTS', paused)) == 1 then
    for q = 1, queues do
        local at = FIXED_KEYS + 2 * q - 1
        if soft(0, pcall('SISMEMBER', paused, ARGV[FIXED_ARGS + q])) == 1 then
            resting[#resting + 1] = q
        elseif some and work == 0 then
            work = soft(0, pcall('EXISTS', KEYS[at], KEYS[at + 1])) > 0 and 1 or 0
        end
    end
end

local function marks(key, known)
    local generation = soft('0', pcall('HGET', key, 'generation'))
    return generation ~= known and { generation, soft({}, pcall('HGETALL', key)) } or {}
end

return {
    string.format('%.0f', time[1] * 1000000 + time[2]), call('HGETALL', owners),
    call('HGETALL', beat), soft({}, pcall('HGETALL', fenced)), soft(0, pcall('HLEN', batches)),
    next, dead_count, dead_oldest, recorded and 1 or 0,
    soft({}, pcall('RPOP', signals, max_signals)), work, resting,
    marks(cancelled, known_cancelled), marks(faulted, known_faulted),
}
