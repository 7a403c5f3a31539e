-- Publish the performance of a window, unless the key already holds a later one.
--
-- KEYS[1]  the performance of one window
-- ARGV     1 JSON with an as_of_offset   2 lifetime, ms   3 that offset
-- returns  1, or 0 where the key holds a higher offset
--
-- A worker that was suspended and has lost its partition may still publish what it had read.
local known = redis.call('GET', KEYS[1])
if known then
  local ok, figures = pcall(cjson.decode, known)
  if ok and tonumber(figures.as_of_offset) > tonumber(ARGV[3]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
