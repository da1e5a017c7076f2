-- Forgets series that have counted nothing for long, and frees the places of their labels.
--
-- Nothing that still waits, runs or failed is left without its series. One that comes back has
-- another number, and begins at 0.
--
-- KEYS
--   1 store:meta         2 lease:leader
--   3 series:jobs        4 series:commands     5 series:errors       6 series:seen
--   7 labels:job_name    8 labels:queue        9 labels:error_type
--  10 totals:jobs       11 totals:commands    12 exemplars          13 jobs:failed
-- Not declared, because which ones is known only here: pending:<series>, processing:<series>,
-- jobs:failed:<series>.
--
-- ARGV
--   1 schema   2 token of the leader's lease   3 ms after which a series is idle
--   4 ms after which what is in an index has lost its record   5 most series of one call
--   6 prefix of pending:<series>               7 prefix of processing:<series>
--   8 … 10 fields of the totals of a job series, but those by error type: those shown of it alone,
--     those also shown summed by queue; and of a command's: JSON lists   11 … commands in use
--
-- Returns {how many were idle, how many of them were forgotten}, or {-1, 0} and changes nothing
-- where the lease is another's or the schema is newer.

local call, format, match = redis.call, string.format, string.match

local function int(number) return format('%.0f', number) end

if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > tonumber(ARGV[1])
  or call('HGET', KEYS[2], 'token') ~= ARGV[2]
then
  return {-1, 0}
end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now, lost_ms = int(now_ms), now_ms - tonumber(ARGV[4])

-- Those of a version that noted nothing.
if call('ZCARD', KEYS[6]) < call('HLEN', KEYS[3]) + call('HLEN', KEYS[4]) then
  for kind, key in pairs({jobs = KEYS[3], commands = KEYS[4]}) do
    for _, series in ipairs(call('HVALS', key)) do
      call('ZADD', KEYS[6], 'NX', now, kind .. ':' .. series)
    end
  end
end
for at = 11, #ARGV do
  local series = call('HGET', KEYS[4], ARGV[at])
  if series then call('ZADD', KEYS[6], now, 'commands:' .. series) end
end

local idle = call(
  'ZRANGEBYSCORE', KEYS[6], '-inf', int(now_ms - tonumber(ARGV[3])), 'LIMIT', 0, ARGV[5]
)
if #idle == 0 then return {0, 0} end

local function by_number(key)
  local found, all = {}, call('HGETALL', key)
  for i = 1, #all, 2 do found[all[i + 1]] = all[i] end
  return found
end
local job_labels, command_names = by_number(KEYS[3]), by_number(KEYS[4])
local job_fields, queue_fields = cjson.decode(ARGV[8]), cjson.decode(ARGV[9])
local command_fields, error_fields = cjson.decode(ARGV[10]), {}
local error_types = call('SMEMBERS', KEYS[9])
error_types[#error_types + 1] = 'other'
for i, error_type in ipairs(error_types) do error_fields[i] = 'errors:' .. error_type end

local of_queue, of_job_name = {}, {}
local function join(groups, name, series)
  groups[name] = groups[name] or {}
  groups[name][series] = true
end
local function labels_of(set) return match(set, '^([^\31]*\31[^\31]*)\31(.*)$') end
for series, set in pairs(job_labels) do
  local queue, job_name = labels_of(set)
  if queue then
    join(of_queue, queue, series)
    join(of_job_name, job_name, series)
  end
end

local function is_in_use(series)
  for _, key in ipairs({ARGV[6] .. series, ARGV[7] .. series, KEYS[13] .. ':' .. series}) do
    call('ZREMRANGEBYSCORE', key, '-inf', '(' .. int(lost_ms))
    if call('ZCARD', key) > 0 then return true end
  end
  return false
end

local function fields_of(series, names)
  local fields = {}
  for i, name in ipairs(names) do fields[i] = series .. ':' .. name end
  return fields
end

local function remove(key, series, names) call('HDEL', key, unpack(fields_of(series, names))) end

local function move(from, to, names)
  local fields = fields_of(to, names)
  for i, value in ipairs(call('HMGET', KEYS[10], unpack(fields_of(from, names)))) do
    if value and #value < 19 and match(value, '^%d+$') then
      call('HINCRBY', KEYS[10], fields[i], value)
    end
  end
end

-- A sum must not fall, which would read as a reset: what is in one goes to a series that stays.
local function hand_over(series, set)
  local queue, job_name = labels_of(set)
  if not queue then return end
  of_queue[queue][series], of_job_name[job_name][series] = nil, nil
  local heir = next(of_queue[queue])
  if heir then
    move(series, heir .. '/queue', queue_fields)
    move(series .. '/queue', heir .. '/queue', queue_fields)
  end
  heir = next(of_job_name[job_name])
  if heir then move(series, heir, error_fields) end
end

local forgotten = 0
for _, member in ipairs(idle) do
  local kind, series = match(member, '^(%a+):(.*)$')
  if kind == 'jobs' and is_in_use(series) then
    call('ZADD', KEYS[6], now, member)
  else
    if kind == 'jobs' then
      if job_labels[series] then
        hand_over(series, job_labels[series])
        call('HDEL', KEYS[3], job_labels[series])
      end
      remove(KEYS[10], series, job_fields)
      remove(KEYS[10], series, queue_fields)
      remove(KEYS[10], series, error_fields)
      remove(KEYS[10], series .. '/queue', queue_fields)
      remove(KEYS[12], series, queue_fields)
    else
      remove(KEYS[11], series, command_fields)
      if command_names[series] then call('HDEL', KEYS[4], command_names[series]) end
    end
    call('ZREM', KEYS[6], member)
    forgotten = forgotten + 1
  end
end

-- Labels that no series has any more.

local queues, job_names, pairs_left = {}, {other = true}, {}
for queue, series in pairs(of_queue) do
  if next(series) then queues[match(queue, '\31(.*)$')] = true end
end
for job_name, series in pairs(of_job_name) do
  if next(series) then job_names[job_name] = true end
end
for _, queue in ipairs(call('ZRANGE', KEYS[8], 0, -1)) do
  if not queues[queue] then call('ZREM', KEYS[8], queue) end
end
for _, job_name in ipairs(call('SMEMBERS', KEYS[7])) do
  if not job_names[job_name] then
    call('SREM', KEYS[7], job_name)
    local fields = {job_name}
    for _, error_type in ipairs(error_types) do
      fields[#fields + 1] = job_name .. '\31' .. error_type
    end
    call('HDEL', KEYS[5], unpack(fields))
  end
end
for _, pair in ipairs(call('HKEYS', KEYS[5])) do
  pairs_left[match(pair, '\31(.*)$') or ''] = true
end
for _, error_type in ipairs(error_types) do
  if not pairs_left[error_type] then call('SREM', KEYS[9], error_type) end
end

return {#idle, forgotten}
