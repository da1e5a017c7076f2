-- Removes runs and jobs that have ended and that the history has, before they expire.
--
-- Changes nothing where no lease has the token.
--
-- KEYS
--   1 store:meta   2 lease:leader   3 lease:sync   4 unsynced   5 synced   6 failures
--   7 … of each run: command:metrics:<command>:<processId>, command:<processId>:jobs, :attempts,
--       :unsynced
--       of each job without one: job:metrics:<jobId>, job:attempts:<jobId>,
--       command:<processId>:manual
--
-- ARGV
--   1 schema   2 token
--   3 … of each: run or job, member, version, process id, job id or empty
--
-- Returns how many records of jobs were removed, or -1 where the lease is another's or the schema
-- is newer.

local call = redis.call

local FIRST_KEY, FIRST_ENTRY, PARTS = 7, 3, 5
local ENDED = {completed = true, failed = true, lost = true, revoked = true}

local schema, token = tonumber(ARGV[1]), ARGV[2]
if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > schema then return -1 end
if call('HGET', KEYS[2], 'token') ~= token and call('HGET', KEYS[3], 'token') ~= token then
  return -1
end
call('ZCARD', KEYS[4])
call('ZCARD', KEYS[5])
local oldest_failure = tonumber(call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2])

-- Whether a failure of it may still be marked: no mark is newer than the change that set it.
local function awaits_failures(version) return oldest_failure and oldest_failure <= version end

-- How many jobs a run has that ended with all of them.
local function jobs_of_run(metrics)
  local found = call('HMGET', metrics, 'drained_at', 'job_count')
  if found[1] then return tonumber(found[2]) or 0 end
end

local function is_ended_job(key, process_id)
  local found = call('HMGET', key, 'status', 'process_id')
  return ENDED[found[1]] and found[2] == process_id
end

local removed, forgotten, next_key = 0, {}, FIRST_KEY
for at = FIRST_ENTRY, #ARGV, PARTS do
  local member, version, process_id = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local is_run, key = ARGV[at] == 'run', KEYS[next_key]
  local score = tonumber(call('ZSCORE', KEYS[5], member) or '')
  if score == version and not awaits_failures(version) then
    forgotten[#forgotten + 1] = member
    if call('ZSCORE', KEYS[4], member) then
      -- Whatever changes a run that has ended with all its jobs marks it: it is synced again first.
    elseif is_run then
      local jobs = jobs_of_run(key)
      if jobs then
        call('UNLINK', key, KEYS[next_key + 1], KEYS[next_key + 2], KEYS[next_key + 3])
        removed = removed + jobs
      end
    elseif is_ended_job(key, process_id) then
      call('UNLINK', key, KEYS[next_key + 1])
      call('SREM', KEYS[next_key + 2], ARGV[at + 4])
      removed = removed + 1
    end
  end
  next_key = next_key + (is_run and 4 or 3)
end
if #forgotten > 0 then call('ZREM', KEYS[5], unpack(forgotten)) end
return removed
