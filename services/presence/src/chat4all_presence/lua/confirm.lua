-- KEYS changed. ARGV coalesce (ms), then tenant:user, state, changed for each change that was told.
local coalesce_ms = tonumber(ARGV[1])
for i = 2, #ARGV, 3 do
  local member, state, changed = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = 'presence:' .. member
  local current = redis.call('HGET', key, 'changed')
  if not current then
    redis.call('ZREM', KEYS[1], member)
  else
    redis.call('HSET', key, 'announced', state)
    if current == changed then
      redis.call('ZREM', KEYS[1], member)
    else
      redis.call('ZADD', KEYS[1], ms(now + coalesce_ms), member) -- changed again meanwhile
    end
  end
end
return 1
