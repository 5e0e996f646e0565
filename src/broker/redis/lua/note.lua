#!lua flags=allow-oom
-- note.lua
-- Writes a small text that all nodes share, unless somebody else wrote since the caller looked. Holds in any
-- epoch: what the nodes tell each other here has nothing to do with the entries.
--
-- Move: -
-- Keys: 1
--   KEYS[1] notes  hash  <prefix>notes
-- Args:
--   ARGV[1] name, text
--   ARGV[2] version that the caller saw, number; empty if there was no such note
--   ARGV[3] the new text
-- Returns: { now ms, written, the new version } or { now ms, differs, what stands there as version;text, or empty }

local now = server_ms()
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local version = string.match(found, '^(%d+);') or ''
if version ~= ARGV[2] then
  return { digits(now), 'differs', found }
end
-- Never a version that was given before, also after a loss of the notes: they count with the clock.
local new = digits(math.max(now, (tonumber(version) or 0) + 1))
redis.call('HSET', KEYS[1], ARGV[1], new .. ';' .. ARGV[3])
return { digits(now), 'written', new }
