-- SPDX-License-Identifier: MIT
-- ack: batches all of whose jobs have succeeded are gone.
--
-- KEYS owners batches:ID batch…  ARGV ID SEQ…
-- → one integer for each batch: 1 = it was there and is gone, 0 = it was not there

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

local result = {}
for i = 2, #ARGV do
    local entry = redis.call('HGET', batches, ARGV[i])
    if entry then
        redis.call('LLEN', KEYS[i + 1]) -- its type, before the first write
        redis.call('HDEL', batches, ARGV[i])
        local reply = redis.pcall('DEL', KEYS[i + 1])
        if failed(reply) then
            redis.pcall('HSET', batches, ARGV[i], entry)
            return reply
        end
    end
    result[i - 1] = entry and 1 or 0
end
return result
