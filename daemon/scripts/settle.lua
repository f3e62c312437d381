-- SPDX-License-Identifier: MIT
-- settle: the fate of single jobs of the caller's batches.
--
-- KEYS owners batches:ID retry dead queues, then the batches, then the queues
-- ARGV ID n_batches SEQ…(one per batch), then per operation: batch# index action last, and
--      for `zadd`: set score payload (empty: the entry's own bytes)
--      for `push`: queue# NAME
-- → one for each operation: 1 = done, 0 = settled before, or its batch is gone, or an error (not
--   done)
--
-- An operation writes the destination, then marks the entry with ID; if that fails, it takes the
-- destination back. A batch for which `last` was said is looked through at the end, and deleted if
-- no entry of it is live.

local owners, batches, queues = KEYS[1], KEYS[2], KEYS[5]
local sets = { retry = KEYS[3], dead = KEYS[4] }
local id = ARGV[1]

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

local function whole(text)
    local n = tonumber(text)
    return n and n >= 0 and n < 2 ^ 53 and n == math.floor(n) and n or nil
end

local function is(key, kind)
    local found = redis.call('TYPE', key).ok
    return found == kind or found == 'none'
end

local n_batches = whole(ARGV[2])
local n_queues = n_batches and #KEYS - 5 - n_batches
if not n_batches or n_batches < 1 or n_queues < 0 then
    return redis.error_reply('BADARG settle')
end

-- The next operation at ARGV[at] and where the one after it begins; nil if it is no operation.
local function parse(at)
    local op = { batch = whole(ARGV[at]), index = whole(ARGV[at + 1]), action = ARGV[at + 2],
                 last = ARGV[at + 3] == '1' }
    if not ARGV[at + 3] or not op.index or not op.batch or op.batch < 1 or op.batch > n_batches then
        return nil
    end
    if op.action == 'done' then
        return op, at + 4
    elseif op.action == 'zadd' then
        op.set, op.score, op.payload = sets[ARGV[at + 4]], ARGV[at + 5], ARGV[at + 6]
        return op.set and op.payload and tonumber(op.score) and op, at + 7
    elseif op.action == 'push' then
        local queue = whole(ARGV[at + 4])
        op.name = ARGV[at + 5]
        op.queue = queue and queue >= 1 and KEYS[5 + n_batches + queue]
        return op.queue and op.name and op, at + 6
    end
end

local ops, at = {}, 3 + n_batches
while at <= #ARGV do
    local op, after = parse(at)
    if not op then
        return redis.error_reply('BADARG operation ' .. #ops + 1)
    end
    ops[#ops + 1], at = op, after
end
if redis.call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

local tokens, bad = {}, {}
for b = 1, n_batches do
    if not is(KEYS[5 + b], 'list') then
        bad[b] = { err = 'BADTYPE ' .. KEYS[5 + b] }
    end
    local entry = redis.call('HGET', batches, ARGV[2 + b])
    tokens[b] = entry and tonumber(entry:match('^%d+'))
end

-- The same job under bytes that no other has: JSON's blanks, the digits of a number. Two equal jobs
-- must not become one member of a set.
local function distinct(bytes, number)
    local parts = { bytes }
    while number > 0 do
        parts[#parts + 1] = number % 2 == 1 and '\t' or ' '
        number = math.floor(number / 2)
    end
    return table.concat(parts)
end

-- Each destination returns 1 or an error reply, and what takes it back.
local destination = {}

function destination.done()
    return 1, function() end
end

function destination.zadd(op, bytes)
    if not is(op.set, 'zset') then
        return { err = 'BADTYPE ' .. op.set }
    end
    local payload = op.payload ~= '' and op.payload or bytes
    local added = redis.pcall('ZADD', op.set, 'NX', op.score, payload)
    if added == 0 then
        payload = distinct(payload, tokens[op.batch] + op.index)
        added = redis.pcall('ZADD', op.set, 'NX', op.score, payload)
    end
    return added, function()
        redis.pcall('ZREM', op.set, payload)
    end
end

function destination.push(op, bytes)
    if not is(op.queue, 'list') then
        return { err = 'BADTYPE ' .. op.queue }
    end
    local reply = redis.pcall('SADD', queues, op.name)
    if not failed(reply) then
        reply = redis.pcall('RPUSH', op.queue, bytes)
    end
    return failed(reply) and reply or 1, function()
        redis.pcall('RPOP', op.queue)
    end
end

local function settle(op)
    if bad[op.batch] then
        return bad[op.batch]
    end
    local batch = KEYS[5 + op.batch]
    local bytes = tokens[op.batch] and redis.call('LINDEX', batch, op.index)
    if not bytes or bytes == id then
        return 0
    end
    local reply, undo = destination[op.action](op, bytes)
    if reply ~= 1 then
        return reply
    end
    local marked = redis.pcall('LSET', batch, op.index, id)
    if failed(marked) then
        undo()
        return marked
    end
    return 1
end

-- A batch without live entries is nothing but its own record; what fails here is left to the
-- reaper.
local function sweep(b)
    local entries = redis.pcall('LRANGE', KEYS[5 + b], 0, -1)
    for _, entry in ipairs(entries) do
        if entry ~= id then
            return
        end
    end
    if entries.err then
        return
    end
    if not failed(redis.pcall('DEL', KEYS[5 + b])) then
        redis.pcall('HDEL', batches, ARGV[2 + b])
    end
end

-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('HDEL', batches, '')

local result, ended = {}, {}
for i, op in ipairs(ops) do
    result[i] = settle(op)
    ended[op.batch] = ended[op.batch] or op.last
end
for b = 1, n_batches do
    if ended[b] and tokens[b] and not bad[b] then
        sweep(b)
    end
end
return result
