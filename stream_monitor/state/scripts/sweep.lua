-- Remove fields that were committed as dead (empty).  One HDEL.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 fencing token   2.. fields
-- returns  the number of fields removed; 0 under another token
--
-- A field that has a value again stays; a plain HDEL would remove it.
if redis.call('HGET', KEYS[1], '_epoch') ~= ARGV[1] then return 0 end
local dead = {}
local values = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
for i, value in ipairs(values) do
  if value == '' then dead[#dead + 1] = ARGV[i + 1] end
end
if #dead == 0 then return 0 end
return redis.call('HDEL', KEYS[1], unpack(dead))
