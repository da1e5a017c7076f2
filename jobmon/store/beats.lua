-- Takes the beats of one process: who lives, and when it was last seen to move.
--
-- A beat that arrives late or twice changes nothing for the worse: the newest moment stands.
--
-- KEYS
--   1 store:meta         2 totals:recorder
--   3 workers            4 workers:beats       5 workers:lost
--   6 schedulers         7 schedulers:beats
--   8 runs:beats         9 commands:running
--  10 schedules         11 schedules:seen    12 jobs:known
--
-- ARGV
--   1 schema   2 most workers   3 most schedulers   4 most entries of schedules
--   5 most known jobs
--   6 ms after its last beat at which a worker or a known job is forgotten
--   7 ms after its last beat at which a scheduler or an entry is forgotten
--   8 ms after which an entry or a known job that nobody told again gives way to a new one
--   9 … for each beat: kind, id, age in ms, '1' where it is gone, body
--
-- Returns {taken, refused, id of each run that the store does not hold as running, …}, or
-- {-1, schema} and changes nothing when the store's schema is newer.

local call, format = redis.call, string.format
local max = math.max

local TRIM_LIMIT = 200
local FIRST_BEAT, PARTS = 9, 5

local function int(number) return format('%.0f', number) end

local schema = tonumber(ARGV[1])
local stored_schema = tonumber(call('HGET', KEYS[1], 'schema')) or 0
if stored_schema > schema then return {-1, stored_schema} end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local KINDS = {
  worker = {
    bodies = KEYS[3], beats = KEYS[4], lost = KEYS[5],
    most = tonumber(ARGV[2]), kept_ms = tonumber(ARGV[6])
  },
  scheduler = {
    bodies = KEYS[6], beats = KEYS[7], most = tonumber(ARGV[3]), kept_ms = tonumber(ARGV[7])
  },
  schedule = {
    bodies = KEYS[10], beats = KEYS[11], most = tonumber(ARGV[4]), kept_ms = tonumber(ARGV[7]),
    stale_ms = tonumber(ARGV[8])
  },
  job = {
    beats = KEYS[12], most = tonumber(ARGV[5]), kept_ms = tonumber(ARGV[6]),
    stale_ms = tonumber(ARGV[8])
  }
}

-- Every key is touched by a typed read, so that a key of another type stops the call here.
call('HLEN', KEYS[2])
for _, kind in pairs(KINDS) do
  if kind.bodies then call('HLEN', kind.bodies) end
  call('ZCARD', kind.beats)
  if kind.lost then call('ZCARD', kind.lost) end
end
call('ZCARD', KEYS[8])
call('HLEN', KEYS[9])

-- The first command that writes is one that an out-of-memory server refuses.
call('HSET', KEYS[1], 'schema', schema)

local function forget(kind, ids)
  if #ids == 0 then return end
  if kind.bodies then call('HDEL', kind.bodies, unpack(ids)) end
  call('ZREM', kind.beats, unpack(ids))
  if kind.lost then call('ZREM', kind.lost, unpack(ids)) end
end

-- Room for a new one: what has been lost or silent longest gives way, never what beats.
local function admit(name, kind, id)
  if call('ZSCORE', kind.beats, id) then return true end
  if call('ZCARD', kind.beats) < kind.most then return true end
  local oldest = {}
  if kind.lost then
    oldest = call('ZRANGE', kind.lost, 0, 0)
  elseif kind.stale_ms then
    oldest = call(
      'ZRANGEBYSCORE', kind.beats, '-inf', int(now_ms - kind.stale_ms), 'LIMIT', 0, 1
    )
  end
  if #oldest == 0 then
    if kind.bodies then call('HINCRBY', KEYS[2], 'overflow:' .. name, 1) end
    return false
  end
  forget(kind, oldest)
  return true
end

local taken, missing = 0, {}
local refused = 0
for at = FIRST_BEAT, #ARGV, PARTS do
  local name, id, body = ARGV[at], ARGV[at + 1], ARGV[at + 4]
  local beat_ms = now_ms - max(0, tonumber(ARGV[at + 2]) or 0)
  local kind = KINDS[name]
  if name == 'run' then
    -- A beat that overtakes its run's start, or that its end overtook, leaves nothing behind.
    if call('HEXISTS', KEYS[9], id) == 1 then
      call('ZADD', KEYS[8], 'GT', int(beat_ms), id)
      taken = taken + 1
    else
      missing[#missing + 1] = id
    end
  elseif ARGV[at + 3] == '1' then
    forget(kind, {id})
    taken = taken + 1
  elseif admit(name, kind, id) then
    call('ZADD', kind.beats, 'GT', int(beat_ms), id)
    if body ~= '' then call('HSET', kind.bodies, id, body) end
    if kind.lost then call('ZREM', kind.lost, id) end
    taken = taken + 1
  else
    refused = refused + 1
  end
end

for _, kind in pairs(KINDS) do
  forget(
    kind,
    call('ZRANGEBYSCORE', kind.beats, '-inf', int(now_ms - kind.kept_ms), 'LIMIT', 0, TRIM_LIMIT)
  )
end

return {taken, refused, unpack(missing)}
