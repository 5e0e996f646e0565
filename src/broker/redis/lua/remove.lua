#!lua flags=allow-oom
-- remove.lua
-- Takes entries out, waiting or (if asked) leased, unless they belong to a later life than asked, with
-- their result and a lock of ours. What is not there may be on its way: a later push of that life, or of one
-- below, enters suspect. Keys of lanes, locks and results are computed from the prefix; they share the slot
-- of the declared keys.
--
-- Move: scheduled -> absent
-- Move: retrying -> absent
-- Move: ready -> absent
-- Move: running -> absent
-- Keys: 4
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] 1 to take leased entries too, 0 to leave them
--   ARGV[4..] per entry, at most 500: id, seq
-- Returns: { now ms, then per entry: absent, waiting, or the node that holds (or held) it after a colon }; error
--   EPOCH <found> in another epoch

local epoch, prefix = ARGV[1], ARGV[2]
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }
local leased_too = ARGV[3] == '1'
local FIRST, WIDTH = 4, 2

local control = redis.call('HMGET', keys.ctl, 'epoch', 'suspect_seq')
local found_epoch, suspect_seq = control[1], tonumber(control[2] or '0')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end

local ids = {}
for at = FIRST, #ARGV, WIDTH do
  ids[#ids + 1] = ARGV[at]
end
local raws = read_all(keys.jobs, ids)
local reply, removed = { digits(server_ms()) }, {}
local writes = new_writes()
local known_suspect_seq = suspect_seq

local function remove(id, raw, seq)
  local entry = raw and not removed[id] and read_entry(raw)
  if entry and tonumber(entry.seq) > tonumber(seq) then
    return 'absent'
  end
  if entry and entry.fence ~= '' and not leased_too then
    return ':' .. entry.node
  end
  redis.call('DEL', prefix .. 'job_result:' .. id)
  if not entry then
    suspect_seq = math.max(suspect_seq, tonumber(seq))
    return 'absent'
  end
  removed[id] = true
  local lock = redis.call('GET', prefix .. 'job_lock:' .. id)
  if lock and lock_fence(lock) then
    append(writes.unlock, prefix .. 'job_lock:' .. id)
  end
  take_out(writes, id, entry)
  if entry.fence ~= '' then
    return ':' .. entry.node
  end
  return 'waiting'
end

for at, id in ipairs(ids) do
  reply[at + 1] = remove(id, raws[at], ARGV[FIRST + (at - 1) * WIDTH + 1])
end
flush(writes, keys)
if suspect_seq > known_suspect_seq then
  redis.call('HSET', keys.ctl, 'suspect_seq', digits(suspect_seq))
end
return reply
