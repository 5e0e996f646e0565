#!lua flags=allow-oom
-- advance.lua
-- Goes from one epoch to a later one and keeps everything: the next fences are above all older ones,
-- and their counter starts anew. May be repeated.
--
-- Move: -
-- Keys: 1
--   KEYS[1] ctl or meta  hash  <prefix>{queue}:ctl or <prefix>meta
-- Args:
--   ARGV[1] epoch that is left, number
--   ARGV[2] epoch that is entered, number
--   ARGV[3] 1 to start the counter of fences anew, else 0
-- Returns: { now ms }; error EPOCH <found> in neither

local found = redis.call('HGET', KEYS[1], 'epoch')
if found == ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
  if ARGV[3] == '1' then
    redis.call('HSET', KEYS[1], 'fence', '0')
  end
elseif found ~= ARGV[2] then
  return wrong_epoch(found)
end
return { digits(server_ms()) }
