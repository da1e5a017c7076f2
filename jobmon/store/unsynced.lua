-- Clears marks of what the history, or its table of failed jobs, has by now.
--
-- A mark that was set again since it was read stays: its score is another. Changes nothing where
-- no lease has the token.
--
-- KEYS
--   1 store:meta   2 lease:leader      3 lease:sync
--   4 unsynced     5 drained           6 totals:recorder   7 synced   8 failures
--   9 … of each run: command:<processId>:unsynced, command:metrics:<command>:<processId>
--       of each job without one: job:metrics:<jobId>
--       of each failure: none
--
-- ARGV
--   1 schema   2 token
--   3 most ids of a chunk
--   4 ms after a change at which cleanup may remove it   5 ms after which synced forgets
--   6 … of each mark: run, job or failure, member, version, process id, newest version to take from
--       the run's list or empty, 1 where nothing else is to be written, 1 where it had expired
--
-- Returns the number of marks removed, or -1 where the lease is another's or the schema is newer.

local call, pcall, format, match = redis.call, redis.pcall, string.format, string.match
local floor = math.floor

local FIRST_KEY, FIRST_MARK, PARTS = 9, 6, 7

local schema, token = tonumber(ARGV[1]), ARGV[2]
if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > schema then return -1 end
if call('HGET', KEYS[2], 'token') ~= token and call('HGET', KEYS[3], 'token') ~= token then
  return -1
end
local most_ids = tonumber(ARGV[3])
local removable_ms, forgotten_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = call('TIME')
local now_ms = time[1] * 1000 + floor(time[2] / 1000)

-- Every key is touched by a typed read, so that a key of another type stops the call here. A list
-- of another type is nobody's: its mark goes all the same.
call('ZCARD', KEYS[4])
call('ZCARD', KEYS[5])
call('HLEN', KEYS[6])
call('ZCARD', KEYS[7])
call('ZCARD', KEYS[8])

local function is_list(key) return type(pcall('LLEN', key)) == 'number' end

-- Elements at the head of a list that are done: whole chunks up to a version, and what is no chunk.
local function done(key, newest)
  local at = 0
  while true do
    local element = call('LINDEX', key, at)
    if not element then return at end
    local version, count = match(element, '^(%d+):(%d+)$')
    if not version or tonumber(count) > most_ids then
      at = at + 1
    elseif tonumber(version) > newest then
      return at
    else
      at = at + 1 + tonumber(count)
    end
  end
end

-- What expires before cleanup may remove it is not worth an entry.
local function outlives_cleanup(key, version)
  local left = call('PTTL', key)
  return left >= 0 and now_ms + left > floor(version / 1000) + removable_ms
end

local gone, drained, failures, synced, expired = {}, {}, {}, {}, 0
local next_key = FIRST_KEY
for at = FIRST_MARK, #ARGV, PARTS do
  local kind, member, version = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local newest = tonumber(ARGV[at + 4])
  local index, record, empty = KEYS[4], nil, true
  if kind == 'failure' then
    index = KEYS[8]
  elseif kind == 'job' then
    record = KEYS[next_key]
    next_key = next_key + 1
  else
    local list = KEYS[next_key]
    record = KEYS[next_key + 1]
    next_key = next_key + 2
    if is_list(list) then
      if newest then
        local count = done(list, newest)
        if count > 0 then call('LTRIM', list, count, -1) end
      end
      empty = call('LLEN', list) == 0
    end
  end
  local score = tonumber(call('ZSCORE', index, member) or '')
  if ARGV[at + 5] == '1' and empty and score and floor(score) == version then
    if kind == 'failure' then
      failures[#failures + 1] = member
    else
      gone[#gone + 1] = member
      if kind == 'run' then drained[#drained + 1] = ARGV[at + 3] end
      if outlives_cleanup(record, version) then
        synced[#synced + 1] = format('%.0f', version)
        synced[#synced + 1] = member
      end
      if ARGV[at + 6] == '1' then expired = expired + 1 end
    end
  end
end

if #gone > 0 then call('ZREM', KEYS[4], unpack(gone)) end
if #drained > 0 then call('ZREM', KEYS[5], unpack(drained)) end
if #failures > 0 then call('ZREM', KEYS[8], unpack(failures)) end
if #synced > 0 then
  call('ZADD', KEYS[7], unpack(synced))
  call('ZREMRANGEBYSCORE', KEYS[7], '-inf', format('%.0f', (now_ms - forgotten_ms) * 1000))
end
if expired > 0 then call('HINCRBY', KEYS[6], 'expired_unsynced', format('%.0f', expired)) end
return #gone + #failures
