-- Take one partition of the log over, before its state is read.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 group generation   2 member   3 now, ms   4 takeover, ms   5 the new owner's epoch
-- returns  {'OK', epoch, next or '-1', attempts, record tried alone or '', bundled or ''}
--          {'REJECTED', generation, member, ms since it was last heard}
--
-- The epoch is random, not counted: a counter can repeat when Redis is rewound to an older state.
-- A lower generation is refused while the owner of the higher one is heard of: it is a zombie that
-- has not been told yet.  The member itself may always come back (a group may begin anew at 1).
-- `_att` counts members at one and the same offset: a record that kills the process shows here.  A
-- member that comes back has not died.
local m = redis.call('HMGET', KEYS[1], '_gen', '_member', '_ts', '_next', '_acqnext', '_att',
  '_try', '_bundled')
local gen, member, ts = tonumber(m[1] or '-1'), m[2] or '', tonumber(m[3] or '0')
local next = m[4] or '-1'
local silent = math.abs(tonumber(ARGV[3]) - ts) -- a clock that is far ahead must not lock anyone out
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
