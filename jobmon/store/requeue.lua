-- Marks what was set aside as unsynced again, and takes it off the list of dead letters.
--
-- What another call has taken off already, and what has expired, is marked by nobody.
--
-- KEYS
--   1 store:meta   2 dead-letters   3 unsynced   4 drained   5 failures
--   6 … of each letter: command:metrics:<command>:<processId>, command:<processId>:jobs, :unsynced,
--       job:metrics:<jobId>
--
-- ARGV
--   1 schema
--   2 … of each letter: itself, process id, job id or empty
--
-- Returns how many were marked, or -1 and changes nothing when the store's schema is newer.

local call, pcall, format = redis.call, redis.pcall, string.format

local FIRST_KEY, KEYS_EACH, FIRST_LETTER, PARTS = 6, 4, 2, 3

local meta = call('HMGET', KEYS[1], 'schema', 'clock')
if (tonumber(meta[1]) or 0) > tonumber(ARGV[1]) then return -1 end
local time = call('TIME')
local version = math.max(time[1] * 1000000 + time[2], (tonumber(meta[2]) or 0) + 1)

-- Every key is touched by a typed read, so that a key of another type stops the call here.
for place = 3, 5 do call('ZCARD', KEYS[place]) end
call('LLEN', KEYS[2])

-- A key of another type is nobody's record, and stops no other letter.
local function is_number(answer) return type(answer) == 'number' end

local marked = 0
for at = FIRST_LETTER, #ARGV, PARTS do
  local process_id, job_id = ARGV[at + 1], ARGV[at + 2]
  local place = FIRST_KEY + (at - FIRST_LETTER) / PARTS * KEYS_EACH
  local metrics, jobs, list, job = KEYS[place], KEYS[place + 1], KEYS[place + 2], KEYS[place + 3]
  local text = format('%.0f', version)
  local member = process_id .. '/' .. job_id
  local left = call('PTTL', metrics)
  local alone = job_id ~= '' and pcall('HGET', job, 'process_id') == process_id
  local of_run = not alone and left >= 0 and is_number(pcall('HLEN', metrics))
    and is_number(pcall('LLEN', list)) and (job_id == '' or pcall('HEXISTS', jobs, job_id) == 1)
  if call('LREM', KEYS[2], 1, ARGV[at]) == 1 and (alone or of_run) then
    -- Each has a version of its own: sync tells by it what it has read of a list.
    call('HSET', KEYS[1], 'clock', text)
    version = version + 1
    if alone then
      call('ZADD', KEYS[3], text, member)
    else
      if job_id ~= '' then
        call('RPUSH', list, text .. ':1', job_id)
        local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
        call('PEXPIREAT', list, format('%.0f', now_ms + left))
      end
      call('ZADD', KEYS[3], text, metrics)
      if call('HEXISTS', metrics, 'drained_at') == 1 then call('ZADD', KEYS[4], text, process_id) end
    end
    if job_id ~= '' then call('ZADD', KEYS[5], text, member) end
    marked = marked + 1
  end
end
return marked
