#!lua flags=no-writes
-- inspect.lua
-- Reads entries by id.
--
-- Move: -
-- Keys: 2
--   KEYS[1] ctl   hash  <prefix>{queue}:ctl
--   KEYS[2] jobs  hash  <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2..] id, text, at most 500
-- Returns: { now ms, then per id: its entry or empty }; error EPOCH <found> in another epoch

local found_epoch = redis.call('HGET', KEYS[1], 'epoch')
if found_epoch ~= ARGV[1] then
  return wrong_epoch(found_epoch)
end
local ids = {}
for at = 2, #ARGV do
  ids[at - 1] = ARGV[at]
end
local reply = { digits(server_ms()) }
for at, raw in ipairs(read_all(KEYS[2], ids)) do
  reply[at + 1] = raw or ''
end
return reply
