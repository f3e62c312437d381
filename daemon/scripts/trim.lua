-- SPDX-License-Identifier: MIT
-- trim: drops the oldest members of dead that are too many or too old.
-- KEYS dead  ARGV max_jobs max_age now limit (0 = no such bound)  → the members that were removed

local dead = KEYS[1]
local max_jobs, max_age = tonumber(ARGV[1]), tonumber(ARGV[2])
local now, limit = tonumber(ARGV[3]), tonumber(ARGV[4])

if #KEYS ~= 1 or not max_jobs or not max_age or not now or not limit or limit < 1 then
    return redis.error_reply('BADARG trim')
end
local count = 0
if max_jobs > 0 then
    count = redis.call('ZCARD', dead) - max_jobs
end
if max_age > 0 then
    local oldest = string.format('%.6f', now - max_age)
    count = math.max(count, redis.call('ZCOUNT', dead, '-inf', '(' .. oldest))
end
count = math.min(count, limit, 4000)
if count < 1 then
    return {}
end
local members = redis.call('ZRANGE', dead, 0, count - 1)
redis.call('ZREM', dead, unpack(members))
return members
