#!lua flags=allow-oom
-- admit.lua
-- Notes that claims of an epoch are open, after all its queues are, and which queues are new.
--
-- Move: -
-- Keys: 1
--   KEYS[1] meta  hash  <prefix>meta
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] 1 to note it, 0 only to check the epoch
--   ARGV[3..] queues to note, text
-- Returns: { now ms, then every queue that is noted }; error EPOCH <found> in another epoch

local found = redis.call('HGET', KEYS[1], 'epoch')
if found ~= ARGV[1] then
  return wrong_epoch(found)
end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'open', '1')
end
note_queues(KEYS[1], 3)
return noted_queues(KEYS[1])
