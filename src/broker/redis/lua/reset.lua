#!lua flags=allow-oom
-- reset.lua
-- Empties one queue and enters an epoch with claims closed. A repeat within one epoch keeps the fence
-- counter, so that no fence is issued twice. Locks stay: the next claim's higher fence takes them over.
-- Keys of lanes are computed from the set of known lanes; they share the slot of the declared keys.
--
-- Move: scheduled -> absent
-- Move: retrying -> absent
-- Move: ready -> absent
-- Move: running -> absent
-- Keys: 5
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
--   KEYS[5] lanes   set         <prefix>{queue}:lanes
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] ledger id, text
-- Returns: { now ms }; error EPOCH <found> when a higher epoch stands there

local control = redis.call('HMGET', KEYS[1], 'epoch', 'fence')
local found, epoch = tonumber(control[1] or '0'), tonumber(ARGV[1])
if found > epoch then
  return wrong_epoch(control[1])
end
local fence = found == epoch and control[2] or '0'
drop_all(KEYS, ARGV[2])
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'ledger', ARGV[3], 'epoch', ARGV[1], 'open', '0', 'fence', fence)
return { digits(server_ms()) }
