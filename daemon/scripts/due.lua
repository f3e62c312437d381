-- SPDX-License-Identifier: MIT
-- due: the members of a set whose time has come, for one promoter at a time.
--
-- KEYS promoter set cancelled  ARGV ID LOCK_MS limit max_bytes generation
-- → [TIME µs, score of the first member that is not in this reply, or "", marks, RAW, SCORE, …];
--   empty if another ID holds the lock. Marks: [], and if the generation of what is cancelled is not
--   the caller's: [generation, [field, value…]]
--
-- Members are read a few at a time, so that no more than that is read beyond the bounds; one is
-- given however large it is.

local CHUNK = 32
local promoter, set, cancelled, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local lock, limit, max_bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

if #KEYS ~= 3 or #ARGV ~= 5 or not lock or lock < 1 or not limit or limit < 1 or not max_bytes then
    return redis.error_reply('BADARG due')
end
redis.call('ZCARD', set) -- its type, before the first write
local generation = redis.call('HGET', cancelled, 'generation') or '0'
local marks = generation ~= ARGV[5] and { generation, redis.call('HGETALL', cancelled) } or {}
local holder = redis.call('GET', promoter)
if holder and holder ~= id then
    return {}
end
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1000000)
-- Allowed when Redis is full; then the write after it is, too.
redis.call('PEXPIRE', promoter, ARGV[2])
if not holder then
    redis.call('SET', promoter, id, 'PX', ARGV[2])
end

local result = { string.format('%.0f', time[1] * 1000000 + time[2]), '', marks }
local taken, bytes, largest = 0, 0, 0

local function take(some)
    for i = 1, #some, 2 do
        local size = #some[i]
        if taken > 0 and bytes + size > max_bytes then
            return false
        end
        bytes, largest, taken = bytes + size, math.max(largest, size), taken + 1
        result[#result + 1] = some[i]
        result[#result + 1] = some[i + 1]
    end
    return true
end

repeat
    local n = math.min(largest == 0 and 8 or CHUNK, limit - taken)
    if largest > 0 then
        n = math.min(n, math.max(1, math.floor((max_bytes - bytes) / largest)))
    end
    local some = redis.call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', taken, n, 'WITHSCORES')
    local more = take(some) and #some == 2 * n
until not more or taken >= limit

-- What is due has the lowest ranks.
result[2] = redis.call('ZRANGE', set, taken, taken, 'WITHSCORES')[2] or ''
return result
