-- Shared by the scripts: makes one person's stored state agree with the devices that still live.
--
-- presence:<tenant>:<user>  hash, forgotten when nobody was heard of for the keeping time
--   d:<device>  <state>:<end in ms>      seen       last heartbeat, ms
--   state       overall state            changed    when it became so, ms
--   announced   the state last told
-- presence:expiries  sorted set: <tenant>:<user> by a moment at or before the end of the device that ends first
-- presence:changed   sorted set: <tenant>:<user> by when the change is to be told
local OFFLINE = '3'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function ms(value)
  return string.format('%.0f', value)
end

local function settle(member, expiries, changed, coalesce_ms, max_devices)
  local key = 'presence:' .. member
  local flat = redis.call('HGETALL', key)
  local state = OFFLINE
  local live = {}
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if string.sub(name, 1, 2) == 'd:' then
      local finish = tonumber(string.sub(value, 3))
      if finish > now then
        live[#live + 1] = { name, string.sub(value, 1, 1), finish }
      else
        redis.call('HDEL', key, name)
      end
    elseif name == 'state' then
      state = value
    end
  end
  table.sort(live, function(a, b) return a[3] < b[3] end)
  while #live > max_devices do
    redis.call('HDEL', key, live[1][1])
    table.remove(live, 1)
  end
  local best = OFFLINE
  for _, device in ipairs(live) do
    if device[2] < best then best = device[2] end
  end
  if best ~= state then
    redis.call('HSET', key, 'state', best, 'changed', ms(now))
    -- The first of several changes sets the time; those after it are told together with it.
    redis.call('ZADD', changed, 'NX', ms(now + coalesce_ms), member)
  end
  if #live > 0 then
    -- Not moved when it is there: a heartbeat only makes the end later, and the sweep looks again when its time has come.
    redis.call('ZADD', expiries, 'NX', ms(live[1][3]), member)
  else
    redis.call('ZREM', expiries, member)
  end
end
