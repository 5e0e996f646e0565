#!lua flags=allow-oom
-- settle.lua
-- Ends leases that are still held: the entry leaves, or goes back and is suspect from then on. The lock
-- goes only if it still has our value. What happens to an entry, and when it is due again, was decided
-- by the caller. Keys of lanes, locks and results are computed from the prefix; they share the slot of
-- the declared keys.
--
-- Move: running -> absent
-- Move: running -> retrying
-- Move: running -> ready
-- Move: running -> scheduled
-- Keys: 4
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] channel of wake-ups, text
--   ARGV[4] queue, text
--   ARGV[5] 1 if results may be kept, else 0
--   ARGV[6..] per lease, at most 500: id, seq, fence, what (done, retry, defer, crash), due ms or empty
--     (of done: how long to keep the result, ms, or empty), result JSON or empty
-- Returns: { now ms, then per lease: 1 if it was held, else 0 }; error EPOCH <found> in another epoch

local epoch, prefix, channel, queue, keeps_results = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }
local FIRST, WIDTH = 6, 6
-- Which counter grows, by what happens; a done entry has none left to grow.
local COUNTER = { retry = 1, crash = 3, defer = 4 }

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
local lock_keys = keys_of(prefix .. 'job_lock:', ids)
local locks = #ids > 0 and redis.call('MGET', unpack(lock_keys)) or {}
local reply, settled = { digits(now) }, {}
local writes = new_writes()
local has_returns = false

local function settle(at, base)
  local id, what, due, result = ids[at], ARGV[base + 3], ARGV[base + 4], ARGV[base + 5]
  local raw = raws[at]
  local lock = not settled[id] and lock_if_held(raw, ARGV[base + 1], ARGV[base + 2])
  if not lock then
    return 0
  end
  settled[id] = true
  append(writes.unleases, id)
  if locks[at] == lock then
    append(writes.unlock, lock_keys[at])
  end
  if what == 'done' then
    append(writes.gone, id)
    if due ~= '' and keeps_results == '1' then
      redis.call('SET', prefix .. 'job_result:' .. id, result, 'PX', due)
    end
    return 1
  end
  local entry = read_entry(raw)
  add_to_counter(entry, COUNTER[what])
  make_suspect(entry)
  end_lease(entry)
  place(writes, id, entry, entry.score, tonumber(due), now)
  has_returns = true
  return 1
end

for at = 1, #ids do
  reply[at + 1] = settle(at, FIRST + (at - 1) * WIDTH)
end
flush(writes, keys)
if has_returns then
  redis.call('PUBLISH', channel, queue)
end
return reply
