-- Record why the owner of a partition reads no further.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 epoch   2 why
-- returns  1, or 0 under another epoch
if redis.call('HGET', KEYS[1], '_epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '_stopped', ARGV[2])
return 1
