#!lua flags=allow-oom
-- enter.lua
-- Writes which ledger and epoch the server is in, with claims closed, and notes queues before anything
-- stands in them. Refused when another ledger or a
-- higher epoch stands there.
--
-- Move: -
-- Keys: 1
--   KEYS[1] meta  hash  <prefix>meta
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] ledger id, text
--   ARGV[3..] queues to note, text
-- Returns: { now ms, then every queue that is noted }; error LEDGER <found> for another ledger, EPOCH <found> when a higher epoch stands there

local found = redis.call('HMGET', KEYS[1], 'ledger', 'epoch')
if found[1] and found[1] ~= ARGV[2] then
  return redis.error_reply('LEDGER ' .. found[1])
end
if found[2] and tonumber(found[2]) > tonumber(ARGV[1]) then
  return wrong_epoch(found[2])
end
redis.call('HSET', KEYS[1], 'ledger', ARGV[2], 'epoch', ARGV[1], 'open', '0')
note_queues(KEYS[1], 3)
return noted_queues(KEYS[1])
