#!lua flags=allow-oom
-- open.lua
-- Opens claims of one queue. A new queue enters the epoch by this, without what a queue of its name may have
-- left in an older one. A queue that was noted in the epoch and does not have it has been lost: that is refused,
-- so that no fence is issued twice. Keys of lanes are computed from the set of known lanes; they share the
-- slot of the declared keys.
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
--   ARGV[2] channel of wake-ups, text
--   ARGV[3] queue, text
--   ARGV[4] prefix of the queue's keys, text
--   ARGV[5] 1 if the queue is new, else 0
-- Returns: { now ms }; error EPOCH <found> in another epoch

local found = redis.call('HGET', KEYS[1], 'epoch')
if found ~= ARGV[1] then
  if ARGV[5] ~= '1' or (found and tonumber(found) > tonumber(ARGV[1])) then
    return wrong_epoch(found)
  end
  drop_all(KEYS, ARGV[4])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'fence', '0')
end
redis.call('HSET', KEYS[1], 'open', '1')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { digits(server_ms()) }
