"""What Redis does in one step for the leases of threads.

Numbers are kept as texts: Redis makes whole numbers of Lua's floats in its answers, but a time in
milliseconds is exact in both. A script of a lease that is sent again after a lost answer does no
harm. Each has the keys of one thread alone, which lie in one slot of a cluster; channels have none.
"""

from __future__ import annotations

# Takes the lease if nobody has it: a fence larger than any before, and the mark in the log, with
# which a former owner can append no more.
# KEYS: lease, fence, events. ARGV: token, ms of the lease, ms to keep the log, its length, channel,
# owner.
ACQUIRE = """
local held = redis.call('GET', KEYS[1])
if held then
  local token = string.match(held, ':(.*)$')
  if token ~= ARGV[1] then return {0, '', '', 0} end
  -- What was answered before says whether it follows a turn; it does no harm to say that it does.
  local fence = string.match(held, '^(%d+):')
  return {1, fence, fence .. '-0', 1}
end
local time = redis.call('TIME')
local fence = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
local before, follows = '', 0
if newest[1] then
  before, follows = newest[1][1], 1
  for place = 1, #newest[1][2], 2 do
    local name, value = newest[1][2][place], newest[1][2][place + 1]
    if name == 'm' and value == 'settled' then follows = 0 end
  end
  last = math.max(last, tonumber(string.match(before, '^(%d+)-')))
end
fence = string.format('%.0f', math.max(fence, last + 1))
redis.call('SET', KEYS[2], fence, 'PX', ARGV[3])
redis.call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
local mark = {'b', before, 'm', 'begun', 'o', ARGV[6]}
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], fence .. '-0', unpack(mark))
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('PUBLISH', ARGV[5], 'events')
return {1, fence, before, follows}
"""

# Renews a lease; also one that has run out, or that Redis has lost, if nobody had it since.
# KEYS: lease, fence. ARGV: fence:token, ms of the lease, fence, ms to keep.
RENEW = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if held or tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# Releases a lease, and marks its end in the log if the turn has ended.
# KEYS: lease, events. ARGV: fence:token, id of the mark ("" for none), the id before it, the log's
# length, ms to keep it, channel.
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] == '' then
  redis.call('PUBLISH', ARGV[6], 'ownerless')
  return 1
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], ARGV[2], 'b', ARGV[3], 'm', 'settled')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[6], 'events')
return 1
"""

# Appends an entry to the log, and rings the bell.
# KEYS: events. ARGV: id, the log's length, ms to keep it, channel, then names and values.
APPEND = """
local fields = {}
for place = 5, #ARGV do fields[#fields + 1] = ARGV[place] end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], ARGV[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], 'events')
return 1
"""

# Leaves a request to the owner, and rings the bell.
# KEYS: requests. ARGV: the request, ms to keep it, channel.
ASK = """
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], 'requests')
return 1
"""

# Takes all requests to the owner.
# KEYS: requests.
TAKE = """
local asked = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return asked
"""
