-- Applies several pieces of work, one after another, as of one time: each is a settlement or an undo.
--
-- It repeats src/engine/settle.rs under the same names, on the arithmetic of algorithm.lua, which stands before it
-- in one script; tests hold them equal.
--
-- KEYS     the keys of all works, work after work; a key may come twice
-- ARGV[1]  the time in milliseconds since the Unix epoch; empty: the server's
-- ARGV[2…] a work each, as src/store/redis/work.rs encodes it:
--          HEAD, then its charges; in an undo each with the place of its hits after it
-- Answers  one string, as src/store/redis/reply.rs reads it: an ANSWER per work, a VERDICT per charge; where
--          what was booked is wanted, BOOKED after each, and if it passes a VERDICT per charge as if refused
--
-- Every state is read and checked before the first is written, since an error takes no write back. A state
-- that cannot be read fails the works that need it and no other.

-- The kinds of work: 0 settles, 1 undoes, 2 resets.
local HEAD, HEAD_LEN = '>BBBBBHH', 9 -- kind, global_shadow, quota_passes, refused, wants_booked, keys, charges
local CHARGE, CHARGE_LEN = '>BBBBHI4I6I6i8', 30 -- the limit and what is asked of which key, from 0
local UNDO, UNDO_LEN = '>BBBBHI4I6I6i8I8', 38
local ALONE = '>BBBBHI4I6I6i8' -- at HEAD_LEN + 1
local ANSWER = '>B' -- PASSES, REFUSED, or a problem and the key that has it, from 0
local VERDICT = '>BI6I6i6I6' -- allowed, available, remaining, retry_after_ms (-1: never), reset_after_ms
local BOOKED = '>i8I8' -- hits, and where: the end of their slot, the start of their window
local PASSES, REFUSED, OTHER_VERSION, OTHER_TYPE = 0, 1, 2, 3

-- A state: format version, when the key expires, the state's own time, then the level, the water, the hits of the
-- window, or the slots.
local VERSION = 1
local PAIR, PAIR_LEN = '>BI6i8i8', 23
local WINDOW, WINDOW_LEN, SLOT, SLOT_LEN = '>BI6i8', 15, 'i8i8', 16

-- A state is kept for this long after it equals no state, and for up to twice that: a new lifetime costs Redis as
-- much again as the write itself, so it is set only when the old one no longer does.
local SLACK_MS = 60000
local CHUNK = 1000 -- keys in one command; Lua passes at most 8,000

local pack, unpack_from, call = struct.pack, struct.unpack, redis.call

-- The keys, by number: their names, what was stored and not decoded yet, their states (water is water here), when
-- they expire, what is wrong with them; and those whose states are to be stored at the end, for how long.
local names, raw, own_of, held_of, expires_ms, problem, written, keep_ms = {}, {}, {}, {}, {}, {}, {}, {}

-- Reads the states of all keys, and finds those that are no state.
local function read(total)
  for from = 1, total, CHUNK do
    local to = from + CHUNK > total and total or from + CHUNK - 1
    local values = call('MGET', unpack(names, from, to))
    local absent
    for index = 1, to - from + 1 do
      if not values[index] then
        absent = absent or {}
        absent[#absent + 1] = names[from + index - 1]
      end
      if from > 1 then raw[from + index - 1] = values[index] end
    end
    if from == 1 then raw = values end
    -- For MGET a key of another type is absent.
    if absent and call('EXISTS', unpack(absent)) > 0 then
      for id = from, to do
        if not raw[id] and call('EXISTS', names[id]) > 0 then problem[id] = OTHER_TYPE end
      end
    end
  end
end

-- Decodes the state of a key for the limit at hand, once; what is wrong with it, if anything is.
local function decode(id)
  local bytes = raw[id]
  if not bytes then return problem[id] end
  raw[id] = false
  local version, expires, own, held = 0
  local slots = (#bytes - WINDOW_LEN) / SLOT_LEN
  if algorithm <= FIXED_WINDOW then
    if #bytes == PAIR_LEN then version, expires, own, held = unpack_from(PAIR, bytes) end
  elseif slots >= 0 and slots % 1 == 0 then
    version, expires, own = unpack_from(WINDOW, bytes)
    held = { unpack_from('>' .. SLOT:rep(slots), bytes, WINDOW_LEN + 1) }
    local used = 0
    for slot = 2, 2 * slots, 2 do used = used + held[slot] end
    held.first, held.last, held.used = 1, 2 * slots, used < MAX_AMOUNT and used or MAX_AMOUNT
  end
  if version ~= VERSION then
    problem[id] = OTHER_VERSION
    return OTHER_VERSION
  end
  own_of[id], held_of[id], expires_ms[id] = own, held, expires
end

-- Has a state stored at the end.
local function write(id, own, held, reset_after_ms)
  if algorithm == LEAKY_BUCKET then held = full - held end
  if not keep_ms[id] then written[#written + 1] = id end
  own_of[id], held_of[id], keep_ms[id] = own, held, reset_after_ms + SLACK_MS
end

-- Stores a state, if Redis lets it.
local function store(id)
  local own, held, expires = own_of[id], held_of[id], expires_ms[id]
  local keeps = expires and expires >= now + keep_ms[id]
  local lifetime_ms = keep_ms[id] + SLACK_MS
  if not keeps then expires = now + lifetime_ms end
  local bytes
  if type(held) == 'number' then
    bytes = pack(PAIR, VERSION, expires, own, held)
  else
    local slots = (held.last - held.first + 1) / 2
    bytes = pack(WINDOW .. SLOT:rep(slots), VERSION, expires, own, unpack(held, held.first, held.last))
  end
  if keeps then return redis.pcall('SET', names[id], bytes, 'KEEPTTL') end
  return redis.pcall('SET', names[id], bytes, 'PX', lifetime_ms)
end

-- What is answered, in pieces.
local answer, pieces = {}, 0

local function say(piece)
  pieces = pieces + 1
  answer[pieces] = piece
end

-- A settlement of one charge that was not refused elsewhere.
local function settle_alone(id, hits, refuses)
  local own, held, moved = state_at(own_of[id], held_of[id])
  local available = remaining(held)
  local fits = allows(held, hits)
  local left = available
  local books = hits ~= 0 and (fits or count_refused) and keeps_state
  if books then
    held = book(own, held, hits)
    left = remaining(held)
  end
  local retry_after_ms = fits and 0 or wait_ms(own, held, hits)
  local reset_after_ms = reset_ms(own, held)
  if books or (moved and keeps_state) then write(id, own, held, reset_after_ms) end
  say(pack('>BBI6I6i6I6', refuses and not fits and REFUSED or PASSES, fits and 1 or 0, available, left,
    retry_after_ms, reset_after_ms))
end

-- What only a work of several charges needs, made when the first one comes: making functions costs time.
local function of_several()
  -- The charges of the work at hand.
  local id_at, hits_at, shadow_at, group_at, algorithm_at, count_refused_at, count_at, capacity_at, period_at =
    {}, {}, {}, {}, {}, {}, {}, {}, {}

  local function take_limit_of(index)
    take_limit(algorithm_at[index], count_refused_at[index], count_at[index], capacity_at[index], period_at[index])
  end

  local function copy(held)
    if type(held) ~= 'table' then return held end
    local copied = { first = held.first, last = held.last, used = held.used }
    for index = held.first, held.last do copied[index] = held[index] end
    return copied
  end

  -- The first pass: what is allowed, and the fate of the groups and of the request.
  local function try_charges(charges, own, held, repeats, refused, global_shadow, quota_passes)
    local allowed, available, group_refused, groups = {}, {}, {}, 0
    local quotas, refused_quotas, over = 0, 0, false
    local tried = held
    if repeats then
      tried = {}
      for id, state in pairs(held) do tried[id] = copy(state) end
    end
    for index = 1, charges do
      take_limit_of(index)
      local id, hits = id_at[index], hits_at[index]
      local fits = allows(tried[id], hits)
      allowed[index], available[index] = fits, remaining(tried[id])
      if repeats and (fits or count_refused) and hits ~= 0 and keeps_state then
        tried[id] = book(own[id], tried[id], hits)
      end
      if group_at[index] ~= 0 then
        groups = groups + 1
        group_refused[groups] = false
      end
      if not fits and shadow_at[index] == 0 then group_refused[groups] = true end
    end
    groups = 0
    for index = 1, charges do
      local kind = group_at[index]
      if kind ~= 0 then
        groups = groups + 1
        if kind == 2 then
          quotas = quotas + 1
          if group_refused[groups] then refused_quotas = refused_quotas + 1 end
        elseif group_refused[groups] then
          over = true
        end
      end
    end
    over = over or (quotas > 0 and refused_quotas == quotas and not quota_passes)
    return allowed, available, group_refused, refused or (over and not global_shadow)
  end

  -- Reads the charges of a work into the tables above and brings their states to `now`; a problem and the number
  -- of the key that has it, or nil and the states, which were moved, and whether a key comes twice.
  local function present(work, charges, base, ids, format, length, where_at)
    local own, held, moved, repeats = {}, {}, {}, false
    local at = HEAD_LEN + 1
    for index = 1, charges do
      local slot, hits
      algorithm_at[index], count_refused_at[index], shadow_at[index], group_at[index], slot, count_at[index],
        capacity_at[index], period_at[index], hits, where_at[index] = unpack_from(format, work, at)
      at = at + length
      local id = ids[base + slot + 1]
      id_at[index], hits_at[index] = id, hits
      if own[id] then
        repeats = true
      else
        take_limit_of(index)
        local trouble = decode(id)
        if trouble then return trouble, slot end
        own[id], held[id], moved[id] = state_at(own_of[id], held_of[id])
        moved[id] = moved[id] and keeps_state
      end
    end
    return nil, own, held, moved, repeats
  end

  -- The second pass, in a request of that fate: books what is owed, from the stored states, and says the
  -- verdicts. What `owes` notes is stored; without it nothing is.
  local function book_charges(charges, own, held, owes, allowed, available, group_refused, refuses, global_shadow,
    wants_booked)
    local unpaid, group = {}, 0
    for index = 1, charges do
      take_limit_of(index)
      local id, hits, fits = id_at[index], hits_at[index], allowed[index]
      if group_at[index] ~= 0 then group = group + 1 end
      local passes = not refuses and (not group_refused[group] or global_shadow)
      local owed = hits < 0 or count_refused or (fits and passes)
      local booked, where = 0, 0
      if not owed then
        unpaid[id] = (unpaid[id] or 0) + hits
      elseif hits ~= 0 and keeps_state then
        held[id], where = book(own[id], held[id], hits)
        booked = hits
        if owes then owes[id] = true end
      end
      -- A retry asks again for what this request did not get to pay before.
      local before = (unpaid[id] or 0) - (owed and 0 or hits)
      local retry_after_ms = fits and 0 or wait_ms(own[id], held[id], hits + before)
      local reset_after_ms = reset_ms(own[id], held[id])
      if owes and owes[id] then write(id, own[id], held[id], reset_after_ms) end
      say(pack(VERDICT, fits and 1 or 0, available[index], remaining(held[id]), retry_after_ms, reset_after_ms))
      if wants_booked then say(pack(BOOKED, booked, where)) end
    end
  end

  -- A settlement of any charges.
  local function settle(work, charges, base, ids, refused, global_shadow, quota_passes, wants_booked)
    local trouble, own, held, owes, repeats = present(work, charges, base, ids, CHARGE, CHARGE_LEN, {})
    if trouble then return say(pack('>BH', trouble, own)) end
    local allowed, available, group_refused, refuses =
      try_charges(charges, own, held, repeats, refused, global_shadow, quota_passes)
    say(pack(ANSWER, refuses and REFUSED or PASSES))
    local unbooked
    if wants_booked and not refuses then
      unbooked = {}
      for id, state in pairs(held) do unbooked[id] = copy(state) end
    end
    book_charges(charges, own, held, owes, allowed, available, group_refused, refuses, global_shadow, wants_booked)
    -- Another part of the request may yet refuse it, and then these are its verdicts.
    if unbooked then
      book_charges(charges, own, unbooked, nil, allowed, available, group_refused, true, global_shadow, false)
    end
  end

  -- Takes hits out of the slot that ends at `where`.
  local function give_back_at(held, hits, where)
    for slot = held.first, held.last, 2 do
      if held[slot] == where then
        local given = math.min(held[slot + 1], hits)
        held[slot + 1], held.used = held[slot + 1] - given, held.used - given
        if held[slot + 1] == 0 then
          table.remove(held, slot + 1)
          table.remove(held, slot)
          held.last = held.last - 2
        end
        return
      end
    end
  end

  -- Gives back exactly the hits that a settlement booked. What has left the window since stays gone.
  local function undo(work, charges, base, ids)
    local where_at = {}
    local trouble, own, held = present(work, charges, base, ids, UNDO, UNDO_LEN, where_at)
    if trouble then return say(pack('>BH', trouble, own)) end
    say(pack(ANSWER, PASSES))
    for index = 1, charges do
      take_limit_of(index)
      local id, hits, where = id_at[index], hits_at[index], where_at[index]
      -- No state equals an unused one.
      if own_of[id] and keeps_state then
        if algorithm <= LEAKY_BUCKET or (algorithm == FIXED_WINDOW and own[id] == where) then
          held[id] = give_back(held[id], hits)
        elseif algorithm > FIXED_WINDOW then
          give_back_at(held[id], hits, where)
        end
        write(id, own[id], held[id], reset_ms(own[id], held[id]))
      end
    end
  end

  -- Puts unused states in the place of whatever is stored: those of the epoch, which a clock that runs back finds
  -- unused as well.
  local function reset(work, charges, base, ids)
    local at = HEAD_LEN + 1
    for _ = 1, charges do
      local algorithm_, count_refused_, _, _, slot, count_, capacity_, period_ms_ = unpack_from(CHARGE, work, at)
      at = at + CHARGE_LEN
      take_limit(algorithm_, count_refused_, count_, capacity_, period_ms_)
      local id = ids[base + slot + 1]
      if raw[id] or problem[id] or own_of[id] then
        raw[id], problem[id], expires_ms[id] = false, nil, nil
        local held = 0
        if algorithm <= LEAKY_BUCKET then
          held = full
        elseif algorithm > FIXED_WINDOW then
          held = { first = 1, last = 0, used = 0 }
        end
        write(id, 0, held, reset_ms(0, held))
      end
    end
    say(pack(ANSWER, PASSES))
  end

  return settle, undo, reset
end

if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end
local ids, known, total = {}, {}, 0
for index, key in ipairs(KEYS) do
  local id = known[key]
  if not id then
    total = total + 1
    id, known[key], names[total] = total, total, key
  end
  ids[index] = id
end
read(total)
local settle, undo, reset
local base = 0
for index = 2, #ARGV do
  local work = ARGV[index]
  local kind, global_shadow, quota_passes, refused, wants_booked, keys, charges = unpack_from(HEAD, work)
  global_shadow, quota_passes, refused, wants_booked =
    global_shadow ~= 0, quota_passes ~= 0, refused ~= 0, wants_booked ~= 0
  if kind == 0 and charges == 1 and not refused and not wants_booked then
    local algorithm_, count_refused_, shadow, group, slot, count_, capacity_, period_ms_, hits =
      unpack_from(ALONE, work, HEAD_LEN + 1)
    take_limit(algorithm_, count_refused_, count_, capacity_, period_ms_)
    local id = ids[base + 1]
    local trouble = decode(id)
    if trouble then
      say(pack('>BH', trouble, slot))
    else
      local refuses = shadow == 0 and not global_shadow and not (group == 2 and quota_passes)
      settle_alone(id, hits, refuses)
    end
  else
    if not settle then settle, undo, reset = of_several() end
    if kind == 0 then
      settle(work, charges, base, ids, refused, global_shadow, quota_passes, wants_booked)
    elseif kind == 1 then
      undo(work, charges, base, ids)
    else
      reset(work, charges, base, ids)
    end
  end
  base = base + keys
end
for index = 1, #written do
  local stored = store(written[index])
  if stored.err then
    -- What refuses to write refuses the first write of a script.
    if index == 1 then return stored end
    return redis.error_reply('PARTLY ' .. stored.err)
  end
end
return table.concat(answer)
