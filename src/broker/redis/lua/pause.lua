#!lua flags=allow-oom
-- pause.lua
-- Stops or allows claims of a queue, or of one lane. Holds in any epoch, so that pauses can be in force
-- before claims open.
--
-- Move: -
-- Keys: 1
--   KEYS[1] ctl  hash  <prefix>{queue}:ctl
-- Args:
--   ARGV[1] type of the lane, or empty for the whole queue
--   ARGV[2] 1 to pause, 0 to resume
--   ARGV[3] channel of wake-ups, text
--   ARGV[4] queue, text
-- Returns: { now ms }

local field = ARGV[1] == '' and 'paused' or 'paused:' .. ARGV[1]
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], field, '1')
else
  redis.call('HDEL', KEYS[1], field)
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return { digits(server_ms()) }
