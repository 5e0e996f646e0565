#!lua flags=allow-oom
-- claim.lua
-- Makes due entries ready, then leases up to a limit of ready entries, smallest score first over the
-- open lanes, each under a fresh fence and the runbook's lock. An entry whose lock belongs to another
-- program, or carries a fence that is not lower, is put off; that is no move, it stays ready in the
-- ledger's eyes and only its turn comes later. Keys of locks and results are computed from the
-- prefix, because ids are not known before the claim; they share the slot of the declared keys.
-- Works without memory to spare, since nothing would leave a full queue otherwise.
--
-- Move: scheduled -> ready
-- Move: retrying -> ready
-- Move: ready -> running
-- Keys: 4 and one per lane
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
--   KEYS[5..] lane  sorted set  <prefix>{queue}:lane:<type>, in the order of ARGV[10..]
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] limit, 0..500 entries
--   ARGV[4] node, text
--   ARGV[5] lease, milliseconds
--   ARGV[6] lock, milliseconds
--   ARGV[7] wait for a lock of another program, milliseconds
--   ARGV[8] most entries to make ready, 1..500
--   ARGV[9] when the caller gives up, milliseconds since the epoch; later nothing is claimed
--   ARGV[10..] type of the lane, text
-- Returns: { now ms, next due in ms or -1, 1 if open lanes hold more, then per lease: id, entry,
--   1 if suspect }; error EPOCH <found> in another epoch

local epoch, prefix, limit, node = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local lease_ms, lock_ms, lock_wait_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local promotions_max = tonumber(ARGV[8])
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }

-- How long an entry steps aside: for a lock of another program, and for a fence that is not lower.
local FOREIGN_LOCK_MS, OWN_LOCK_MS = 250, 1000
-- How many entries with busy locks one claim looks at before it gives up for now.
local BUSY_MAX = 500

local fields = { 'epoch', 'open', 'paused', 'fence' }
for at = 5, #KEYS do
  fields[at] = 'paused:' .. ARGV[at + 5]
end
local control = redis.call('HMGET', keys.ctl, unpack(fields))
if control[1] ~= epoch then
  return wrong_epoch(control[1])
end
local now = server_ms()
-- A call that was held up on its way finds nobody waiting for its answer.
if control[2] ~= '1' or control[3] or now > tonumber(ARGV[9]) then
  return { digits(now), '-1', '0' }
end
local more_due = promote(keys, now, promotions_max)

-- The lanes, each read in slices of this size; one more than the limit shows whether there is more.
local lanes = {}
for at = 5, #KEYS do
  if not control[at] then
    lanes[#lanes + 1] = { key = KEYS[at], start = 0, at = 1, slice = {}, dry = false, taken = 0 }
  end
end
local slice_size = math.min(limit, math.max(16, math.ceil(2 * limit / math.max(1, #lanes)))) + 1

local function advance(lane)
  if lane.at > #lane.slice and not lane.dry then
    lane.slice = redis.call('ZRANGE', lane.key, lane.start, lane.start + slice_size - 1, 'WITHSCORES')
    lane.start = lane.start + #lane.slice / 2
    lane.dry = #lane.slice < 2 * slice_size
    lane.at = 1
  end
  lane.id, lane.text = lane.slice[lane.at], lane.slice[lane.at + 1]
  lane.score = lane.text and tonumber(lane.text)
  lane.at = lane.at + 2
end

local function is_before(lane, other)
  return not other or lane.score < other.score
    or (lane.score == other.score and id_before(lane.id, other.id))
end

-- The lane with the smallest head, and the score from which on another lane may come first.
local function smallest_lane()
  local best, second
  for _, lane in ipairs(lanes) do
    if lane.id then
      if is_before(lane, best) then
        best, second = lane, best
      elseif not second or lane.score < second.score then
        second = lane
      end
    end
  end
  return best, second and second.score or math.huge
end

local function take(most)
  local taken = { ids = {}, scores = {} }
  while #taken.ids < most do
    local lane, until_score = smallest_lane()
    if not lane then
      break
    end
    repeat
      local at = #taken.ids + 1
      taken.ids[at], taken.scores[at] = lane.id, lane.text
      lane.taken = lane.taken + 1
      advance(lane)
    until #taken.ids >= most or not lane.id or lane.score >= until_score
  end
  return taken
end

local writes = new_writes()
local counter = tonumber(control[4] or '0')
local fence_base = tonumber(epoch) * 4294967296
local reply = { digits(now), '-1', '0' }
local claimed, busy = 0, 0

local function put_off(id, entry, score, due)
  make_suspect(entry)
  entry.score = score
  append_two(writes.later, digits(due), id)
  save(writes, id, entry)
  busy = busy + 1
end

-- Whether the entry steps aside for the lock that stands there.
local function is_busy(id, entry, score, lock, fence)
  local holder = lock and lock_fence(lock)
  if not lock or (holder and holder < fence) then
    return false
  end
  if holder then
    put_off(id, entry, score, now + OWN_LOCK_MS)
    return true
  end
  local since = tonumber(entry.waiting_since) or now
  if now - since >= lock_wait_ms then
    add_to_counter(entry, 4)
    entry.waiting_since = ''
    put_off(id, entry, score, now + lock_wait_ms)
  else
    entry.waiting_since = digits(since)
    put_off(id, entry, score, now + FOREIGN_LOCK_MS)
  end
  return true
end

local claims = {}
local lease_end, claimed_at = digits(now + lease_ms), digits(now)
local lease_tail = ';' .. node .. ';' .. claimed_at .. ';'

local function lease(id, raw, fence, is_suspect)
  counter = counter + 1
  claimed = claimed + 1
  redis.call('SET', prefix .. 'job_lock:' .. id, fence .. ':' .. node, 'PX', lock_ms)
  append_two(writes.leases, lease_end, id)
  append_two(writes.jobs, id, raw)
  append_two(claims, id, raw)
  append(claims, is_suspect and '1' or '0')
end

-- An entry that never left its lane has nothing behind its flags, and needs no more than this.
local function lease_fresh(id, raw, flags, score, fence, is_suspect)
  local text = digits(fence)
  is_suspect = is_suspect or not string.find(flags, 'c', 1, true)
  lease(id, raw .. ';0.1.0.0;' .. score .. ';' .. text .. lease_tail, text, is_suspect)
end

local function lease_again(id, entry, score, fence, is_suspect)
  local counters = add_to_counter(entry, 2)
  is_suspect = is_suspect or counters[2] > 1 or not string.find(entry.flags, 'c', 1, true)
  entry.score, entry.fence, entry.node, entry.claimed_at = score, digits(fence), node, claimed_at
  entry.waiting_since = ''
  lease(id, write_entry(entry), entry.fence, is_suspect)
end

local function lease_all(taken)
  local raws = read_all(keys.jobs, taken.ids)
  local locks = redis.call('MGET', unpack(keys_of(prefix .. 'job_lock:', taken.ids)))
  local results = keys_of(prefix .. 'job_result:', taken.ids)
  local has_results = redis.call('EXISTS', unpack(results)) > 0
  for at, id in ipairs(taken.ids) do
    local raw, score, lock = raws[at], taken.scores[at], locks[at]
    local fence = fence_base + counter + 1
    local has_result = has_results and redis.call('EXISTS', results[at]) == 1
    local flags = raw and not lock and string.match(raw, '^[^;]*;[^;]*;([^;]*)$')
    if flags then
      local priority = string.sub(flags, 1, 1)
      writes.ready[priority] = (writes.ready[priority] or 0) - 1
      lease_fresh(id, raw, flags, score, fence, has_result)
    elseif raw then
      local entry = read_entry(raw)
      count_ready(writes, entry, -1)
      if not is_busy(id, entry, score, lock, fence) then
        lease_again(id, entry, score, fence, has_result or lock)
      end
    end
  end
end

for _, lane in ipairs(lanes) do
  advance(lane)
end
while claimed < limit and busy < BUSY_MAX do
  local taken = take(limit - claimed)
  if #taken.ids == 0 then
    break
  end
  lease_all(taken)
end
-- What was taken from a lane is always its beginning.
for _, lane in ipairs(lanes) do
  if lane.taken > 0 then
    redis.call('ZREMRANGEBYRANK', lane.key, 0, lane.taken - 1)
  end
end
flush(writes, keys)
if claimed > 0 then
  redis.call('HSET', keys.ctl, 'fence', digits(counter))
end

local first = redis.call('ZRANGE', keys.later, 0, 0, 'WITHSCORES')
if first[2] then
  reply[2] = digits(math.max(0, tonumber(first[2]) - now))
end
if more_due or smallest_lane() then
  reply[3] = '1'
end
for _, value in ipairs(claims) do
  append(reply, value)
end
return reply
