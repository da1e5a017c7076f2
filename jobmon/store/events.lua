-- Adds an event to the stream unless it was added before, and tells who is subscribed.
--
-- KEYS
--   1 anomalies:events   2 anomalies:added
--
-- ARGV
--   1 id of the event   2 the event as JSON   3 entries of the stream, about
--   4 ms for which ids are remembered         5 ids that are remembered, at most
--
-- The channel has the name of the stream.
-- Returns 1, or 0 where the event is there already, or was.

local call = redis.call

if call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- The first command that writes is one that an out-of-memory server refuses.
call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'id', ARGV[1], 'event', ARGV[2])
call('ZADD', KEYS[2], string.format('%.0f', now_ms), ARGV[1])
call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now_ms - ARGV[4]))
call('ZREMRANGEBYRANK', KEYS[2], 0, -ARGV[5] - 1)
-- A user without this channel may still add: who is not told finds it in the stream.
redis.pcall('PUBLISH', KEYS[1], ARGV[2])
return 1
