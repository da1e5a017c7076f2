-- Takes, keeps and gives back a lease, by the server's own clock.
--
-- A token grows with every holder, after a flush too: it is the moment of taking in us, or one more
-- than the last one, whichever is higher.
--
-- KEYS
--   1 store:meta   2 lease:<name>
--
-- ARGV
--   1 schema   2 acquire, renew or release   3 token, empty to acquire   4 ms that it holds
--   5 host     6 pid
--
-- Returns the token, 0 where the lease is another's, or -1 and changes nothing when the store's
-- schema is newer.

local call, format = redis.call, string.format

local function int(number) return format('%.0f', number) end

local schema, wish, token, holds_ms = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])

local meta = call('HMGET', KEYS[1], 'schema', 'lease_token')
if (tonumber(meta[1]) or 0) > schema then return '-1' end
local time = call('TIME')
local now_us = time[1] * 1000000 + time[2]
local until_ms = int(math.floor(now_us / 1000) + holds_ms)
local holder = call('HGET', KEYS[2], 'token')

if wish == 'acquire' then
  if holder then return '0' end
  token = int(math.max(now_us, (tonumber(meta[2]) or 0) + 1))
  -- The first command that writes is one that an out-of-memory server refuses.
  call('HSET', KEYS[1], 'schema', schema, 'lease_token', token)
  call(
    'HSET', KEYS[2], 'token', token, 'host', ARGV[5], 'pid', ARGV[6],
    'since', format('%.6f', now_us / 1000000)
  )
  call('PEXPIREAT', KEYS[2], until_ms)
  return token
end
if holder ~= token then return '0' end
if wish == 'renew' then
  call('PEXPIREAT', KEYS[2], until_ms)
else
  call('DEL', KEYS[2])
end
return token
