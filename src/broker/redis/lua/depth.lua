#!lua flags=allow-oom
-- depth.lua
-- Makes due entries ready and counts what the queue holds. The caller repeats it while more is due.
-- Keys of lanes that were not asked for are computed from the prefix and the set of known lanes; they
-- share the slot of the declared keys.
--
-- Move: scheduled -> ready
-- Move: retrying -> ready
-- Keys: 5 and one per lane asked for
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
--   KEYS[5] lanes   set         <prefix>{queue}:lanes
--   KEYS[6..] lane  sorted set  <prefix>{queue}:lane:<type>
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] most entries to make ready, 1..500
-- Returns: { now ms, 1 if more is due, later, leased, head score or empty, { ctl as field, value, ... },
--   { per lane asked for: its length }, { per lane asked for: its smallest score or empty } }; error EPOCH <found> in another epoch

local epoch, prefix = ARGV[1], ARGV[2]
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }

local found_epoch = redis.call('HGET', keys.ctl, 'epoch')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end
local now = server_ms()
local more_due = promote(keys, now, tonumber(ARGV[3]))

local head
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[5])) do
  local first = redis.call('ZRANGE', prefix .. 'lane:' .. lane, 0, 0, 'WITHSCORES')
  if first[2] and (not head or tonumber(first[2]) < tonumber(head)) then
    head = first[2]
  end
end
local lengths, heads = {}, {}
for at = 6, #KEYS do
  lengths[at - 5] = redis.call('ZCARD', KEYS[at])
  heads[at - 5] = redis.call('ZRANGE', KEYS[at], 0, 0, 'WITHSCORES')[2] or ''
end
return { digits(now), more_due and '1' or '0', redis.call('ZCARD', keys.later), redis.call('ZCARD', keys.leases),
  head or '', redis.call('HGETALL', keys.ctl), lengths, heads }
