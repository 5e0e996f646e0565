#!lua flags=no-writes
-- place.lua
-- Tells where one entry stands: how many run before it, when it is due, and whose lock it meets. Keys of its
-- own lane and lock are computed from the prefix; they share the slot of the declared keys.
--
-- Move: -
-- Keys: 3 and one per lane
--   KEYS[1] ctl    hash        <prefix>{queue}:ctl
--   KEYS[2] later  sorted set  <prefix>{queue}:later
--   KEYS[3] jobs   hash        <prefix>{queue}:jobs
--   KEYS[4..] lane  sorted set  <prefix>{queue}:lane:<type>: the lanes whose entries count
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] id, text
-- Returns: { now ms, entry or empty, due ms or empty, entries of the lanes before it or empty, its lock or
--   empty }; error EPOCH <found> in another epoch

local found_epoch = redis.call('HGET', KEYS[1], 'epoch')
if found_epoch ~= ARGV[1] then
  return wrong_epoch(found_epoch)
end
local prefix, id = ARGV[2], ARGV[3]
local reply = { digits(server_ms()), '', '', '', '' }
local raw = redis.call('HGET', KEYS[3], id)
if not raw then
  return reply
end
reply[2] = raw
reply[5] = redis.call('GET', prefix .. 'job_lock:' .. id) or ''
local entry = read_entry(raw)
if entry.fence ~= '' then
  return reply
end
if entry.score ~= '' then
  reply[3] = redis.call('ZSCORE', KEYS[2], id) or ''
  return reply
end
local score = redis.call('ZSCORE', prefix .. 'lane:' .. entry.kind, id)
if not score then
  return reply
end

-- How many entries of a lane come before: all with a smaller score, and those with the same one whose id is
-- smaller, which are found by halving.
local function before(lane)
  local from = redis.call('ZCOUNT', lane, '-inf', '(' .. score)
  local to = redis.call('ZCOUNT', lane, '-inf', score)
  while from < to do
    local middle = math.floor((from + to) / 2)
    if id_before(redis.call('ZRANGE', lane, middle, middle)[1], id) then
      from = middle + 1
    else
      to = middle
    end
  end
  return from
end

local ahead = 0
for at = 4, #KEYS do
  ahead = ahead + before(KEYS[at])
end
reply[4] = digits(ahead)
return reply
