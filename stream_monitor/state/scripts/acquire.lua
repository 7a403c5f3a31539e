-- Acquire one partition of the event topic, before its state is read.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 group generation   2 member   3 now, ms   4 owner timeout, ms   5 the new fencing token
-- returns  {'OK', fencing token, next or '-1', attempts, attempt marker or '', chunked or ''}
--          {'REJECTED', generation, member, ms since its last write}
--
-- The token (`_epoch`) is random, not counted: a counter can repeat when Redis is rewound.
-- A lower generation is rejected while the owner of the higher one writes: it comes from a worker
-- that does not know of the rebalance yet.  The owner itself may always acquire again (a new group
-- starts at generation 1).
-- `_att` counts the members that acquired at one offset: it grows where a record crashes workers.
-- A member that acquires again has not crashed.
local m = redis.call('HMGET', KEYS[1], '_gen', '_member', '_ts', '_next', '_acqnext', '_att',
  '_try', '_bundled')
local gen, member, ts = tonumber(m[1] or '-1'), m[2] or '', tonumber(m[3] or '0')
local next = m[4] or '-1'
local silent = math.abs(tonumber(ARGV[3]) - ts) -- a clock that is far ahead must not lock workers out
if tonumber(ARGV[1]) < gen and member ~= ARGV[2] and silent < tonumber(ARGV[4]) then
  return {'REJECTED', m[1], member, tostring(silent)}
end
local attempts = 0
if m[5] == next then attempts = tonumber(m[6] or '0') end
if member ~= ARGV[2] then attempts = attempts + 1 end
attempts = math.max(1, attempts)
redis.call('HSET', KEYS[1], '_epoch', ARGV[5], '_gen', ARGV[1], '_member', ARGV[2],
  '_ts', ARGV[3], '_acqnext', next, '_att', attempts, '_stopped', '')
return {'OK', ARGV[5], next, tostring(attempts), m[7] or '', m[8] or ''}
