-- Applies one batch of transitions: reads, decides, then writes.
--
-- The record of a job is the maximum of all its transitions in the order of `jobmon.model`, so
-- any order of arrival ends in the same record and a batch sent twice changes nothing. A
-- transition that is not the maximum may still prove a stage that was not counted yet.
--
-- KEYS, fixed
--   1 store:meta         2 series:jobs       3 series:commands   4 series:errors
--   5 labels:job_name    6 labels:queue      7 labels:error_type
--   8 totals:jobs        9 totals:commands  10 totals:recorder
--  11 unsynced          12 drained          13 jobs:failed
--  14 commands:running  15 commands:finished                    16 commands:finished:by-time
--  17 runs:open         18 runs:beats       19 failures
--  20 exemplars         21 series:seen
-- KEYS of a run, at the index its items name
--   +0 command:<processId>:jobs     +1 command:metrics:<command>:<processId>
--   +2 command:<processId>:attempts +3 command:<processId>:unsynced  +4 command-pid-map:<command>
-- KEYS of a job without a run
--   +0 job:metrics:<jobId>          +1 job:attempts:<jobId>          +2 command:<processId>:manual
-- KEYS of a message
--   +0 job:message:<jobId>
-- Not declared, because which ones is known only here: pending:<series>, processing:<series>,
-- jobs:failed:<series>, and the metrics of the run that command-pid-map names.
--
-- ARGV
--   1 settings: schema, tracking_ttl, completed_ttl, failed_ttl (ms), most job names, queues,
--     job series, commands, error types of a job name, error types, entries of commands:finished
--   2 bounds of the job histograms (us, 8 bytes each)     3 bounds of the command histograms
--   4 prefix of pending:<series>    5 prefix of processing:<series>
--   6 how many: process ids, label sets, commands, error types, dropped reasons, items
--   7 items, each ITEM followed by job id, body, fields (JSON list of strings), message; a run's
--     start has BEATS in the place of a job's stages where its process beats for it
--   8 … process ids, then label sets ("engine\31queue\31job name"), commands, error types,
--     then a reason and a count for each dropped
--
-- Returns {applied, late, ignored, stale, version}, or {-1, schema} and changes nothing when the
-- store's schema is newer.

local call, format, sub, match = redis.call, string.format, string.sub, string.match
local floor, max, min, band, bnot = math.floor, math.max, math.min, bit.band, bit.bnot

local SETTINGS = '<HI8I8I8I4I4I4I4I4I4I4'
local COUNTS = '<HHHHHH'
local ITEM = '<BHHHHHBBBI4I8I8I8i8I8HI4I4I4HH'
local OF_RUN, MANUAL, RUN = 0, 1, 2

local STATUSES = {'pending', 'processing', 'lost', 'retrying', 'revoked', 'failed', 'completed'}
local PENDING, PROCESSING, LOST, RETRYING, REVOKED, FAILED, COMPLETED = 1, 2, 3, 4, 5, 6, 7
local OUTCOMES = {
  'completed', 'ignored', 'failed', 'timed_out', 'rejected', 'lost', 'retried', 'revoked'
}
local REVOKED_OUTCOME = 8
local RUN_STATUSES = {'running', 'completed', 'failed', 'lost'}
local RUNNING, RUN_COMPLETED, RUN_LOST, SENT = 1, 2, 4, 5
local BEATS = 1
local ENQUEUED, STARTED, ENDED, WAS_LOST = 1, 2, 4, 8

local COUNTED_ATTEMPTS = 7 -- 4 bits each in the head, so that a stage counts once
local KEPT_ATTEMPTS = 20
local INDEX_MARGIN_MS = 3600000
local FURTHEST_READY_MS = 366 * 86400000 -- a wrong clock must not keep a run for ever
local TRIM_LIMIT = 200
local QUEUE_SEEN_MS = 60000
local SERIES_SEEN_MS = 3600000
local EXEMPLAR_MS = 10000 -- between two of one place

local RANK = {}
for rank, status in ipairs(STATUSES) do RANK[status] = rank end

-- Numbers beyond 2^53 do not occur; redis.call would print large ones with an exponent.
local function int(number) return format('%.0f', number) end

local function seconds(ms) return format('%.3f', ms / 1000) end

local function add(totals, field, number) totals[field] = (totals[field] or 0) + number end

local function push(lists, key, value)
  local list = lists[key]
  if list then list[#list + 1] = value else lists[key] = {value} end
end

-- Read: settings, clock, schema.

local schema, tracking_ttl, completed_ttl, failed_ttl, most_job_names, most_queues,
  most_job_series, most_commands, most_errors_of_job, most_errors, most_finished =
  struct.unpack(SETTINGS, ARGV[1])
local process_count, label_count, command_count, error_count, dropped_count, item_count =
  struct.unpack(COUNTS, ARGV[6])

local meta = call('HMGET', KEYS[1], 'schema', 'clock', 'last_job_series', 'last_command_series')
local stored_schema = tonumber(meta[1]) or 0
if stored_schema > schema then return {-1, stored_schema} end
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = floor(now_us / 1000)
local version = max(now_us, (tonumber(meta[2]) or 0) + 1)
local last_job_series = tonumber(meta[3]) or 0
local last_command_series = tonumber(meta[4]) or 0

local argument = 7
local function arguments(count)
  local values = {}
  for i = 1, count do values[i] = ARGV[argument + i] end
  argument = argument + count
  return values
end
local process_ids = arguments(process_count)
local labels = arguments(label_count)
local commands = arguments(command_count)
local error_types = arguments(error_count)
local dropped = arguments(dropped_count * 2)

-- What the call will write. Nothing is written before all of it is known.

local job_totals, command_totals, recorder_totals = {}, {}, {}
local command_latest = {}
local zadd, zrem = {}, {}
local new_series, new_commands, new_errors, new_job_names, new_error_types = {}, {}, {}, {}, {}
local seen_queues, seen_series = {}, {}
local exemplars = {}
local messages = {}

-- Label sets to series: sticky, bounded, overflow under `other`.

local function is_label(key, zset, value)
  if zset then return call('ZSCORE', key, value) end
  return call('SISMEMBER', key, value) == 1
end

local admitted = {job_name = {}, queue = {}, error_type = {}}
local sizes = {}
local function admit(label, key, zset, value, most)
  local known = admitted[label]
  if known[value] == nil then
    if value == 'other' or is_label(key, zset, value) then
      known[value] = value
    else
      local size = sizes[label] or call(zset and 'ZCARD' or 'SCARD', key)
      if size < most then
        size = size + 1
        known[value] = value
        if label == 'job_name' then new_job_names[#new_job_names + 1] = value end
        if label == 'error_type' then new_error_types[#new_error_types + 1] = value end
      else
        known[value] = 'other'
      end
      sizes[label] = size
    end
  end
  return known[value]
end

local function new_job_series(set)
  last_job_series = last_job_series + 1
  local series = int(last_job_series)
  new_series[#new_series + 1] = set
  new_series[#new_series + 1] = series
  return series
end

local series_of, job_name_of, overflow_of = {}, {}, {}
if label_count > 0 then
  local fresh, size = {}, nil
  local known = call('HMGET', KEYS[2], unpack(labels))
  for i, set in ipairs(labels) do
    local engine, queue, job_name = match(set, '^([^\31]*)\31([^\31]*)\31(.*)$')
    series_of[i] = known[i]
    if not known[i] then
      local overflow = {}
      local own_queue = admit('queue', KEYS[6], true, queue, most_queues)
      if own_queue ~= queue then overflow[#overflow + 1] = 'overflow:queue' end
      queue = own_queue
      local of_queue = engine .. '\31' .. queue .. '\31'
      local series = fresh[of_queue .. job_name]
        or #overflow > 0 and call('HGET', KEYS[2], of_queue .. job_name)
      if not series then
        size = size or call('HLEN', KEYS[2])
        local label, own_name = 'series', 'other'
        if size + #new_series / 2 < most_job_series then
          label, own_name = 'job_name', admit('job_name', KEYS[5], false, job_name, most_job_names)
        end
        if own_name ~= job_name then overflow[#overflow + 1] = 'overflow:' .. label end
        job_name = own_name
        local set = of_queue .. job_name
        series = fresh[set] or call('HGET', KEYS[2], set) or new_job_series(set)
      end
      overflow_of[i] = overflow
      fresh[of_queue .. job_name] = series
      series_of[i] = series
    end
    job_name_of[i] = job_name
    seen_queues[queue] = true
    seen_series[#seen_series + 1] = 'jobs:' .. series_of[i]
  end
end

local command_series_of, command_overflows = {}, {}
if command_count > 0 then
  local known = call('HMGET', KEYS[3], unpack(commands))
  local size
  local function new_command_series(name)
    last_command_series = last_command_series + 1
    local series = int(last_command_series)
    new_commands[#new_commands + 1] = name
    new_commands[#new_commands + 1] = series
    return series
  end
  local other
  for i, name in ipairs(commands) do
    command_series_of[i] = known[i]
    if not known[i] then
      size = size or call('HLEN', KEYS[3])
      if size < most_commands and name ~= 'other' then
        size = size + 1
        command_series_of[i] = new_command_series(name)
      else
        other = other or call('HGET', KEYS[3], 'other') or new_command_series('other')
        command_series_of[i] = other
        command_overflows[i] = name ~= 'other'
      end
    end
    seen_series[#seen_series + 1] = 'commands:' .. command_series_of[i]
  end
end

local errors_of_job = {}
local function error_label(job_name, value)
  local pair = job_name .. '\31' .. value
  if new_errors[pair] or call('HGET', KEYS[4], pair) then return value end
  local count = errors_of_job[job_name] or tonumber(call('HGET', KEYS[4], job_name)) or 0
  if count >= most_errors_of_job
    or admit('error_type', KEYS[7], false, value, most_errors) ~= value
  then
    add(recorder_totals, 'overflow:error_type', 1)
    return 'other'
  end
  new_errors[pair] = '1'
  errors_of_job[job_name] = count + 1
  return value
end

local bounds = {}
local function observe(totals, family, which, value)
  local list = bounds[which]
  if not list then
    list = {struct.unpack('<' .. string.rep('I8', #ARGV[which] / 8), ARGV[which])}
    list[#list] = nil -- the position after the last
    bounds[which] = list
  end
  local bucket = #list
  for i = 1, #list do
    if value <= list[i] then
      bucket = i - 1
      break
    end
  end
  local field = family .. ':' .. bucket
  add(totals, field, 1)
  add(totals, family .. ':sum_us', value)
  return field
end

-- Records.

local HEAD = '^{"status":"(%l+)","attempt":(%d+),"x":"(%x*)%.(%d+)%.(%d+)%.(%d+)%.(%d+)",()'
local HEAD_OF_ANY_VERSION = '^{"status":"(%l+)","attempt":(%d+)'

local function parse(raw)
  local status, attempt, stages, delivery, execution, peak, series, body = match(raw, HEAD)
  if status then
    return {
      rank = RANK[status] or 0, attempt = tonumber(attempt), stages = stages,
      delivery = tonumber(delivery), execution = tonumber(execution), peak = tonumber(peak),
      series = series, raw = raw, body_at = body
    }
  end
  status, attempt = match(raw, HEAD_OF_ANY_VERSION)
  return {
    rank = RANK[status] or 0, attempt = tonumber(attempt) or 0, stages = '', delivery = 0,
    execution = 0, peak = 0, raw = raw, opaque = true
  }
end

local function bytes_of(job)
  if not job.raw then
    job.raw = format(
      '{"status":"%s","attempt":%.0f,"x":"%s.%.0f.%.0f.%.0f.%s",', STATUSES[job.rank],
      job.attempt, job.stages, job.delivery, job.execution, job.peak, job.series
    ) .. job.body
  end
  return job.raw
end

-- Forget the stored bytes because a number of the head changed.
local function rewrite(job)
  if job.raw and not job.opaque then
    job.body = job.body or sub(job.raw, job.body_at)
    job.raw = nil
  end
end

local function stages_of(job, back) return tonumber(sub(job.stages, back + 1, back + 1), 16) or 0 end

local function set_stages(job, back, bits)
  local stages = job.stages
  if #stages < back then stages = stages .. string.rep('0', back - #stages) end
  job.stages = sub(stages, 1, back) .. format('%x', bits) .. sub(stages, back + 2)
end

-- The order of one attempt: final, delivery while it is not, rank.
local function higher(rank, delivery, old_rank, old_delivery)
  local final, old_final = rank >= REVOKED, old_rank >= REVOKED
  if final ~= old_final then return final end
  if not final and delivery ~= old_delivery then return delivery > old_delivery end
  return rank > old_rank
end

local function failed_in(series) return KEYS[13] .. ':' .. series end

-- The indexes that a job is in.
local function places(job)
  local rank, series = job.rank, job.series
  if rank == LOST or rank == FAILED then
    return {KEYS[13], series and failed_in(series)}
  end
  if series and (rank == PENDING or rank == RETRYING) then return {ARGV[4] .. series} end
  if series and rank == PROCESSING then return {ARGV[5] .. series} end
  return {}
end

local function counted_time(job)
  local rank = job.rank
  if rank == RETRYING or rank == FAILED or rank == COMPLETED then return job.execution end
  return 0
end

-- Runs.

local FIELDS = {
  'job_count', 'success_jobs', 'failed_jobs', 'revoked_jobs', 'lost_jobs', 'retried_jobs',
  'peak_memory', 'last_end_ms', 'latest_ready_ms', 'total_job_time', 'born', 'partial',
  'started', 'started_at', 'finished', 'finished_at', 'status', 'drained_at', 'drain_counted'
}
local NUMBERS, SHOWN_NUMBERS = 9, 7 -- of them, plain integers; those that are never absent

local function ms_of(text)
  return text and floor((tonumber(text) or 0) * 1000 + 0.5) or nil
end

local runs, run_order = {}, {}
local function load_run(at, process_id)
  local run = runs[at]
  if run then return run end
  local values = call('HMGET', KEYS[at + 1], unpack(FIELDS))
  run = {at = at, process_id = process_id, set = {}, ids = {}, jobs = {}, job_order = {}, olds = {}}
  local numbers = {}
  for i = 1, NUMBERS do numbers[FIELDS[i]] = tonumber(values[i]) or 0 end
  run.numbers = numbers
  run.was = {}
  for name, number in pairs(numbers) do run.was[name] = number end
  local job_time = values[10] and tonumber((string.gsub(values[10], '%.', ''))) or 0
  run.job_time, run.job_time_was = job_time, job_time
  run.born = values[11]
  run.partial = values[12]
  run.started = values[13]
  run.started_ms = ms_of(values[14])
  run.finished = values[15]
  run.finished_ms = ms_of(values[16])
  run.status = values[17]
  run.drained_at = values[18]
  run.drain_counted = values[19]
  runs[at] = run
  run_order[#run_order + 1] = run
  return run
end

-- Pass 1: the items and which records they need.

local items = {}
local position = 1
for i = 1, item_count do
  local item = {struct.unpack(ITEM, ARGV[7], position)}
  local start = item[22]
  item[23] = sub(ARGV[7], start, start + item[16] - 1)
  position = start + item[16] + item[17] + item[18] + item[19]
  items[i] = item
  if item[1] ~= MANUAL then
    local run = load_run(item[3], process_ids[item[2]])
    if item[1] == OF_RUN then run.ids[#run.ids + 1] = item[23] end
  end
end
for _, run in ipairs(run_order) do
  if #run.ids > 0 then
    local records = call('HMGET', KEYS[run.at], unpack(run.ids))
    run.records = {}
    for i, id in ipairs(run.ids) do run.records[id] = records[i] end
  end
end

local manuals, manual_order = {}, {}
local function load_manual(at, process_id, id)
  local owner = manuals[at]
  if owner then return owner end
  local values = call('HMGET', KEYS[at], 'record', 'process_id')
  owner = {
    at = at, process_id = process_id, was_in = values[2] or process_id, manual = true,
    records = {[id] = values[1]}, jobs = {}, job_order = {}, olds = {}
  }
  manuals[at] = owner
  manual_order[#manual_order + 1] = owner
  return owner
end

local function load_job(owner, id)
  local job = owner.jobs[id]
  if job == nil then
    local raw = owner.records[id]
    job = raw and parse(raw) or {rank = 0, attempt = 0, stages = '', peak = 0, none = true}
    job.id = id
    job.places_were = raw and places(job) or {}
    job.series_was = job.series
    owner.jobs[id] = job
    owner.job_order[#owner.job_order + 1] = job
  end
  return job
end

-- Keep the highest bytes of an earlier attempt, while it is among the newest 20.
local function load_old(owner, key, field)
  local old = owner.olds[field]
  if old == nil then
    local raw = call('HGET', key, field)
    old = raw and parse(raw) or false
    owner.olds[field] = old
  end
  return old
end

local function attempts_key(owner) return KEYS[owner.at + (owner.manual and 1 or 2)] end

local function keep_old(owner, field, old)
  owner.olds[field] = old
  owner.kept = owner.kept or {}
  owner.kept[field] = old
  if owner.forgotten then owner.forgotten[field] = nil end
end

local function forget_old(owner, id, from, to)
  for attempt = max(1, from), to do
    local field = id .. ':' .. int(attempt)
    owner.forgotten = owner.forgotten or {}
    owner.forgotten[field] = true
    owner.olds[field] = false
    if owner.kept then owner.kept[field] = nil end
  end
end

-- Stages count once in the totals, under what came first.
local function count_stages(item, bits, seen, label, command)
  local series, outcome = series_of[label], item[8]
  for _, field in ipairs(overflow_of[label] or {}) do add(recorder_totals, field, 1) end
  if band(bits, ENQUEUED) ~= 0 then add(job_totals, series .. ':enqueued', 1) end
  if band(bits, STARTED) ~= 0 then
    add(job_totals, series .. ':started', 1)
    if item[14] >= 0 then observe(job_totals, series .. ':queue_time', 2, item[14]) end
  end
  if band(bits, ENDED + WAS_LOST) == 0 then return end
  local own = command_series_of[command]
  local is_traced = item[21] > 0
  if command_overflows[command] then add(recorder_totals, 'overflow:command', 1) end
  if band(bits, WAS_LOST) ~= 0 then
    local field = series .. ':finished:lost'
    add(job_totals, field, 1)
    if is_traced then exemplars[field] = item end
    add(command_totals, own .. ':jobs_finished:lost', 1)
  else
    if band(seen, WAS_LOST) ~= 0 then
      add(job_totals, series .. ':lost_corrected', 1)
      add(command_totals, own .. ':lost_corrected', 1)
    end
    local name = OUTCOMES[outcome]
    local field = series .. ':finished:' .. name
    add(job_totals, field, 1)
    add(command_totals, own .. ':jobs_finished:' .. name, 1)
    if is_traced then exemplars[field] = item end
    if outcome ~= REVOKED_OUTCOME then
      local bucket = observe(job_totals, series .. ':duration', 2, item[13])
      if is_traced then exemplars[bucket] = item end
    end
  end
  if item[6] > 0 then
    local value = error_label(job_name_of[label], error_types[item[6]])
    add(job_totals, series .. ':errors:' .. value, 1)
  end
end

local function ready_ms(at_ms) return min(at_ms, now_ms + FURTHEST_READY_MS) end

local applied, late, ignored, stale = 0, 0, 0, 0
local oldest_ms

local function apply_job(item)
  local label, command, rank, outcome = item[5], item[4], item[7], item[8]
  local attempt, delivery, at_ms, execution, peak = item[10], item[11], item[12], item[13], item[15]
  local id = item[23]
  local owner
  if item[1] == MANUAL then
    owner = load_manual(item[3], process_ids[item[2]], id)
  else
    owner = runs[item[3]]
  end
  local job = load_job(owner, id)
  local back = job.attempt - attempt
  local replaces
  if job.none then
    replaces = true
  elseif back ~= 0 then
    replaces = back < 0
  else
    replaces = higher(rank, delivery, job.rank, job.delivery)
  end

  if not replaces and back >= COUNTED_ATTEMPTS then
    stale = stale + 1
    add(recorder_totals, 'dropped:stale', 1)
  end
  local seen = (job.none or back < 0) and 0 or stages_of(job, back)
  local bits = band(item[9], bnot(seen))
  if rank == LOST then
    -- A guess that nothing followed from is not an end.
    bits = band(bits, replaces and bnot(ENDED) or bnot(ENDED + WAS_LOST))
  else
    bits = band(bits, bnot(WAS_LOST))
  end
  if not replaces and (back >= COUNTED_ATTEMPTS or job.opaque) then bits = 0 end
  if bits ~= 0 then count_stages(item, bits, seen, label, command) end

  if rank >= LOST and not owner.manual then
    owner.numbers.last_end_ms = max(owner.numbers.last_end_ms, rank == RETRYING and 0 or at_ms)
  end
  if rank ~= PENDING and rank ~= RETRYING then
    oldest_ms = min(oldest_ms or at_ms, at_ms)
  end

  if not replaces then
    local changed, shown = bits ~= 0, false
    if bits ~= 0 then set_stages(job, back, seen + bits) end
    if peak > job.peak and not job.opaque then
      job.peak = peak
      changed = true
      if not owner.manual then
        owner.numbers.peak_memory = max(owner.numbers.peak_memory, peak)
        shown = true
      end
    end
    if changed then
      rewrite(job)
      job.head_changed = true
    end
    if back > 0 and back <= KEPT_ATTEMPTS then
      local field = id .. ':' .. int(attempt)
      local old = load_old(owner, attempts_key(owner), field)
      if not old or higher(rank, delivery, old.rank, old.delivery) then
        keep_old(owner, field, {
          rank = rank, attempt = attempt, delivery = delivery, execution = execution,
          peak = peak, series = series_of[label], stages = format('%x', seen + bits),
          body = sub(ARGV[7], item[22] + item[16], item[22] + item[16] + item[17] - 1)
        })
        changed, shown = true, true
      end
    end
    -- What comes late to a job that may be synced already.
    if shown and (job.rank == LOST or job.rank >= REVOKED) then job.unsynced = true end
    if back < COUNTED_ATTEMPTS then
      if changed then late = late + 1 else ignored = ignored + 1 end
    end
    return
  end

  applied = applied + 1
  local was_time, was_rank, was_attempt = 0, job.rank, job.attempt
  if not job.none then
    was_time = counted_time(job)
    if back < 0 then
      bytes_of(job)
      keep_old(owner, id .. ':' .. int(job.attempt), {
        rank = job.rank, delivery = job.delivery, attempt = job.attempt, raw = job.raw
      })
      forget_old(
        owner, id, job.attempt - KEPT_ATTEMPTS,
        min(attempt - KEPT_ATTEMPTS - 1, job.attempt - 1)
      )
      if attempt - job.attempt > KEPT_ATTEMPTS then
        forget_old(owner, id, job.attempt, job.attempt)
      end
    end
  end
  if job.none or back < 0 then
    local gap = job.none and 0 or min(-back - 1, COUNTED_ATTEMPTS)
    job.stages = sub(
      format('%x', bits) .. string.rep('0', gap) .. job.stages, 1, COUNTED_ATTEMPTS
    )
  else
    set_stages(job, 0, seen + bits)
  end
  job.rank, job.attempt, job.delivery, job.execution = rank, attempt, delivery, execution
  job.peak = max(job.peak, peak)
  job.series = series_of[label]
  local body_at = item[22] + item[16]
  job.raw, job.opaque = nil, nil
  job.body = sub(ARGV[7], body_at, body_at + item[17] - 1)
  job.at_ms = at_ms
  job.changed = true
  if was_rank == LOST or was_rank >= REVOKED or rank == LOST or rank >= REVOKED then
    job.unsynced = true
    if was_rank == FAILED or was_rank == LOST or rank == FAILED or rank == LOST then
      job.failing = true
    end
  end
  if item[19] > 0 and (rank == FAILED or rank == LOST) then
    local message_at = body_at + item[17] + item[18]
    messages[KEYS[item[20]]] = sub(ARGV[7], message_at, message_at + item[19] - 1)
  end

  if owner.manual then
    local fields_at = body_at + item[17]
    job.fields = cjson.decode(sub(ARGV[7], fields_at, fields_at + item[18] - 1))
    job.none = nil
    return
  end
  local numbers = owner.numbers
  if job.none then
    numbers.job_count = numbers.job_count + 1
    job.none = nil
  end
  local function move(name, was, is)
    if was ~= is then numbers[name] = numbers[name] + (is and 1 or -1) end
  end
  move('success_jobs', was_rank == COMPLETED, rank == COMPLETED)
  move('failed_jobs', was_rank == FAILED or was_rank == LOST, rank == FAILED or rank == LOST)
  move('lost_jobs', was_rank == LOST, rank == LOST)
  move('revoked_jobs', was_rank == REVOKED, rank == REVOKED)
  move('retried_jobs', was_attempt > 1, attempt > 1)
  numbers.peak_memory = max(numbers.peak_memory, peak)
  owner.job_time = owner.job_time + counted_time(job) - was_time
  if (rank == PENDING or rank == RETRYING) and at_ms > now_ms then
    numbers.latest_ready_ms = max(numbers.latest_ready_ms, ready_ms(at_ms))
  end
  owner.changed = true
end

-- Runs start once and end once; a run taken for lost may still end, or say that it goes on. One
-- that a schedule sent is open from then on, and starts with its root job.

local command_values = {}
local function latest(series, field)
  local name = series .. ':' .. field
  local value = command_latest[name] or command_values[name]
  if not value then
    value = tonumber(call('HGET', KEYS[9], name)) or 0
    command_values[name] = value
  end
  return value
end

local newest = {}
local function is_newest(run, at_ms)
  local key = KEYS[run.at + 4]
  local known = newest[key]
  if known == nil then
    known = 0
    local mapped = call('GET', key)
    if mapped and mapped ~= run.process_id then
      local metrics = KEYS[run.at + 1]
      local other = sub(metrics, 1, #metrics - #run.process_id) .. mapped
      known = ms_of(call('HGET', other, 'started_at')) or 0
    end
  end
  if at_ms < known then
    newest[key] = known
    return false
  end
  newest[key] = at_ms
  return true
end

local function has_beaten_since(run, at_ms)
  local beat_ms = run.beats and now_ms or tonumber(call('ZSCORE', KEYS[18], run.process_id))
  return beat_ms ~= nil and beat_ms > at_ms
end

local pid_map = {}
local function apply_run(item)
  local run = runs[item[3]]
  local series, at_ms, status = command_series_of[item[4]], item[12], item[7]
  local body_at = item[22] + item[16]
  local body = sub(ARGV[7], body_at, body_at + item[17] - 1)
  oldest_ms = min(oldest_ms or at_ms, at_ms)
  if status == RUNNING or status == SENT then
    -- Told again by a process that has outlived the verdict, not sent again by one that has not.
    local alive = run.status == 'lost' and item[9] == BEATS
      and at_ms + floor(item[13] / 1000) > run.finished_ms
    local again = run.started and (status == SENT or run.started ~= 'sent')
    if again and not alive then
      ignored = ignored + 1
      return
    end
    if alive then
      run.finished, run.finished_ms, run.finished_body = nil, nil, nil
      for _, field in ipairs({'finished', 'finished_at', 'exit_code'}) do run.set[field] = nil end
      run.alive = true
      run.unsynced = true
      add(command_totals, series .. ':runs_lost_corrected', 1)
    end
    run.beats = item[9] == BEATS
    run.started = status == SENT and 'sent' or '1'
    run.started_ms = at_ms
    run.set.started = run.started
    run.set.started_at = seconds(at_ms)
    if run.partial then
      run.partial = nil
      run.unmark = true
    end
    if run.finished then
      run.unsynced = true
    else
      run.status = 'running'
      run.set.status = 'running'
      run.set.run = body
      run.running_body = body
    end
    if is_newest(run, at_ms) then pid_map[KEYS[run.at + 4]] = run.process_id end
    if status == RUNNING and at_ms > latest(series, 'last_start') then
      command_latest[series .. ':last_start'] = at_ms
    end
  else
    local correction = run.status == 'lost' and status ~= RUN_LOST
    if (run.finished and not correction)
      or (status == RUN_LOST and has_beaten_since(run, at_ms))
    then
      ignored = ignored + 1
      return
    end
    local duration, exit_code = item[13], item[14]
    run.finished = '1'
    run.finished_ms = at_ms
    run.status = RUN_STATUSES[status]
    run.set.finished = '1'
    run.set.finished_at = seconds(at_ms)
    run.set.exit_code = int(exit_code)
    run.set.status = run.status
    run.set.run = body
    if not run.started then
      run.started_ms = at_ms - floor(duration / 1000)
      run.set.started_at = seconds(run.started_ms)
    end
    run.finished_body = body
    run.kept_until = now_ms + (exit_code == 0 and completed_ttl or failed_ttl)
    add(command_totals, series .. ':runs:' .. OUTCOMES[item[8]], 1)
    if correction then add(command_totals, series .. ':runs_lost_corrected', 1) end
    if command_overflows[item[4]] then add(recorder_totals, 'overflow:command', 1) end
    if status ~= RUN_LOST then
      observe(command_totals, series .. ':run_duration', 3, duration)
    end
    if at_ms >= latest(series, 'last_end') then
      command_latest[series .. ':last_end'] = at_ms
      command_latest[series .. ':last_duration_us'] = duration
      command_latest[series .. ':last_run_failed'] = status == RUN_COMPLETED and 0 or 1
    end
    if status == RUN_COMPLETED and at_ms > latest(series, 'last_success') then
      command_latest[series .. ':last_success'] = at_ms
    end
    run.unsynced = true
  end
  run.command = item[4]
  run.changed = true
  applied = applied + 1
end

-- Pass 2: decide.

for _, item in ipairs(items) do
  if item[1] == RUN then
    apply_run(item)
  else
    local owner = runs[item[3]]
    if owner and item[1] == OF_RUN then owner.command = item[4] end
    apply_job(item)
  end
end

local version_text = int(version)
local function index(owner, job)
  local member = owner.process_id .. '/' .. job.id
  local now_in = {}
  for _, key in ipairs(places(job)) do
    now_in[key] = true
    push(zadd, key, int(job.at_ms))
    push(zadd, key, member)
  end
  if job.failing then
    push(zadd, KEYS[19], version_text)
    push(zadd, KEYS[19], member)
  end
  local series = job.series
  if series ~= job.series_was then
    -- An earlier life of this id may have left its member behind when its keys expired.
    for _, key in ipairs({KEYS[13], failed_in(series), ARGV[4] .. series, ARGV[5] .. series}) do
      if not now_in[key] then push(zrem, key, member) end
    end
  end
  local was = (owner.was_in or owner.process_id) .. '/' .. job.id
  for _, key in ipairs(job.places_were) do
    if not now_in[key] or was ~= member then push(zrem, key, was) end
  end
end

local finished_adds, finished_trims = {}, {}
local tree_members, tree_expires = {}, {}
for _, run in ipairs(run_order) do
  for _, job in ipairs(run.job_order) do
    if job.changed then index(run, job) end
    if job.unsynced then
      run.unsynced = true
      run.unsynced_ids = run.unsynced_ids or {}
      run.unsynced_ids[#run.unsynced_ids + 1] = job.id
    end
  end
  if run.changed then
    local set, numbers = run.set, run.numbers
    if not run.born then
      set.born = version_text
      if not run.started then set.partial = '1' end
    end
    local open = numbers.job_count - numbers.success_jobs - numbers.failed_jobs
      - numbers.revoked_jobs
    if run.finished and open == 0 then
      local drained_ms = max(run.finished_ms, numbers.last_end_ms)
      set.drained_at = seconds(drained_ms)
      push(zadd, KEYS[12], version_text)
      push(zadd, KEYS[12], run.process_id)
      if not run.drain_counted and run.status ~= 'lost' then
        set.drain_counted = '1'
        observe(
          command_totals, command_series_of[run.command] .. ':drain_duration', 3,
          max(0, drained_ms - run.started_ms) * 1000
        )
      end
    elseif run.drained_at then
      run.reopened = true
      push(zrem, KEYS[12], run.process_id)
    end
    local ttl = (open > 0 or not run.finished) and tracking_ttl or completed_ttl
    if numbers.failed_jobs > 0 then ttl = max(ttl, failed_ttl) end
    run.expires = now_ms + ttl
    if open > 0 then run.expires = max(run.expires, numbers.latest_ready_ms + tracking_ttl) end
    local metrics = KEYS[run.at + 1]
    if open > 0 then
      push(zadd, KEYS[17], int(run.expires))
      push(zadd, KEYS[17], metrics)
    else
      push(zrem, KEYS[17], metrics)
    end
    if run.finished_body then
      finished_adds[#finished_adds + 1] = run
    end
  end
  if run.unsynced then
    push(zadd, KEYS[11], version_text)
    push(zadd, KEYS[11], KEYS[run.at + 1])
  end
end
for _, owner in ipairs(manual_order) do
  for _, job in ipairs(owner.job_order) do
    if job.changed then
      index(owner, job)
      local ttl = tracking_ttl
      if job.rank == LOST or job.rank == FAILED then
        ttl = failed_ttl
      elseif job.rank >= REVOKED then
        ttl = completed_ttl
      end
      owner.expires = now_ms + ttl
      if ttl == tracking_ttl and job.rank ~= PROCESSING then
        owner.expires = max(owner.expires, ready_ms(job.at_ms) + tracking_ttl)
      end
      if job.id ~= owner.process_id then
        local key = KEYS[owner.at + 2]
        push(tree_members, key, job.id)
        tree_expires[key] = max(
          owner.expires, tree_expires[key] or now_ms + call('PTTL', key)
        )
      end
    end
    if job.unsynced then
      push(zadd, KEYS[11], version_text)
      push(zadd, KEYS[11], (job.changed and owner.process_id or owner.was_in) .. '/' .. job.id)
    end
  end
end

-- Every key is touched by a typed read, so that a key of another type stops the call here.

if next(job_totals) then call('HLEN', KEYS[8]) end
if next(command_totals) then call('HLEN', KEYS[9]) end
call('HLEN', KEYS[10])
for queue in pairs(seen_queues) do
  local seen_ms = call('ZSCORE', KEYS[6], queue)
  if seen_ms and now_ms - seen_ms < QUEUE_SEEN_MS then seen_queues[queue] = nil end
end
if #seen_series > 0 then
  for i, seen_ms in ipairs(call('ZMSCORE', KEYS[21], unpack(seen_series))) do
    if not seen_ms or now_ms - seen_ms >= SERIES_SEEN_MS then
      push(zadd, KEYS[21], int(now_ms))
      push(zadd, KEYS[21], seen_series[i])
    end
  end
end
local new_exemplars = {}
if next(exemplars) then
  local places = {}
  for place in pairs(exemplars) do places[#places + 1] = place end
  for i, told in ipairs(call('HMGET', KEYS[20], unpack(places))) do
    local item = exemplars[places[i]]
    local at_ms, told_ms = min(item[12], now_ms), told and tonumber(match(told, '^%d+')) or 0
    if at_ms >= told_ms + EXEMPLAR_MS then
      -- "trace_id":"<32>","span_id":"<16>", from the first of the 32 on.
      local ids = item[22] + item[16] + item[21]
      new_exemplars[#new_exemplars + 1] = places[i]
      new_exemplars[#new_exemplars + 1] = format(
        '%.0f %.0f %s %s', at_ms, item[13], sub(ARGV[7], ids, ids + 31),
        sub(ARGV[7], ids + 45, ids + 60)
      )
    end
  end
end
for key in pairs(zadd) do call('ZCARD', key) end
for key in pairs(zrem) do call('ZCARD', key) end
for _, run in ipairs(run_order) do
  if run.kept or run.forgotten then call('HLEN', KEYS[run.at + 2]) end
  if run.unsynced_ids then call('LLEN', KEYS[run.at + 3]) end
  if run.running_body or run.finished_body then
    call('HLEN', KEYS[14])
    call('ZCARD', KEYS[18])
  end
  if run.alive then
    call('HLEN', KEYS[15])
    call('ZCARD', KEYS[16])
  end
end
for _, owner in ipairs(manual_order) do
  if owner.kept or owner.forgotten then call('HLEN', KEYS[owner.at + 1]) end
end
for key in pairs(tree_members) do call('SCARD', key) end
local trims = {}
local function old_members(key, before)
  if zadd[key] then
    local old = call('ZRANGEBYSCORE', key, '-inf', int(before), 'LIMIT', 0, TRIM_LIMIT)
    if #old > 0 then trims[key] = old end
  end
end
local age_ms = failed_ttl + INDEX_MARGIN_MS
old_members(KEYS[11], now_us - age_ms * 1000)
old_members(KEYS[12], now_us - age_ms * 1000)
old_members(KEYS[13], now_ms - age_ms)
old_members(KEYS[19], now_us - age_ms * 1000)
old_members(KEYS[17], now_ms)
-- What waits or runs for longer than any run lives without a change has lost its record.
local forgotten_ms = now_ms - max(tracking_ttl, failed_ttl) - INDEX_MARGIN_MS
for _, series in pairs(series_of) do
  old_members(ARGV[4] .. series, forgotten_ms)
  old_members(ARGV[5] .. series, forgotten_ms)
  old_members(failed_in(series), now_ms - age_ms)
end
if #finished_adds > 0 then
  call('HLEN', KEYS[15])
  finished_trims = call('ZRANGEBYSCORE', KEYS[16], '-inf', int(now_ms), 'LIMIT', 0, TRIM_LIMIT)
  local over = call('ZCARD', KEYS[16]) - #finished_trims + #finished_adds - most_finished
  if over > 0 then
    for _, id in ipairs(call('ZRANGE', KEYS[16], #finished_trims, #finished_trims + over - 1)) do
      finished_trims[#finished_trims + 1] = id
    end
  end
end

-- Write. The first command is one that an out-of-memory server refuses.

call(
  'HSET', KEYS[1], 'schema', schema, 'clock', version_text, 'last_job_series',
  int(last_job_series), 'last_command_series', int(last_command_series)
)
if #new_series > 0 then call('HSET', KEYS[2], unpack(new_series)) end
if #new_commands > 0 then call('HSET', KEYS[3], unpack(new_commands)) end
for pair in pairs(new_errors) do call('HSET', KEYS[4], pair, 1) end
for job_name, count in pairs(errors_of_job) do call('HSET', KEYS[4], job_name, count) end
if #new_job_names > 0 then call('SADD', KEYS[5], unpack(new_job_names)) end
if #new_error_types > 0 then call('SADD', KEYS[7], unpack(new_error_types)) end
for queue in pairs(seen_queues) do call('ZADD', KEYS[6], int(now_ms), queue) end

for key, members in pairs(trims) do
  call('ZREM', key, unpack(members))
  if key == KEYS[11] then add(recorder_totals, 'expired_unsynced', #members) end
  if key == KEYS[19] then add(recorder_totals, 'expired_failures', #members) end
end
if #finished_trims > 0 then
  call('ZREM', KEYS[16], unpack(finished_trims))
  call('HDEL', KEYS[15], unpack(finished_trims))
end
for key, members in pairs(zrem) do call('ZREM', key, unpack(members)) end
for key, pairs_ in pairs(zadd) do call('ZADD', key, unpack(pairs_)) end

local function write_olds(owner, key)
  if owner.forgotten then
    local fields = {}
    for field in pairs(owner.forgotten) do fields[#fields + 1] = field end
    if #fields > 0 then call('HDEL', key, unpack(fields)) end
  end
  if owner.kept then
    for field, old in pairs(owner.kept) do call('HSET', key, field, bytes_of(old)) end
  end
end

-- A late end may make the hash of earlier attempts, which then joins the others' expiry.
local function expire_with(key, ...)
  local left = call('PTTL', key)
  local expires = int(now_ms + (left >= 0 and left or tracking_ttl))
  for _, other in ipairs({key, ...}) do call('PEXPIREAT', other, expires) end
end

for _, run in ipairs(run_order) do
  local at = run.at
  local records = {}
  for _, job in ipairs(run.job_order) do
    if job.changed or job.head_changed then
      records[#records + 1] = job.id
      records[#records + 1] = bytes_of(job)
    end
  end
  if #records > 0 then call('HSET', KEYS[at], unpack(records)) end
  write_olds(run, KEYS[at + 2])
  if run.unsynced_ids then
    call(
      'RPUSH', KEYS[at + 3], version_text .. ':' .. #run.unsynced_ids, unpack(run.unsynced_ids)
    )
  end
  local set = {}
  for field, text in pairs(run.set) do
    set[#set + 1] = field
    set[#set + 1] = text
  end
  for field, number in pairs(run.numbers) do
    if number ~= run.was[field] then
      set[#set + 1] = field
      set[#set + 1] = int(number)
    end
  end
  if run.job_time ~= run.job_time_was or (run.changed and not run.born) then
    set[#set + 1] = 'total_job_time'
    set[#set + 1] = format(
      '%.0f.%06.0f', floor(run.job_time / 1000000), run.job_time % 1000000
    )
  end
  if run.changed then
    set[#set + 1] = 'version'
    set[#set + 1] = version_text
    set[#set + 1] = 'last_update'
    set[#set + 1] = format('%.6f', now_us / 1000000)
    if not run.born then
      for i = 1, SHOWN_NUMBERS do
        if run.numbers[FIELDS[i]] == 0 then
          set[#set + 1] = FIELDS[i]
          set[#set + 1] = '0'
        end
      end
    end
  end
  if #set > 0 and (run.changed or run.born) then call('HSET', KEYS[at + 1], unpack(set)) end
  if run.changed then
    if run.unmark then call('HDEL', KEYS[at + 1], 'partial') end
    if run.reopened then call('HDEL', KEYS[at + 1], 'drained_at') end
    if run.alive and not run.finished then
      call('HDEL', KEYS[at + 1], 'finished', 'finished_at', 'exit_code')
      call('HDEL', KEYS[15], run.process_id)
      call('ZREM', KEYS[16], run.process_id)
    end
    local expires = int(run.expires)
    call('PEXPIREAT', KEYS[at + 1], expires)
    if run.numbers.job_count > 0 then
      call('PEXPIREAT', KEYS[at], expires)
      call('PEXPIREAT', KEYS[at + 3], expires)
      if run.numbers.retried_jobs > 0 then call('PEXPIREAT', KEYS[at + 2], expires) end
    end
  elseif run.kept or run.unsynced_ids then
    expire_with(KEYS[at], KEYS[at + 1], KEYS[at + 2], KEYS[at + 3])
  end
  if run.finished_body then
    call('HDEL', KEYS[14], run.process_id)
    call('ZREM', KEYS[18], run.process_id)
    call('HSET', KEYS[15], run.process_id, run.finished_body)
    call('ZADD', KEYS[16], int(run.kept_until), run.process_id)
  elseif run.running_body then
    call('HSET', KEYS[14], run.process_id, run.running_body)
    if run.beats then call('ZADD', KEYS[18], int(now_ms), run.process_id) end
  end
end
for key, process_id in pairs(pid_map) do call('SET', key, process_id, 'PX', int(tracking_ttl)) end

for _, owner in ipairs(manual_order) do
  local key = KEYS[owner.at]
  write_olds(owner, KEYS[owner.at + 1])
  for _, job in ipairs(owner.job_order) do
    if job.changed then
      call('DEL', key)
      call(
        'HSET', key, 'status', STATUSES[job.rank], 'attempt', int(job.attempt), 'record',
        bytes_of(job), 'process_id', owner.process_id, 'last_update',
        format('%.6f', now_us / 1000000), unpack(job.fields)
      )
      local expires = int(owner.expires)
      call('PEXPIREAT', key, expires)
      call('PEXPIREAT', KEYS[owner.at + 1], expires)
    elseif job.head_changed then
      call('HSET', key, 'record', bytes_of(job))
    end
    if owner.kept and not job.changed then expire_with(key, KEYS[owner.at + 1]) end
  end
end

for key, ids in pairs(tree_members) do
  call('SADD', key, unpack(ids))
  call('PEXPIREAT', key, int(tree_expires[key]))
end

for key, message in pairs(messages) do call('SET', key, message, 'PX', int(failed_ttl)) end

for i = 1, #dropped, 2 do add(recorder_totals, 'dropped:' .. dropped[i], tonumber(dropped[i + 1])) end
if applied + late > 0 then add(recorder_totals, 'transitions', applied + late) end
for field, number in pairs(job_totals) do call('HINCRBY', KEYS[8], field, int(number)) end
if #new_exemplars > 0 then call('HSET', KEYS[20], unpack(new_exemplars)) end
for field, number in pairs(command_totals) do call('HINCRBY', KEYS[9], field, int(number)) end
for field, number in pairs(command_latest) do call('HSET', KEYS[9], field, int(number)) end
for field, number in pairs(recorder_totals) do call('HINCRBY', KEYS[10], field, int(number)) end
if oldest_ms then call('HSET', KEYS[10], 'lag_ms', int(max(0, now_ms - oldest_ms))) end

return {applied, late, ignored, stale, version_text}
