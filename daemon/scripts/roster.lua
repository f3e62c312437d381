-- SPDX-License-Identifier: MIT
-- roster: writes what dashboards read: commands on one key each, one after the other.
--
-- KEYS processes, then any  ARGV per operation: place of its key, COMMAND, n, n arguments
-- → the error of each that failed
--
-- No operation depends on another, and all are repeated sooner or later.

local errors, at = {}, 1

if #KEYS < 1 then
    return redis.error_reply('BADARG roster')
end
-- A write that changes nothing and is allowed when Redis is full; those after it are then, too.
redis.call('SREM', KEYS[1], '')
while at <= #ARGV do
    local key, count = KEYS[tonumber(ARGV[at]) or 0], tonumber(ARGV[at + 2])
    if not key or not count or count < 0 or count > 4000 or at + 2 + count > #ARGV then
        return redis.error_reply('BADARG operation at ' .. at)
    end
    local reply = redis.pcall(ARGV[at + 1], key, unpack(ARGV, at + 3, at + 2 + count))
    if type(reply) == 'table' and reply.err then
        errors[#errors + 1] = reply.err
    end
    at = at + 3 + count
end
return errors
