-- SPDX-License-Identifier: MIT
-- retire: an owner that holds nothing any more leaves for good.
-- KEYS owners beat batches:ID  ARGV ID  → 1 = gone, 0 = it still holds batches

local owners, beat, batches, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]

if #KEYS ~= 3 or #ARGV ~= 1 then
    return redis.error_reply('BADARG retire')
end
if redis.call('HEXISTS', owners, id) == 0 then
    return redis.error_reply('FENCED ' .. id)
end
if redis.call('HLEN', batches) > 0 then
    return 0
end
redis.call('HLEN', beat) -- its type, before the first write
redis.call('HDEL', owners, id)
redis.call('HDEL', beat, id)
return 1
