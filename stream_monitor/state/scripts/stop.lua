-- Record why the owner of a partition stopped reading.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 fencing token   2 why
-- returns  1, or 0 under another token
if redis.call('HGET', KEYS[1], '_epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '_stopped', ARGV[2])
return 1
