-- KEYS: 1 meta, then all others. ARGV: 1 format, 2 incarnation.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'there'} end
if redis.call('EXISTS', unpack(KEYS, 2)) > 0 then return {'remains'} end
local second = redis.call('TIME')[1]
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'incarnation', ARGV[2], 'replaces', '', 'revision', 0, 'nonce', '',
	'serial', string.format('%.0f', tonumber(second) % 4294967296), 'count', 0, 'marked', second, 'mark0', 0, 'mark1', 0)
return {'done'}
