-- Make figures readable that may change, unless later ones are there already.
--
-- KEYS[1]  the figures of one window
-- ARGV     1 JSON with an as_of_offset   2 lifetime, ms   3 that offset
-- returns  1, or 0 where figures of a higher offset are kept
--
-- A worker that was frozen and has lost its partition may still carry out what it had read.
local known = redis.call('GET', KEYS[1])
if known then
  local ok, figures = pcall(cjson.decode, known)
  if ok and tonumber(figures.as_of_offset) > tonumber(ARGV[3]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
