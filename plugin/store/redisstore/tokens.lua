-- KEYS: 3 the token's bucket. ARGV: 7 the bucket's name, 8 id, 9 revision
-- expected, "" for any, 10 JSON, "" to delete.
local bucket, id, text = KEYS[3], ARGV[8], ARGV[10]
if not whole(bucket, redis.call('HGET', meta, ARGV[7])) then return {'lost', ARGV[7]} end
local old, current = redis.call('HGET', bucket, id), '0'
if old then current = string.match(old, '^(%d+) ') end
if not current then return {'damaged', id, ''} end
if ARGV[9] == '' and not old then return {'missing'} end
if ARGV[9] ~= '' and ARGV[9] ~= current then return {'conflict', id, old or ''} end
local line, grown = '-', -1
if text ~= '' then
	line, grown = following .. ' ' .. text, old and 0 or 1
end
commit({id .. ' ' .. line}, 0, {[ARGV[7]] = grown})
if text == '' then
	redis.call('HDEL', bucket, id)
else
	redis.call('HSET', bucket, id, line)
end
return {'done', following, '0', tostring(second)}
