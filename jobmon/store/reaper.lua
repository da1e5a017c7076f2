-- Finds who fell silent, by the server's own clock: marks workers as lost, names runs.
--
-- Silence tells something only while somebody listened. Each call says that somebody does; after
-- a pause of them, whoever's fault it was, a whole period of silence must pass before a verdict.
-- Called twice, or by several servers at once, it finds the same.
--
-- KEYS
--   1 store:meta    2 totals:recorder
--   3 workers       4 workers:beats    5 workers:lost
--   6 runs:beats    7 commands:running
--
-- ARGV
--   1 schema
--   2 ms of silence after which who beat is lost
--   3 ms between two calls after which nobody listened
--   4 ms after the verdict at which a lost worker is forgotten
--   5 ms after the verdict for which a lost worker is named here
--   6 most runs to name
--
-- Returns {judges, newly lost workers, count of lost workers named, then of each its id, last beat
-- and body, then of each silent run the same}, or {-1, schema} and changes nothing when the store's
-- schema is newer. `judges` is 0 while nobody has listened for long enough.

local call, format = redis.call, string.format

local function int(number) return format('%.0f', number) end

local schema, silence_ms, pause_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept_ms, named_ms, most_runs = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local meta = call('HMGET', KEYS[1], 'schema', 'watched_since', 'watched_at')
local stored_schema = tonumber(meta[1]) or 0
if stored_schema > schema then return {-1, stored_schema} end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Every key is touched by a typed read, so that a key of another type stops the call here.
call('HLEN', KEYS[2])
call('HLEN', KEYS[3])
call('ZCARD', KEYS[4])
call('HLEN', KEYS[7])

local watched_since, watched_at = tonumber(meta[2]), tonumber(meta[3])
if not watched_since or not watched_at
  or now_ms < watched_at or now_ms - watched_at > pause_ms
then
  watched_since = now_ms
end
local silent = '(' .. int(now_ms - silence_ms)
local forgotten = call('ZRANGEBYSCORE', KEYS[5], '-inf', int(now_ms - kept_ms), 'LIMIT', 0, 1000)
local judges = now_ms - watched_since >= silence_ms
local runs = judges
  and call('ZRANGEBYSCORE', KEYS[6], '-inf', silent, 'WITHSCORES', 'LIMIT', 0, most_runs) or {}

-- The first command that writes is one that an out-of-memory server refuses.
call(
  'HSET', KEYS[1], 'schema', schema, 'watched_since', int(watched_since), 'watched_at', int(now_ms)
)

if #forgotten > 0 then
  call('HDEL', KEYS[3], unpack(forgotten))
  call('ZREM', KEYS[4], unpack(forgotten))
  call('ZREM', KEYS[5], unpack(forgotten))
end

local newly = 0
if judges then
  for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[4], '-inf', silent)) do
    if call('ZADD', KEYS[5], 'NX', int(now_ms), id) == 1 then
      newly = newly + 1
      local engine = string.match(call('HGET', KEYS[3], id) or '', '^{"engine":"(%l+)"')
      if engine ~= 'celery' and engine ~= 'rq' then engine = 'other' end
      call('HINCRBY', KEYS[2], 'workers_lost:' .. engine, 1)
    end
  end
end

local named = call('ZRANGEBYSCORE', KEYS[5], int(now_ms - named_ms), '+inf', 'LIMIT', 0, 100)
local answer = {judges and 1 or 0, newly, #named}
local function name(id, beat_ms, bodies)
  answer[#answer + 1] = id
  answer[#answer + 1] = beat_ms
  answer[#answer + 1] = call('HGET', bodies, id) or ''
end
for _, id in ipairs(named) do name(id, call('ZSCORE', KEYS[4], id) or '0', KEYS[3]) end
for i = 1, #runs, 2 do
  if call('HEXISTS', KEYS[7], runs[i]) == 1 then
    name(runs[i], runs[i + 1], KEYS[7])
  else
    call('ZREM', KEYS[6], runs[i])
  end
end
return answer
