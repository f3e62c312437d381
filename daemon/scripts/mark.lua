-- SPDX-License-Identifier: MIT
-- mark: what operators have cancelled, or which classes have crashed, for every claim, promotion and
-- beat, or for every beat, to see.
-- KEYS cancelled or faulted
-- ARGV ttl (seconds; 0 takes the marks away), then marks: jid:JID, token:TOKEN or class:CLASS
-- → the generation: µs, it grows with each change; "0" if there is no mark
--
-- No fence: operators leave marks, who are no owners; and that a class has crashed is as true when a daemon
-- says it that has been fenced meanwhile. A mark touches no job.
--
-- A mark's value is the time at which it ends, in seconds; the key ends with the last of them.

local MAX = 4000
local key, ttl = KEYS[1], tonumber(ARGV[1])

if #KEYS ~= 1 or #ARGV < 2 or #ARGV > MAX or not ttl or ttl < 0 or ttl > 2 ^ 31 then
    return redis.error_reply('BADARG mark')
end
for i = 2, #ARGV do
    if not ARGV[i]:find('^jid:.') and not ARGV[i]:find('^token:%d+$')
        and not ARGV[i]:find('^class:.') then
        return redis.error_reply('BADARG mark ' .. i - 1)
    end
end

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local all, marks, over = redis.call('HGETALL', key), {}, {}
local last, count = '0', 0
for i = 1, #all, 2 do
    if all[i] == 'generation' then
        last = all[i + 1]
    elseif tonumber(all[i + 1]) <= now then
        over[#over + 1] = all[i]
    else
        marks[all[i]] = tonumber(all[i + 1])
        count = count + 1
    end
end

local ends = string.format('%.0f', math.ceil(now + ttl))
local words, away = {}, {}
for i = 2, #ARGV do
    if ttl == 0 and marks[ARGV[i]] then
        away[#away + 1], marks[ARGV[i]] = ARGV[i], nil
    elseif ttl > 0 then
        count = count + (marks[ARGV[i]] and 0 or 1)
        words[#words + 1], words[#words + 2] = ARGV[i], ends
    end
end
if #words == 0 and #away == 0 then
    return last
elseif count > MAX then
    return redis.error_reply('BADARG more than ' .. MAX .. ' marks')
end

-- Some at a time: Lua's stack is small.
local function remove(names)
    for i = 1, #names, MAX do
        redis.call('HDEL', key, unpack(names, i, math.min(i + MAX - 1, #names)))
    end
end

local lasting = tonumber(ends)
for _, at in pairs(marks) do
    lasting = math.max(lasting, at)
end
local generation = math.max(tonumber(last) + 1, time[1] * 1000000 + time[2])
generation = string.format('%.0f', generation)

-- A write that changes nothing: it fails if HDEL is not permitted, and it is allowed when Redis is
-- full; those after it are then, too.
redis.call('HDEL', key, '')
redis.call('EXPIRE', key, math.ceil(lasting - now) + 1) -- it may not be there yet
redis.call('HSET', key, 'generation', generation)
remove(over) -- before they are set anew
for i = 1, #words, MAX do
    redis.call('HSET', key, unpack(words, i, math.min(i + MAX - 1, #words)))
end
redis.call('EXPIRE', key, math.ceil(lasting - now) + 1)
remove(away)
return generation
