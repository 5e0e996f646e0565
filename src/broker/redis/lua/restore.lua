#!lua flags=allow-oom
-- restore.lua
-- Gives leases back to their holders after a reset: an entry that waits in its lane and is of the life
-- named becomes leased under the fence that its holder had, with the holder's counters and lock. What is
-- due later, gone or leased to someone else is left alone. Keys of lanes and locks are computed from the
-- prefix; they share the slot of the declared keys.
--
-- Move: ready -> running
-- Keys: 4
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] lease, milliseconds
--   ARGV[4] lock, milliseconds
--   ARGV[5..] per lease, at most 500: id, seq, fence, node, counters
-- Returns: { now ms, then per lease: 1 if it stands, else 0 }; error EPOCH <found> in another epoch

local epoch, prefix, lease_ms, lock_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }
local FIRST, WIDTH = 5, 5

local found_epoch = redis.call('HGET', keys.ctl, 'epoch')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end
local now = server_ms()

local ids = {}
for at = FIRST, #ARGV, WIDTH do
  ids[#ids + 1] = ARGV[at]
end
local raws = read_all(keys.jobs, ids)
local reply, restored, writes = { digits(now) }, {}, new_writes()

local function restore(at, base)
  local id, seq, fence, node, counters = ids[at], ARGV[base + 1], ARGV[base + 2], ARGV[base + 3], ARGV[base + 4]
  if restored[id] then
    return restored[id] == fence and 1 or 0
  end
  if lock_if_held(raws[at], seq, fence) then
    return 1
  end
  local entry = raws[at] and read_entry(raws[at])
  if not entry or entry.seq ~= seq or entry.fence ~= '' or entry.score ~= '' then
    return 0
  end
  restored[id] = fence
  local score = redis.call('ZSCORE', prefix .. 'lane:' .. entry.kind, id)
  append(list_of(writes.unlanes, entry.kind), id)
  count_ready(writes, entry, -1)
  entry.counters, entry.score, entry.fence, entry.node, entry.claimed_at = counters, score, fence, node, digits(now)
  append_two(writes.leases, digits(now + lease_ms), id)
  save(writes, id, entry)
  redis.call('SET', prefix .. 'job_lock:' .. id, fence .. ':' .. node, 'PX', lock_ms)
  return 1
end

for at = 1, #ids do
  reply[at + 1] = restore(at, FIRST + (at - 1) * WIDTH)
end
flush(writes, keys)
return reply
