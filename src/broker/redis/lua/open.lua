#!lua flags=allow-oom
-- open.lua
-- Opens claims of one queue. A queue that is new, or that holds nothing of a former epoch, enters the
-- epoch by this.
--
-- Move: -
-- Keys: 2
--   KEYS[1] ctl   hash  <prefix>{queue}:ctl
--   KEYS[2] jobs  hash  <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] channel of wake-ups, text
--   ARGV[3] queue, text
-- Returns: { now ms }; error EPOCH <found> in another epoch

local found = redis.call('HGET', KEYS[1], 'epoch')
if found ~= ARGV[1] then
  if found and (tonumber(found) > tonumber(ARGV[1]) or redis.call('EXISTS', KEYS[2]) == 1) then
    return wrong_epoch(found)
  end
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'fence', '0')
end
redis.call('HSET', KEYS[1], 'open', '1')
redis.call('PUBLISH', ARGV[2], ARGV[3])
return { digits(server_ms()) }
