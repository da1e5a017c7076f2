-- Counts incidents that have opened, once, whoever counts how often.
--
-- What is counted is known by the number of the last event that was: where it is no longer the
-- one that the caller began with, somebody else has counted.
--
-- KEYS
--   1 totals:analysis
--
-- ARGV
--   1 field of that number   2 the number before, empty: there was none   3 the number after
--   4 … of each kind its field and how many to add
--
-- Returns 1, or 0 where somebody else has counted.

local call = redis.call

if (call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
for at = 4, #ARGV, 2 do call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1]) end
return 1
