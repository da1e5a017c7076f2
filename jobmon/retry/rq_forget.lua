-- Deletes what RQ keeps of a job that is among its failed ones.
--
-- KEYS and ARGV as of rq_push.lua, of the arguments the first alone.
--
-- Returns 1, or 0 and changes nothing: it is not, because it was run again or has expired.

if redis.call('ZREM', KEYS[4], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1], KEYS[10], KEYS[11])
return 1
