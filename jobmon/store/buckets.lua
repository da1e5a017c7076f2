-- Takes tokens from buckets that refill evenly, by the server's own clock.
--
-- A bucket is one number: the moment, in us, at which it is full again. One that is full has no key.
--
-- KEYS
--   1 … n   rate:<kind>:<who>, one for each wish; the same may come twice
--
-- ARGV, three for each wish
--   1 tokens wanted, negative to give back   2 us in which one token comes   3 tokens it holds
--
-- Returns for each wish the us until the bucket is full, after the taking. Where too few tokens are
-- left none is taken, and it is the us until there are enough, negative.

local call, ceil, max, min, format = redis.call, math.ceil, math.max, math.min, string.format

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local found = {}

for i, key in ipairs(KEYS) do
  local at = 3 * i
  local wanted, interval, size = tonumber(ARGV[at - 2]), tonumber(ARGV[at - 1]), tonumber(ARGV[at])
  local longest = size * interval
  -- No further off than an empty bucket: a clock may have gone back, or the settings have changed.
  local full_at = min(max(tonumber(call('GET', key) or 0), now), now + longest)
  local left = max(full_at + wanted * interval, now) - now
  if left > longest then
    found[i] = longest - left
  else
    call('SET', key, format('%.0f', now + left), 'PX', ceil(left / 1000) + 1)
    found[i] = left
  end
end
return found
