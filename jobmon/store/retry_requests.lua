-- Keeps a request to run all failed jobs of a run again, and how far it is.
--
-- Asking is everybody's; what became of it is told by the holder of the lease alone.
--
-- KEYS
--   1 store:meta   2 lease:leader   3 retries:open   4 retries:of:<processId>
--
-- ARGV
--   1 schema   2 token, 0 to add   3 add or note   4 process id   5 ms that it is kept
--   add:   6 who   7 how many jobs   8 the last row   9 the row that they come after: the last one
--          of what is asked for already, or 0
--   note:  6 the last row that was tried   7 why one was refused, or empty   8 how many more were
--          pushed   9 how many more were refused
--
-- Returns 1; 0 and changes nothing where what is asked for ends at another row than 9 says;
-- -1 where the lease is another's, nobody has asked, or the schema is newer.

local call, format = redis.call, string.format

local function int(number) return format('%.0f', number) end

local schema, token, what, process_id = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if (tonumber(call('HGET', KEYS[1], 'schema')) or 0) > schema then return -1 end
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = int(now_ms + tonumber(ARGV[5]))

if what == 'add' then
  local finished = call('HGET', KEYS[4], 'finished_ms')
  local known = not finished and tonumber(call('HGET', KEYS[4], 'last')) or 0
  if tonumber(ARGV[9]) ~= known then return 0 end
  call('ZREMRANGEBYSCORE', KEYS[3], '-inf', int(now_ms - tonumber(ARGV[5])))
  if known == 0 then
    call('DEL', KEYS[4])
    call(
      'HSET', KEYS[4], 'who', ARGV[6], 'requested', ARGV[7], 'pushed', '0', 'refused', '0',
      'last', ARGV[8], 'after', '0', 'error', '', 'requested_ms', int(now_ms)
    )
  elseif tonumber(ARGV[8]) > known then
    call('HINCRBY', KEYS[4], 'requested', ARGV[7])
    call('HSET', KEYS[4], 'last', ARGV[8])
  end
  call('ZADD', KEYS[3], 'NX', int(now_ms), process_id)
  call('PEXPIREAT', KEYS[4], until_ms)
  return 1
end

if call('HGET', KEYS[2], 'token') ~= token then return -1 end
if call('HLEN', KEYS[4]) == 0 then
  call('ZREM', KEYS[3], process_id)
  return -1
end
call('HSET', KEYS[4], 'after', ARGV[6], 'error', ARGV[7])
call('HINCRBY', KEYS[4], 'pushed', ARGV[8])
call('HINCRBY', KEYS[4], 'refused', ARGV[9])
if tonumber(ARGV[6]) >= tonumber(call('HGET', KEYS[4], 'last')) then
  call('HSET', KEYS[4], 'finished_ms', int(now_ms))
  call('ZREM', KEYS[3], process_id)
end
return 1
