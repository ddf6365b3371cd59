-- The arithmetic of src/algorithm, under the same names. It stands before settle.lua in one script.
--
-- Numbers are doubles, all of them whole and at most 2^53, so they are exact. A product or a sum that is larger
-- has passed whatever it is compared with.

local TOKEN_BUCKET, LEAKY_BUCKET, FIXED_WINDOW = 0, 1, 2
local MAX_AMOUNT = 4503599627370496 -- 2^52
local MAX_DURATION_MS = 315360000000 -- 10 years
local MAX_AHEAD_MS = 60000
local MAX_DEBT_FACTOR = 100
local SLOTS = 64

local now

-- The limit at hand.
local algorithm, count_refused, count, capacity, period_ms
local keeps_state -- false for a bucket of size 0
local tick_ms, period_ticks, full -- of a bucket

local function take_limit(algorithm_, count_refused_, count_, capacity_, period_ms_)
  algorithm, count_refused, count, capacity, period_ms = algorithm_, count_refused_ ~= 0, count_, capacity_, period_ms_
  keeps_state = true
  if algorithm <= LEAKY_BUCKET then
    keeps_state = capacity > 0
    tick_ms = period_ms < 86400000 and 1 or 1000
    period_ticks = period_ms / tick_ms
    full = capacity * period_ticks
  end
end

-- States. `own` is a state's own time, `held` the rest: the level of a bucket (the water of a leaky bucket is
-- turned into one as soon as it is read), the hits of a fixed window, the slots of a sliding window.
-- Slots: { end_ms, hits, end_ms, hits, … } from `first` to `last`, `used` in all.

-- The state at `now`, and whether it was too far ahead and moved back.
local function state_at(own, held)
  if algorithm <= LEAKY_BUCKET then
    local now_tick = (now - now % tick_ms) / tick_ms
    if not own then return now_tick, full end
    local level = algorithm == LEAKY_BUCKET and full - held or held
    if own * tick_ms > now + period_ms + MAX_AHEAD_MS then
      return now_tick, level < full and level or full, true
    end
    if own >= now_tick then return own, level < full and level or full end
    local refilled = (now_tick - own) * count
    if refilled >= full - level then return now_tick, full end
    return now_tick, level + refilled
  elseif algorithm == FIXED_WINDOW then
    local start_ms = now - now % period_ms
    if not own then return start_ms, 0 end
    if own > now + period_ms + MAX_AHEAD_MS then return start_ms, held, true end
    if own >= start_ms then return own, held end
    return start_ms, 0
  end
  if not own then return now, { first = 1, last = 0, used = 0 } end
  if own > now + period_ms + MAX_AHEAD_MS then
    local used = held.used
    if used == 0 then return now, { first = 1, last = 0, used = 0 }, true end
    return now, { now, used, first = 1, last = 2, used = used }, true
  end
  local at_ms = own > now and own or now
  local first, used = held.first, held.used
  while first < held.last and held[first] + period_ms <= at_ms do
    used = used - held[first + 1]
    first = first + 2
  end
  held.first, held.used = first, used
  return at_ms, held
end

local function allows(held, hits)
  if hits < 0 then return true end
  -- A bucket never holds more than its capacity, so a larger cost never fits.
  if algorithm <= LEAKY_BUCKET then return held >= hits * period_ticks end
  if algorithm == FIXED_WINDOW then return held + hits <= count end
  return held.used + hits <= count
end

-- Counts hits: what is then held, and where.
local function take(own, held, hits)
  if algorithm <= LEAKY_BUCKET then
    local cost = hits * period_ticks
    if held >= cost then return held - cost, 0 end
    local lowest = -math.min((capacity > count and capacity or count) * MAX_DEBT_FACTOR * period_ticks, MAX_AMOUNT)
    if cost > held - lowest then return held < lowest and held or lowest, 0 end
    return held - cost, 0
  elseif algorithm == FIXED_WINDOW then
    local used = held + hits
    return used < MAX_AMOUNT and used or MAX_AMOUNT, own
  end
  local room = MAX_AMOUNT - held.used
  if hits > room then hits = room end
  if hits <= 0 then return held, 0 end
  local width_ms = 1
  if count > SLOTS or count_refused then
    width_ms = math.ceil(period_ms / SLOTS)
  end
  local end_ms = own - own % width_ms + width_ms - 1
  local last = held.last
  held.used = held.used + hits
  if last > held.first and held[last - 1] >= end_ms then
    held[last] = held[last] + hits
    return held, held[last - 1]
  end
  held[last + 1], held[last + 2], held.last = end_ms, hits, last + 2
  return held, end_ms
end

-- Never beyond unused.
local function give_back(held, hits)
  if algorithm <= LEAKY_BUCKET then
    local given = hits * period_ticks
    if given > full - held then return full end
    return held + given
  elseif algorithm == FIXED_WINDOW then
    return held > hits and held - hits or 0
  end
  -- The oldest hits go first.
  local first, left = held.first, hits
  while left > 0 and first < held.last do
    local of_slot = held[first + 1]
    local given = of_slot < left and of_slot or left
    held[first + 1], held.used, left = of_slot - given, held.used - given, left - given
    if given == of_slot then first = first + 2 end
  end
  held.first = first
  return held
end

local function book(own, held, hits)
  if hits < 0 then return give_back(held, -hits), 0 end
  return take(own, held, hits)
end

local function remaining(held)
  if algorithm <= LEAKY_BUCKET then
    return held > 0 and (held - held % period_ticks) / period_ticks or 0
  end
  local used = algorithm == FIXED_WINDOW and held or held.used
  return used < count and count - used or 0
end

-- When a bucket has refilled `missing` more; nil: never.
local function refilled_at_ms(own, missing)
  if missing <= 0 then return own * tick_ms end
  if count == 0 then return nil end
  -- Rounded up. The quotient itself may be rounded to the next whole number; then the rest is not above 0.
  local rest = missing % count
  local ticks = (missing - rest) / count
  if rest > 0 then ticks = ticks + 1 end
  return (own + ticks) * tick_ms
end

-- When hits fit; nil: never.
local function fits_at_ms(own, held, hits)
  if algorithm <= LEAKY_BUCKET then
    if hits > capacity then return nil end
    return refilled_at_ms(own, hits * period_ticks - held)
  end
  if hits > count then return nil end
  if algorithm == FIXED_WINDOW then return own + period_ms end
  local used, slot, at_ms = held.used, held.first, own
  while used > count - hits do
    used, at_ms, slot = used - held[slot + 1], held[slot] + period_ms, slot + 2
  end
  return at_ms
end

local function until_ms(at_ms)
  local ms = at_ms - now
  if ms <= 0 then return 0 end
  return ms < MAX_DURATION_MS and ms or MAX_DURATION_MS
end

local function wait_ms(own, held, hits)
  if allows(held, hits) then return 0 end
  local at_ms = fits_at_ms(own, held, hits)
  return at_ms and until_ms(at_ms) or -1
end

local function reset_ms(own, held)
  if algorithm <= LEAKY_BUCKET then
    local at_ms = refilled_at_ms(own, full - held)
    return at_ms and until_ms(at_ms) or MAX_DURATION_MS
  end
  if algorithm == FIXED_WINDOW then return until_ms(own + period_ms) end
  return until_ms(held.last > held.first and held[held.last - 1] + period_ms or own)
end
