#!lua
-- push.lua
-- Adds entries to a queue. An entry of an older life under the same id is replaced, with its lease,
-- its lock and its result; one of the same or a newer life stays. An entry is clean only if the
-- server's clock has not passed its stamp and no life from its own on was ever pushed as suspect: then
-- somebody may have run it already. Refused as a whole when the server is out of memory.
--
-- Move: absent -> ready
-- Move: absent -> scheduled
-- Move: absent -> retrying
-- Keys: 5
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
--   KEYS[5] lanes   set         <prefix>{queue}:lanes
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] channel of wake-ups, text
--   ARGV[4] queue, text
--   ARGV[5..] per entry, at most 500: id, seq, type, flags without c, clean until ms, score, due ms or
--     empty, counters or empty
-- Returns: { now ms, then per entry: 0 added, 1 present, 2 replaced, 3 outlived }; error EPOCH <found> in
--   another epoch

local epoch, prefix, channel, queue = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }
local FIRST, WIDTH = 5, 8

local control = redis.call('HMGET', keys.ctl, 'epoch', 'suspect_seq')
local found_epoch, suspect_seq = control[1], tonumber(control[2] or '0')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end
local now = server_ms()

local ids = {}
for at = FIRST, #ARGV, WIDTH do
  ids[#ids + 1] = ARGV[at]
end
local known_suspect_seq = suspect_seq
local raws = read_all(keys.jobs, ids)
local reply = { digits(now) }
local writes = new_writes()
local pushed, lanes = {}, {}
local has_added = false

-- The entry under this id as it would be read now: an id may come twice in one push.
local function standing(at)
  local id = ids[at]
  if pushed[id] then
    flush(writes, keys)
    writes = new_writes()
    return redis.call('HGET', keys.jobs, id)
  end
  pushed[id] = true
  return raws[at]
end

local function push(at, base)
  local id, seq = ids[at], ARGV[base + 1]
  if ARGV[base + 4] == '0' then
    suspect_seq = math.max(suspect_seq, tonumber(seq))
  end
  local raw = standing(at)
  local answer = 0
  if raw then
    local old = read_entry(raw)
    if old.seq == seq then
      return 1
    elseif tonumber(old.seq) > tonumber(seq) then
      return 3
    end
    -- Removed at once, since the writes below are gathered per key.
    local removal = new_writes()
    take_out(removal, id, old)
    flush(removal, keys)
    redis.call('DEL', prefix .. 'job_result:' .. id)
    local lock = redis.call('GET', prefix .. 'job_lock:' .. id)
    if lock and lock_fence(lock) then
      redis.call('DEL', prefix .. 'job_lock:' .. id)
    end
    answer = 2
  end
  local flags = ARGV[base + 3]
  if tonumber(ARGV[base + 4]) >= now and tonumber(seq) > suspect_seq then
    flags = flags .. 'c'
  end
  local kind, counters, due = ARGV[base + 2], ARGV[base + 7], tonumber(ARGV[base + 6])
  lanes[kind] = true
  has_added = true
  if counters == '' and (not due or due <= now) then
    local priority = string.sub(flags, 1, 1)
    writes.ready[priority] = (writes.ready[priority] or 0) + 1
    append_two(list_of(writes.lanes, kind), ARGV[base + 5], id)
    append_two(writes.jobs, id, kind .. ';' .. seq .. ';' .. flags)
    return answer
  end
  local entry = { kind = kind, seq = seq, flags = flags, counters = counters,
    score = '', fence = '', node = '', claimed_at = '', waiting_since = '' }
  place(writes, id, entry, ARGV[base + 5], due, now)
  return answer
end

for at = 1, #ids do
  reply[at + 1] = push(at, FIRST + (at - 1) * WIDTH)
end
flush(writes, keys)
if suspect_seq > known_suspect_seq then
  redis.call('HSET', keys.ctl, 'suspect_seq', digits(suspect_seq))
end
for lane in pairs(lanes) do
  redis.call('SADD', KEYS[5], lane)
end
if has_added then
  redis.call('PUBLISH', channel, queue)
end
return reply
