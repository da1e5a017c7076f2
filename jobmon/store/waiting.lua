-- Counts the jobs that wait and that run, by series, and those of them that do so for too long.
--
-- One call, because a scrape would else send four commands for each series. Writes nothing.
--
-- KEYS
--   1 series:jobs
-- Not declared, because which ones is known only here: pending:<series>, processing:<series>.
--
-- ARGV
--   1 prefix of pending:<series>   2 ms after which what waits is late
--   3 prefix of processing:<series>   4 ms after which what runs is late
--   5 ms after which what is in an index has lost its record: nobody may take it out
--
-- Returns {now in ms, then for each series its number, how many wait, run, wait late, run late}.

local call, format = redis.call, string.format

local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local waits_since = format('%.0f', now_ms - tonumber(ARGV[2]))
local runs_since = format('%.0f', now_ms - tonumber(ARGV[4]))
local lost_since = format('%.0f', now_ms - tonumber(ARGV[5]))
local found = {now_ms}
local function count(series)
  local waiting, running = ARGV[1] .. series, ARGV[3] .. series
  local waits = call('ZCOUNT', waiting, lost_since, '+inf')
  local runs = call('ZCOUNT', running, lost_since, '+inf')
  local at = #found
  found[at + 1], found[at + 2], found[at + 3] = series, waits, runs
  found[at + 4] = waits > 0 and call('ZCOUNT', waiting, lost_since, waits_since) or 0
  found[at + 5] = runs > 0 and call('ZCOUNT', running, lost_since, runs_since) or 0
end
for _, series in ipairs(call('HVALS', KEYS[1])) do count(series) end
return found
