-- KEYS expiries, changed. ARGV coalesce, lease (ms), most devices, most entries.
-- First lets devices end whose time has come, then hands out the changes that are due. What is handed out is nobody else's until
-- the lease ends; then it is handed out again unless it was confirmed.
local coalesce_ms, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local max_devices, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms(now), 'LIMIT', 0, limit)
for _, member in ipairs(ended) do
  redis.call('ZREM', KEYS[1], member)
  settle(member, KEYS[1], KEYS[2], coalesce_ms, max_devices)
end
local claimed = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms(now), 'LIMIT', 0, limit)
for _, member in ipairs(due) do
  local known = redis.call('HMGET', 'presence:' .. member, 'state', 'announced', 'changed', 'seen')
  local state, announced = known[1] or OFFLINE, known[2] or OFFLINE
  if state == announced then
    redis.call('ZREM', KEYS[2], member) -- taken back in time, or forgotten
  else
    redis.call('ZADD', KEYS[2], ms(now + lease_ms), member)
    claimed[#claimed + 1] = { member, state, announced, known[3] or ms(now), known[4] or '' }
  end
end
return { #ended + #due, claimed }
