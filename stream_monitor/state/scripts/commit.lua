-- State, outbox and next offset of one partition in one write, if no other worker moved it.
--
-- KEYS[1]  the partition's hash
-- ARGV     1 fencing token   2 transaction   3 expected offset or '-1'   4 new offset   5 now, ms
--          6 '1' if the hash holds chunks, else ''   7.. field, value, field, value, ...
-- returns  {'OK' | 'DUP' | 'FENCED' | 'STALE', offset in the store}
--
-- One HSET on one key: a script with two writes goes to the append-only file as MULTI..EXEC, and a
-- tail torn inside such a block loses a later, acknowledged write at the second restart.
local m = redis.call('HMGET', KEYS[1], '_epoch', '_next', '_txn', '_bundled')
local epoch, offset, txn, chunked = m[1] or '', m[2] or '-1', m[3] or '', m[4] or ''
if txn == ARGV[2] then return {'DUP', offset} end        -- this very commit, sent again
if epoch ~= ARGV[1] then return {'FENCED', offset} end   -- another worker has acquired the partition
if offset ~= ARGV[3] then return {'STALE', offset} end   -- rewound, or another worker advanced it
if chunked ~= ARGV[6] then return {'STALE', offset} end  -- rewound to before chunks were expanded
local n = #ARGV - 6
if n % 2 ~= 0 or n > 7000 then
  return redis.error_reply('BADARGS pairs of field and value, 3500 at most')
end
if n == 0 then
  redis.call('HSET', KEYS[1], '_next', ARGV[4], '_txn', ARGV[2], '_ts', ARGV[5])
else
  redis.call('HSET', KEYS[1], '_next', ARGV[4], '_txn', ARGV[2], '_ts', ARGV[5], unpack(ARGV, 7))
end
return {'OK', ARGV[4]}
