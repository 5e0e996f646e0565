-- Shared by every script of a queue; scripts.rs puts it between the shebang and the script.
--
-- An entry is one text in the jobs hash: `type;seq;flags`, and when there is more to say, all of
-- `type;seq;flags;counters;score;fence;node;claimed_at;waiting_since`.
--   flags          the priority's digit, then `k` if keyed, then `c` if clean
--   counters       attempts.deliveries.crashes.deferrals, empty when all are zero
--   score          only outside a lane: a lane holds it itself
--   fence, node, claimed_at (ms)  only under a lease
--   waiting_since  ms, only while a lock of another program is waited for

-- Whole numbers up to 2^53 as digits; the `..` operator would write large ones with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

local function server_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function wrong_epoch(found)
  return redis.error_reply('EPOCH ' .. (found or '-'))
end

-- Byte order, as the sorted set has it; Lua's own `<` follows the server's locale.
local function id_before(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local function read_entry(raw)
  local kind, seq, flags, rest = string.match(raw, '^([^;]*);([^;]*);([^;]*);?(.*)$')
  local entry = { kind = kind, seq = seq, flags = flags,
    counters = '', score = '', fence = '', node = '', claimed_at = '', waiting_since = '' }
  if rest ~= '' then
    entry.counters, entry.score, entry.fence, entry.node, entry.claimed_at, entry.waiting_since =
      string.match(rest, '^([^;]*);([^;]*);([^;]*);([^;]*);([^;]*);([^;]*)$')
  end
  return entry
end

local function write_entry(entry)
  local head = entry.kind .. ';' .. entry.seq .. ';' .. entry.flags
  local rest = entry.counters .. ';' .. entry.score .. ';' .. entry.fence .. ';' .. entry.node .. ';'
    .. entry.claimed_at .. ';' .. entry.waiting_since
  if rest == ';;;;;' then
    return head
  end
  return head .. ';' .. rest
end

-- The four counters as numbers: attempts, deliveries, crashes, deferrals.
local function read_counters(text)
  if text == '' then
    return { 0, 0, 0, 0 }
  end
  local a, d, c, f = string.match(text, '^(%d+)%.(%d+)%.(%d+)%.(%d+)$')
  return { tonumber(a), tonumber(d), tonumber(c), tonumber(f) }
end

local function add_to_counter(entry, which)
  local counters = read_counters(entry.counters)
  counters[which] = counters[which] + 1
  entry.counters = table.concat(counters, '.')
  return counters
end

local function make_suspect(entry)
  entry.flags = string.gsub(entry.flags, 'c', '')
end

local function end_lease(entry)
  entry.fence, entry.node, entry.claimed_at = '', '', ''
end

-- The lock's value of an entry that is held under this seq and fence, else nil; reads no more than that.
local function lock_if_held(raw, seq, fence)
  if not raw then
    return nil
  end
  local found_seq, found_fence, node =
    string.match(raw, '^[^;]*;([^;]*);[^;]*;[^;]*;[^;]*;([^;]+);([^;]*);')
  if found_seq == seq and found_fence == fence then
    return fence .. ':' .. node
  end
  return nil
end

-- The fence of a lock that this program wrote; nil for a value of another program.
local function lock_fence(value)
  local fence = string.match(value, '^(%d+):.')
  return fence and tonumber(fence)
end

-- Every list below is bounded by its caller (at most about a thousand values), so unpack is safe.
local function call_with(command, key, values)
  if #values > 0 then
    redis.call(command, key, unpack(values))
  end
end

-- Fields of a hash by id; an empty list asks nothing.
local function read_all(key, ids)
  if #ids == 0 then
    return {}
  end
  return redis.call('HMGET', key, unpack(ids))
end

local function keys_of(prefix, ids)
  local keys = {}
  for at, id in ipairs(ids) do
    keys[at] = prefix .. id
  end
  return keys
end

-- Writes that are gathered and made with one command per key at the end of a script.
local function new_writes()
  return { jobs = {}, gone = {}, lanes = {}, unlanes = {}, later = {}, unlater = {}, leases = {}, unleases = {},
    ready = {}, unlock = {} }
end

local function append(list, value)
  list[#list + 1] = value
end

local function append_two(list, first, second)
  local length = #list
  list[length + 1], list[length + 2] = first, second
end

-- The list under a key of a table of lists.
local function list_of(lists, key)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  return list
end

local function count_ready(writes, entry, by)
  local priority = string.sub(entry.flags, 1, 1)
  writes.ready[priority] = (writes.ready[priority] or 0) + by
end

local function save(writes, id, entry)
  append_two(writes.jobs, id, write_entry(entry))
end

-- Puts an entry that is nowhere into its lane, or among what is due later.
local function place(writes, id, entry, score, due, now)
  if due and due > now then
    entry.score = score
    append_two(writes.later, digits(due), id)
  else
    entry.score = ''
    append_two(list_of(writes.lanes, entry.kind), score, id)
    count_ready(writes, entry, 1)
  end
  save(writes, id, entry)
end

-- Takes a whole entry out of wherever it is, with its lease and a lock of ours.
local function take_out(writes, id, entry)
  if entry.fence ~= '' then
    append(writes.unleases, id)
  elseif entry.score ~= '' then
    append(writes.unlater, id)
  else
    append(list_of(writes.unlanes, entry.kind), id)
    count_ready(writes, entry, -1)
  end
  append(writes.gone, id)
end

-- Removals go first: an id may leave one place and enter another in the same script.
local function flush(writes, keys)
  for lane, ids in pairs(writes.unlanes) do
    call_with('ZREM', keys.prefix .. 'lane:' .. lane, ids)
  end
  call_with('ZREM', keys.later, writes.unlater)
  call_with('ZREM', keys.leases, writes.unleases)
  call_with('HDEL', keys.jobs, writes.gone)
  if #writes.unlock > 0 then
    redis.call('DEL', unpack(writes.unlock))
  end
  call_with('HSET', keys.jobs, writes.jobs)
  call_with('ZADD', keys.later, writes.later)
  call_with('ZADD', keys.leases, writes.leases)
  for lane, scores in pairs(writes.lanes) do
    call_with('ZADD', keys.prefix .. 'lane:' .. lane, scores)
  end
  for priority, by in pairs(writes.ready) do
    if by ~= 0 then
      redis.call('HINCRBY', keys.ctl, 'ready' .. priority, digits(by))
    end
  end
end

-- Moves up to `limit` due entries into their lanes; says whether there may be more.
local function promote(keys, now, limit)
  local ids = redis.call('ZRANGEBYSCORE', keys.later, '-inf', digits(now), 'LIMIT', 0, limit)
  if #ids == 0 then
    return false
  end
  local writes = new_writes()
  local raws = read_all(keys.jobs, ids)
  for at, id in ipairs(ids) do
    append(writes.unlater, id)
    if raws[at] then
      local entry = read_entry(raws[at])
      place(writes, id, entry, entry.score, nil, now)
    end
  end
  flush(writes, keys)
  return #ids == limit
end

-- Notes in the meta hash the queues whose names are the arguments from `first` on.
local function note_queues(meta, first)
  for at = first, #ARGV do
    redis.call('HSET', meta, 'queue:' .. ARGV[at], '1')
  end
end

-- The time, and every queue that the meta hash notes.
local function noted_queues(meta)
  local reply = { digits(server_ms()) }
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    local queue = string.match(field, '^queue:(.+)$')
    if queue then
      append(reply, queue)
    end
  end
  return reply
end

-- Drops all that stands in a queue; keys are ctl, later, leases, jobs and lanes.
local function drop_all(keys, prefix)
  for _, lane in ipairs(redis.call('SMEMBERS', keys[5])) do
    redis.call('UNLINK', prefix .. 'lane:' .. lane)
  end
  redis.call('UNLINK', keys[2], keys[3], keys[4], keys[5])
  redis.call('HDEL', keys[1], 'ready1', 'ready2', 'ready3', 'ready4', 'ready5')
end
