-- Notes when a pass of the sync begins and ends, and what it has copied.
--
-- Changes nothing where no lease has the token: a pass that was frozen tells nothing when it wakes.
--
-- KEYS
--   1 store:meta   2 lease:leader   3 lease:sync   4 totals:sync
--
-- ARGV
--   1 schema   2 token
--   3 begin, copied, end or success   4 µs that it took, of success alone
--   5 … of each table its name and the rows that were copied into it
--
-- Returns 1, or -1 where the lease is another's or the schema is newer.

local call, format = redis.call, string.format

local function int(number) return format('%.0f', number) end

local schema, token, what = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > schema then return -1 end
if call('HGET', KEYS[2], 'token') ~= token and call('HGET', KEYS[3], 'token') ~= token then
  return -1
end
local time = call('TIME')
local now_ms = int(time[1] * 1000 + math.floor(time[2] / 1000))

if what == 'begin' then
  call('HSET', KEYS[4], 'began_ms', now_ms)
  call('HDEL', KEYS[4], 'ended_ms')
elseif what ~= 'copied' then
  call('HSET', KEYS[4], 'ended_ms', now_ms)
end
if what == 'success' then
  call('HSET', KEYS[4], 'success_ms', now_ms, 'duration_us', int(tonumber(ARGV[4]) or 0))
end
for at = 5, #ARGV, 2 do
  call('HINCRBY', KEYS[4], 'rows:' .. ARGV[at], int(tonumber(ARGV[at + 1]) or 0))
end
return 1
