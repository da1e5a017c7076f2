-- Enqueues a job of RQ for its next attempt, unless it waits or runs already.
--
-- The hash that RQ keeps is gone on with where it lives: only what says how the last execution went
-- is taken out of it. Where it has expired it is made again from the message.
--
-- KEYS
--   1 job:<id>      2 queue:<queue>      3 queues
--   4 failed:<queue>   5 canceled:   6 finished:   7 deferred:   8 scheduled:   9 wip:
--  10 results:<id>    11 job:<id>:dependents
--
-- ARGV
--   1 id   2 attempt   3 how many fields are set in any case
--   4 … each field and its value, then those of the message, set where the hash has expired
--
-- Returns pushed; or, and changes nothing: there, if the job has come to this attempt; busy, if RQ
-- has it waiting or running; unknown, if this server has neither the job nor its queue.

local call, match = redis.call, string.match

local OVER = {'started_at', 'ended_at', 'last_heartbeat', 'worker_name', 'exc_info'}
local WAITING = {queued = 1, scheduled = 1, deferred = 1, rate_limited = 1, ready_to_enqueue = 1}
local FIRST_REGISTRY, LAST_REGISTRY = 4, 8

local id, attempt, always = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lives = call('HEXISTS', KEYS[1], 'data') == 1

if not lives and call('SISMEMBER', KEYS[3], KEYS[2]) == 0 then return 'unknown' end

-- A member is the id, since RQ 2.0 with that of the execution behind a colon.
local executions = {}
for _, member in ipairs(call('ZRANGE', KEYS[9], 0, -1)) do
  if member == id or string.sub(member, 1, #id + 1) == id .. ':' then
    executions[#executions + 1] = member
  end
end

if lives then
  local known = call('HMGET', KEYS[1], 'status', 'jobmon')
  local carried = known[2] and match(known[2], '^%d+|[^|]*|[^|]*|[^|]*|[^|]*|(%d+)|')
  if carried and tonumber(carried) >= attempt then return 'there' end
  if WAITING[known[1]] then return 'busy' end
  if known[1] == 'started' then
    -- Of a worker that died the score, until when it promised to be heard of, passes.
    local now = tonumber(call('TIME')[1])
    for _, member in ipairs(executions) do
      if tonumber(call('ZSCORE', KEYS[9], member)) >= now then return 'busy' end
    end
  end
end

local last = lives and 3 + 2 * always or #ARGV
for at = 4, last, 2 do call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
if lives then call('HDEL', KEYS[1], unpack(OVER)) end
call('PERSIST', KEYS[1])
local ttl = tonumber(call('HGET', KEYS[1], 'ttl'))
if ttl and ttl > 0 then call('EXPIRE', KEYS[1], math.floor(ttl)) end
for at = FIRST_REGISTRY, LAST_REGISTRY do call('ZREM', KEYS[at], id) end
if #executions > 0 then call('ZREM', KEYS[9], unpack(executions)) end
call('SADD', KEYS[3], KEYS[2])
call('RPUSH', KEYS[2], id)
return 'pushed'
