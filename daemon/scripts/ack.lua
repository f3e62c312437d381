-- SPDX-License-Identifier: MIT
-- ack: batches all of whose jobs have succeeded are gone.
--
-- KEYS owners batches:ID batch…  ARGV ID SEQ…
-- → one for each batch: 1 = it was there and is gone, 0 = it was not there, or an error: it is as it
--   was

local owners, batches, id = KEYS[1], KEYS[2], ARGV[1]

local function failed(reply)
    return type(reply) == 'table' and reply.err ~= nil
end

if #KEYS < 3 or #ARGV ~= #KEYS - 1 then
    return redis.error_reply('BADARG ack')
end
if redis.call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end

local function ack(batch, seq)
    local entry = redis.call('HGET', batches, seq)
    if not entry then
        return 0
    end
    local reply = redis.pcall('LLEN', batch) -- its type, before the first write
    if failed(reply) then
        return reply
    end
    redis.call('HDEL', batches, seq)
    reply = redis.pcall('DEL', batch)
    if failed(reply) then
        redis.pcall('HSET', batches, seq, entry)
        return reply
    end
    return 1
end

local result = {}
for i = 2, #ARGV do
    result[i - 1] = ack(KEYS[i + 1], ARGV[i])
end
return result
