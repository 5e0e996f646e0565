#!lua flags=allow-oom
-- admit.lua
-- Notes that claims of an epoch are open, after all its queues are.
--
-- Move: -
-- Keys: 1
--   KEYS[1] meta  hash  <prefix>meta
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] 1 to note it, 0 only to check the epoch
-- Returns: { now ms }; error EPOCH <found> in another epoch

local found = redis.call('HGET', KEYS[1], 'epoch')
if found ~= ARGV[1] then
  return wrong_epoch(found)
end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'open', '1')
end
return { digits(server_ms()) }
