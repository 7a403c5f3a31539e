-- Give a partition up: the next owner need not wait, and this acquisition counts as no attempt.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 fencing token
-- returns  1, or 0 under another token
if redis.call('HGET', KEYS[1], '_epoch') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], '_ts', '0', '_att', '0')
return 1
