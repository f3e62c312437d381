-- SPDX-License-Identifier: MIT
-- reap: takes jobs of a fenced owner's batch back to the front of their queue, or to dead when they
-- have been recovered too often.
--
-- KEYS fenced owners batches:ID recoveries queues dead batch:ID:SEQ queue:NAME
-- ARGV ID(victim) SEQ NAME FORMAT max_recoveries limit only
-- → [left, recovered, [TOKEN, RAW, …]]: the last are those that went to dead, as they are there
--
-- The last death counts only for a job that was all its owner held: `only` = 1 says that this batch
-- is all that the owner has left, and nothing else may be live in it. Otherwise another job may have
-- killed it: the count stays one below max_recoveries. That there was more is kept in the owner's
-- field of `fenced` ("FORMAT shared"), for whoever goes on when this reaper dies.
--
-- A count is "N ID": ID is the last dead owner, so that one death counts once for all jobs of the same
-- bytes, however many of them it held.
--
-- It takes from the end of the batch, so that at last the oldest is next in the queue. The counts
-- and the destinations are written first, then the jobs are cut off from the batch; if a command
-- fails, everything before it is taken back.

local fenced, owners, batches, recoveries = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local queues, dead, batch, queue = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, seq, name, format = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_recoveries, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
local THREE_DAYS, UNPACK = 72 * 3600, 4000

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

if #KEYS ~= 8 or #ARGV ~= 7 or not max_recoveries or max_recoveries < 1 or not limit or limit < 1 then
    return redis.error_reply('BADARG reap')
end
local known = redis.call('HGET', fenced, id)
if redis.call('HEXISTS', owners, id) == 1 or known ~= format and known ~= format .. ' shared' then
    return redis.error_reply('BADARG not a fenced owner of this format')
end
for key, kind in pairs({ [recoveries] = 'hash', [queues] = 'set', [batch] = 'list',
                         [queue] = 'list' }) do
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
        return redis.error_reply('BADTYPE ' .. key)
    end
end
local entry = redis.call('HGET', batches, seq)
if not entry then
    return { 0, 0, {} }
end
local token, of = entry:match('^(%d+) %d+ (.*)$')
if of ~= name then
    return redis.error_reply('BADARG the batch is of another queue')
end

local some = redis.call('LRANGE', batch, -math.min(limit, UNPACK / 2), -1)
local left = redis.call('LLEN', batch) - #some
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)

local live = left
for _, entry in ipairs(some) do
    live = live + (entry ~= id and 1 or 0)
end
local alone = ARGV[7] == '1' and live == 1 and known == format

-- The counts before and after, and where each live job goes; the youngest first.
local back, buried, before, after = {}, {}, {}, {}
for i = #some, 1, -1 do
    if some[i] ~= id then
        local digest = redis.sha1hex(some[i])
        if not after[digest] then
            before[digest] = redis.call('HGET', recoveries, digest) or ''
            local n, owner = before[digest]:match('^(%d+) ?(.*)$')
            local n_after = (tonumber(n) or 0) + (owner == id and 0 or 1)
            if n_after >= max_recoveries and not alone then
                n_after = tonumber(n) or 0
            end
            after[digest] = n_after
        end
        if alone and after[digest] >= max_recoveries then
            buried[#buried + 1] = { bytes = some[i], number = tonumber(token) + left + i - 1 }
        else
            back[#back + 1] = some[i]
        end
    end
end

-- The same job under bytes that no other has: JSON's blanks, the digits of a number.
local function distinct(bytes, number)
    local parts = { bytes }
    while number > 0 do
        parts[#parts + 1] = number % 2 == 1 and '\t' or ' '
        number = math.floor(number / 2)
    end
    return table.concat(parts)
end

local function count()
    local words = {}
    for digest, n in pairs(after) do
        if n > (tonumber(before[digest]:match('^%d+')) or 0) then
            words[#words + 1] = digest
            words[#words + 1] = n .. ' ' .. id
        end
    end
    if #words == 0 then
        return nil
    end
    local reply = redis.pcall('HSET', recoveries, unpack(words))
    return failed(reply) and reply or redis.pcall('EXPIRE', recoveries, THREE_DAYS)
end

local function count_back()
    for digest, n in pairs(before) do
        if n == '' then
            redis.pcall('HDEL', recoveries, digest)
        else
            redis.pcall('HSET', recoveries, digest, n)
        end
    end
end

local function bury(job)
    local reply = redis.pcall('ZADD', dead, 'NX', now, job.bytes)
    if reply == 0 then
        job.bytes = distinct(job.bytes, job.number)
        reply = redis.pcall('ZADD', dead, 'NX', now, job.bytes)
    end
    job.added = reply == 1
    return reply
end

local function put_back()
    local reply = redis.pcall('SADD', queues, name)
    return failed(reply) and reply or redis.pcall('RPUSH', queue, unpack(back))
end

local pushed = false

local function move()
    local reply = count()
    for _, job in ipairs(buried) do
        reply = failed(reply) and reply or bury(job)
    end
    if not failed(reply) and #back > 0 then
        reply = put_back()
        pushed = not failed(reply)
    end
    if failed(reply) then
        return reply
    end
    return left > 0 and redis.pcall('LTRIM', batch, 0, left - 1) or redis.pcall('DEL', batch)
end

local function undo()
    if pushed then
        redis.pcall('RPOP', queue, #back)
    end
    for _, job in ipairs(buried) do
        if job.added then
            redis.pcall('ZREM', dead, job.bytes)
        end
    end
    count_back()
end

-- A write that changes nothing: it fails if HDEL is not permitted, and it is allowed when Redis is
-- full; those after it are then, too.
redis.call('HDEL', batches, '')
local reply = move()
if failed(reply) then
    undo()
    return reply
end
if not alone and live > 0 then
    redis.pcall('HSET', fenced, id, format .. ' shared')
end
if left == 0 then
    redis.pcall('HDEL', batches, seq)
end
local told = {}
for _, job in ipairs(buried) do
    told[#told + 1] = string.format('%.0f', job.number)
    told[#told + 1] = job.bytes
end
return { left, #back, told }
