-- SPDX-License-Identifier: MIT
-- absolve: an owner that was fenced lives: the recoveries that were counted as its death are not.
-- KEYS recoveries  ARGV ID digest…(1,000 at most)  → how many counts were taken back
--
-- What is left of a count is nobody's, so that a repeated call changes nothing.

local recoveries, id = KEYS[1], ARGV[1]

if #KEYS ~= 1 or #ARGV < 2 or #ARGV > 1001 then
    return redis.error_reply('BADARG absolve')
end

local fewer, none, taken = {}, {}, 0
for i, entry in ipairs(redis.call('HMGET', recoveries, unpack(ARGV, 2))) do
    local n, owner = (entry or ''):match('^(%d+) (.*)$')
    if owner == id then
        taken = taken + 1
        if tonumber(n) > 1 then
            fewer[#fewer + 1] = ARGV[i + 1]
            fewer[#fewer + 1] = n - 1
        else
            none[#none + 1] = ARGV[i + 1]
        end
    end
end

-- A write that changes nothing: it fails if HDEL is not permitted, and it is allowed when Redis is
-- full; those after it are then, too. So only HSET can fail, before anything has been written.
redis.call('HDEL', recoveries, '')
if #fewer > 0 then
    redis.call('HSET', recoveries, unpack(fewer))
end
if #none > 0 then
    redis.call('HDEL', recoveries, unpack(none))
end
return taken
