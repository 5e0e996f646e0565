#!lua flags=no-writes
-- leases.lua
-- Reads leased entries, oldest deadline first.
--
-- Move: -
-- Keys: 3
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] leases  sorted set  <prefix>{queue}:leases
--   KEYS[3] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] rank of the first, number
--   ARGV[3] limit, 1..500
-- Returns: { now ms, then per lease: id, entry }; error EPOCH <found> in another epoch

local found_epoch = redis.call('HGET', KEYS[1], 'epoch')
if found_epoch ~= ARGV[1] then
  return wrong_epoch(found_epoch)
end
local first = tonumber(ARGV[2])
local ids = redis.call('ZRANGE', KEYS[2], first, first + tonumber(ARGV[3]) - 1)
local reply = { digits(server_ms()) }
for at, raw in ipairs(read_all(KEYS[3], ids)) do
  if raw then
    reply[#reply + 1] = ids[at]
    reply[#reply + 1] = raw
  end
end
return reply
