-- KEYS expiries, changed. ARGV ttl, keep, coalesce (ms), most devices, then tenant:user, device, state for each heartbeat.
local ttl_ms, keep_ms, coalesce_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local max_devices = tonumber(ARGV[4])
local touched, order = {}, {}
for i = 5, #ARGV, 3 do
  local member, device, state = ARGV[i], 'd:' .. ARGV[i + 1], ARGV[i + 2]
  local key = 'presence:' .. member
  if state == OFFLINE then
    redis.call('HDEL', key, device)
    redis.call('HSET', key, 'seen', ms(now))
  else
    redis.call('HSET', key, device, state .. ':' .. ms(now + ttl_ms), 'seen', ms(now))
  end
  if not touched[member] then
    touched[member] = true
    order[#order + 1] = member
  end
end
for _, member in ipairs(order) do
  settle(member, KEYS[1], KEYS[2], coalesce_ms, max_devices)
  redis.call('PEXPIRE', 'presence:' .. member, keep_ms)
end
return #order
