#!lua flags=allow-oom
-- reap.lua
-- Returns expired leases to their lanes, suspect and with their score: a crash more if the node is gone, a
-- deferral more if it lives. The lock stays: its holder may still run, and the next claim's higher fence
-- takes it over. Keys of lanes are computed from the prefix; they share the slot of the declared keys.
--
-- Move: running -> ready
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
--   ARGV[5] limit, 0..500 leases
--   ARGV[6] when the caller gives up, milliseconds since the epoch; later nothing is returned
--   ARGV[7..] node that lives, text
-- Returns: { now ms, then per lease: id, 1 if its node lives, else 0 }; error EPOCH <found> in another epoch

local epoch, prefix, channel, queue, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local keys = { ctl = KEYS[1], later = KEYS[2], leases = KEYS[3], jobs = KEYS[4], prefix = prefix }
local CRASHES, DEFERRALS = 3, 4

local found_epoch = redis.call('HGET', keys.ctl, 'epoch')
if found_epoch ~= epoch then
  return wrong_epoch(found_epoch)
end
local now = server_ms()

-- A call that was held up on its way knows nothing of the holders that were held up with it.
if now > tonumber(ARGV[6]) then
  return { digits(now) }
end

local living = {}
for at = 7, #ARGV do
  living[ARGV[at]] = true
end
local reply = { digits(now) }
local writes = new_writes()
local ids = redis.call('ZRANGEBYSCORE', keys.leases, '-inf', digits(now), 'LIMIT', 0, limit)
local raws = read_all(keys.jobs, ids)
for at, id in ipairs(ids) do
  append(writes.unleases, id)
  local entry = raws[at] and read_entry(raws[at])
  if entry and entry.fence ~= '' then
    local lives = living[entry.node]
    add_to_counter(entry, lives and DEFERRALS or CRASHES)
    make_suspect(entry)
    end_lease(entry)
    place(writes, id, entry, entry.score, nil, now)
    reply[#reply + 1] = id
    reply[#reply + 1] = lives and '1' or '0'
  end
end
flush(writes, keys)
if #reply > 1 then
  redis.call('PUBLISH', channel, queue)
end
return reply
