-- SPDX-License-Identifier: MIT
-- claim: moves jobs from their queues into batches of the caller, each under a token of its own.
--
-- KEYS token owners batches:ID paused recoveries, then per queue: queue front batch:ID:SEQ, then
--      cancelled
-- ARGV ID max_jobs max_bytes, then per queue: NAME SEQ limit, then generation
-- → [TIME µs, [place, TOKEN, state, [RAW…], [recoveries…]], …]
--
-- If the generation of what is cancelled is not the caller's, the last row is
-- [0, generation, 'cancelled', [field, value…], []].
--
-- It first reads, and decides for all queues; then it writes. A queue that cannot be read or
-- written is a row with the error's text and keeps its jobs; the others go on. Of a queue, the
-- index and the batch are written before the jobs are cut off from where they were, and taken back
-- if that fails. Jobs are read a few at a time, so that no more than that is read beyond the
-- bounds.

local CHUNK, UNPACK = 64, 4000
local call, pcall = redis.call, redis.pcall
local token_key, owners, batches, paused, recoveries = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id = ARGV[1]

local function whole(text)
    local n = tonumber(text)
    return n and n >= 0 and n < 2 ^ 53 and n == math.floor(n) and n or nil
end

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

local max_jobs, max_bytes = whole(ARGV[2]), whole(ARGV[3])
local queues = (#KEYS - 6) / 3
if not max_jobs or not max_bytes or queues < 1 or queues > UNPACK - 3
    or queues ~= math.floor(queues) or #ARGV ~= 4 + 3 * queues then
    return redis.error_reply('BADARG claim')
end
for q = 1, queues do
    if not whole(ARGV[3 * q + 3]) then
        return redis.error_reply('BADARG the limit of queue ' .. q)
    end
end
if call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

-- Most of the time none of these is there: one question spares many.
local cancelled = KEYS[#KEYS]
local rare = { paused, recoveries, cancelled }
for q = 1, queues do
    rare[q + 3] = KEYS[3 * q + 4]
end
local all_usual = call('EXISTS', unpack(rare)) == 0
local counting = not all_usual and call('HLEN', recoveries) > 0
local generation = not all_usual and call('HGET', cancelled, 'generation') or '0'
local marks = generation ~= ARGV[#ARGV] and call('HGETALL', cancelled)

local bytes, largest, full = 0, 0, false

-- Reads from the right end of a list, after `jobs` that the caller has from elsewhere. Returns how
-- many it added to them, or an error reply. What is counted for each job is local and not asked of
-- the table: `#jobs` is a search.
local function read(key, jobs, limit, first)
    local before, sum, most = #jobs, bytes, largest
    local have = before
    while have < limit and not full do
        local n = math.min(most == 0 and CHUNK / 2 or CHUNK, limit - have)
        if most * n > max_bytes - sum then
            n = math.max(1, math.floor((max_bytes - sum) / most))
        end
        local some = pcall('LRANGE', key, before - have - n, before - have - 1)
        if some.err then
            return some
        end
        local count = #some
        for i = count, 1, -1 do
            local job = some[i]
            local size = #job
            if sum + size > max_bytes and not (first and have == 0) then
                full = true
                break
            end
            have, sum = have + 1, sum + size
            jobs[have] = job
            if size > most then
                most = size
            end
        end
        if count < n then
            break
        end
    end
    bytes, largest = sum, most
    return have - before
end

-- How often each job was recovered, or an error reply.
local function recovered(jobs)
    local counts = {}
    for i = 1, counting and #jobs or 0, UNPACK do
        local digests = {}
        for j = i, math.min(i + UNPACK - 1, #jobs) do
            digests[#digests + 1] = redis.sha1hex(jobs[j])
        end
        local some = pcall('HMGET', recoveries, unpack(digests))
        if some.err then
            return some
        end
        for j = 1, #digests do
            counts[#counts + 1] = tonumber((some[j] or '0'):match('^%d+')) or 0
        end
    end
    return counts
end

-- What to take from queue q: a row, or nil if there is nothing.
local function decide(q, left, first)
    local queue, front = KEYS[3 * q + 3], KEYS[3 * q + 4]
    local row = { q = q, state = 'ok', jobs = {}, counts = {} }
    local limit, before = math.min(left, tonumber(ARGV[3 * q + 3])), bytes
    if not all_usual and call('SISMEMBER', paused, ARGV[3 * q + 1]) == 1 then
        row.state = 'paused'
        return row
    end
    local from_front = all_usual and 0 or read(front, row.jobs, limit, first)
    local from_queue = failed(from_front) and from_front or read(queue, row.jobs, limit, first)
    local counts = failed(from_queue) and from_queue or recovered(row.jobs)
    if counts.err then
        row.state, row.jobs, bytes = counts.err, {}, before
        return row
    end
    if #row.jobs == 0 then
        return nil
    end
    row.from_front, row.from_queue, row.counts = from_front, from_queue, counts
    return row
end

-- Appends the jobs to a list: nil or an error reply, and how many the list has got before that. A
-- batch must be new: places in it count.
local function push(key, jobs, new)
    for i = 1, #jobs, UNPACK do
        local last = math.min(i + UNPACK - 1, #jobs)
        local reply = pcall('RPUSH', key, unpack(jobs, i, last))
        if failed(reply) then
            return reply, i - 1
        elseif new and reply ~= last then
            return { err = 'BADARG the batch exists' }, last
        end
    end
    return nil, #jobs
end

-- Cuts the jobs off from where they were: nil or an error reply, with all of them still there.
local function cut(row, queue, front)
    local reply = row.from_front > 0 and pcall('LTRIM', front, 0, -row.from_front - 1)
    if failed(reply) then
        return reply
    end
    reply = row.from_queue > 0 and pcall('LTRIM', queue, 0, -row.from_queue - 1)
    if failed(reply) then
        local back = {}
        for i = row.from_front, 1, -1 do
            back[#back + 1] = row.jobs[i]
        end
        push(front, back)
        return reply
    end
end

-- Moves the jobs of a row: nil or an error reply, with all of them where they were.
local function move(row, token)
    local queue, front, batch = KEYS[3 * row.q + 3], KEYS[3 * row.q + 4], KEYS[3 * row.q + 5]
    local seq = ARGV[3 * row.q + 2]
    local entry = token .. ' ' .. #row.jobs .. ' ' .. ARGV[3 * row.q + 1]
    local reply = pcall('HSETNX', batches, seq, entry)
    if failed(reply) or reply == 0 then
        return failed(reply) and reply or { err = 'BADARG the SEQ is in use' }
    end
    local pushed
    reply, pushed = push(batch, row.jobs, true)
    reply = reply or cut(row, queue, front)
    if reply then
        pcall('RPOP', batch, pushed)
        pcall('HDEL', batches, seq)
    end
    return reply
end

local rows, total = {}, 0
for q = 1, queues do
    if total >= max_jobs or full then
        break
    end
    local row = decide(q, max_jobs - total, total == 0)
    if row then
        rows[#rows + 1] = row
        total = total + #row.jobs
    end
end

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local result = { string.format('%.0f', now) }
local token = now
if total > 0 then
    local last = whole(call('GET', token_key) or '0')
    if not last then
        return redis.error_reply('BADTYPE the last token is no number')
    end
    token = math.max(last + 1, now)
    last = string.format('%.0f', token + total - 1)
    if failed(pcall('SET', token_key, last)) then
        -- A write that changes nothing and is allowed when Redis is full; those after it are then,
        -- too, so that a full Redis can be emptied.
        call('HDEL', batches, '')
        call('SET', token_key, last)
    end
end

for _, row in ipairs(rows) do
    local mine = string.format('%.0f', token)
    local reply = #row.jobs > 0 and move(row, mine)
    if reply then
        row.state, row.jobs, row.counts = reply.err, {}, {}
    end
    result[#result + 1] = { row.q, mine, row.state, row.jobs, row.counts }
    token = token + #row.jobs
end
if marks then
    result[#result + 1] = { 0, generation, 'cancelled', marks, {} }
end
return result
