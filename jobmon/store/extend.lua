-- Keeps what is unsynced until a moment of its own, never for less long than it would live.
--
-- Changes nothing where no lease has the token. Called twice, it changes nothing more.
--
-- KEYS
--   1 store:meta   2 lease:leader   3 lease:sync   4 runs:open
--   5 … of each run: command:metrics:<command>:<processId>, command:<processId>:jobs, :attempts,
--       :unsynced
--       of each job without one: job:metrics:<jobId>, job:attempts:<jobId>,
--       command:<processId>:manual
--
-- ARGV
--   1 schema   2 token
--   3 … of each: run or job, Unix ms until which its keys shall live
--
-- Returns how many live longer now, or -1 where the lease is another's or the schema is newer.

local call, format = redis.call, string.format

local schema, token = tonumber(ARGV[1]), ARGV[2]
if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > schema then return -1 end
if call('HGET', KEYS[2], 'token') ~= token and call('HGET', KEYS[3], 'token') ~= token then
  return -1
end
call('ZCARD', KEYS[4])
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Without an expiry, or not there: not of ours to change.
local function is_due(key, until_ms)
  local left = call('PTTL', key)
  return left >= 0 and now_ms + left < until_ms
end

local extended, next_key = 0, 5
for at = 3, #ARGV, 2 do
  local key, until_ms = KEYS[next_key], tonumber(ARGV[at + 1])
  local moment = format('%.0f', until_ms)
  local due = is_due(key, until_ms)
  if ARGV[at] == 'run' then
    if due then
      -- All keys of a run end in the same instant.
      for place = next_key, next_key + 3 do call('PEXPIREAT', KEYS[place], moment) end
      call('ZADD', KEYS[4], 'XX', 'GT', moment, key)
    end
    next_key = next_key + 4
  else
    if due then
      call('PEXPIREAT', key, moment)
      call('PEXPIREAT', KEYS[next_key + 1], moment)
      if is_due(KEYS[next_key + 2], until_ms) then call('PEXPIREAT', KEYS[next_key + 2], moment) end
    end
    next_key = next_key + 3
  end
  if due then extended = extended + 1 end
end
return extended
