#!lua flags=allow-oom
-- renew.lua
-- Extends leases and their locks. A lease that expired and that nobody took is still held. A lock that
-- vanished is set again; a lock that another program took meanwhile is left to it. Keys of locks are
-- computed from the prefix; they share the slot of the declared keys.
--
-- Move: -
-- Keys: 3
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] leases  sorted set  <prefix>{queue}:leases
--   KEYS[3] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] lease, milliseconds
--   ARGV[4] lock, milliseconds
--   ARGV[5..] per lease, at most 500: id, seq, fence
-- Returns: { now ms, then per lease: 1 if held, else 0 }; error EPOCH <found> in another epoch

local epoch, prefix, lease_ms, lock_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local FIRST, WIDTH = 5, 3

local found_epoch = redis.call('HGET', KEYS[1], 'epoch')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end
local now = server_ms()

local ids = {}
for at = FIRST, #ARGV, WIDTH do
  ids[#ids + 1] = ARGV[at]
end
local raws = read_all(KEYS[3], ids)
local reply, deadlines = { digits(now) }, {}

local lock_keys = keys_of(prefix .. 'job_lock:', ids)
local locks = #ids > 0 and redis.call('MGET', unpack(lock_keys)) or {}
local lease_end = digits(now + lease_ms)

for at, id in ipairs(ids) do
  local base = FIRST + (at - 1) * WIDTH
  local lock = lock_if_held(raws[at], ARGV[base + 1], ARGV[base + 2])
  if lock then
    append_two(deadlines, lease_end, id)
    if locks[at] == lock then
      redis.call('PEXPIRE', lock_keys[at], lock_ms)
    elseif not locks[at] then
      redis.call('SET', lock_keys[at], lock, 'NX', 'PX', lock_ms)
    end
    reply[at + 1] = 1
  else
    reply[at + 1] = 0
  end
end
call_with('ZADD', KEYS[2], deadlines)
return reply
