-- Notes how many jobs the queues of an engine hold, or that its broker could not be read.
--
-- Changes nothing where the leader's lease has another token: a server that was frozen while it
-- read tells nothing old when it wakes.
--
-- KEYS
--   1 store:meta   2 lease:leader   3 totals:recorder   4 queues:depth:<engine>
--   5 queues:polled:<engine>
--
-- ARGV
--   1 schema   2 token   3 engine
--   4 the queues, as JSON; empty: the broker could not be read
--   5 ms for which that holds   6 s for which it is known when that was
--
-- Returns 1, or -1 where the lease is another's or the schema is newer.

local call, format = redis.call, string.format

if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > tonumber(ARGV[1]) then return -1 end
if call('HGET', KEYS[2], 'token') ~= ARGV[2] then return -1 end
if ARGV[4] == '' then
  call('HINCRBY', KEYS[3], 'queue_errors:' .. ARGV[3], 1)
  return 1
end
local time = call('TIME')
call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5])
call('SET', KEYS[5], format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), 'EX', ARGV[6])
return 1
