#!lua flags=no-writes
-- scan.lua
-- Reads a part of all entries, in no order, and says whether each stands where its text says it does: in
-- its lane, among what is due later, or among the leases. Keys of lanes are computed from the prefix;
-- they share the slot of the declared keys.
--
-- Move: -
-- Keys: 4
--   KEYS[1] ctl     hash        <prefix>{queue}:ctl
--   KEYS[2] later   sorted set  <prefix>{queue}:later
--   KEYS[3] leases  sorted set  <prefix>{queue}:leases
--   KEYS[4] jobs    hash        <prefix>{queue}:jobs
-- Args:
--   ARGV[1] epoch, number
--   ARGV[2] prefix of the queue's keys, text
--   ARGV[3] cursor, text; 0 to begin
--   ARGV[4] about how many, 1..500
-- Returns: { now ms, next cursor or 0, then per entry: id, seq, 1 if leased, 1 if it stands nowhere };
--   error EPOCH <found> in another epoch

local found_epoch = redis.call('HGET', KEYS[1], 'epoch')
if found_epoch ~= ARGV[1] then
  return wrong_epoch(found_epoch)
end
local page = redis.call('HSCAN', KEYS[4], ARGV[3], 'COUNT', ARGV[4])
local reply, fields = { digits(server_ms()), page[1] }, page[2]
for at = 1, #fields, 2 do
  local id, entry = fields[at], read_entry(fields[at + 1])
  local place = KEYS[2]
  if entry.fence ~= '' then
    place = KEYS[3]
  elseif entry.score == '' then
    place = ARGV[2] .. 'lane:' .. entry.kind
  end
  append_two(reply, id, entry.seq)
  append_two(reply, entry.fence ~= '' and '1' or '0', redis.call('ZSCORE', place, id) and '0' or '1')
end
return reply
