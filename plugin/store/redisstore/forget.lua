-- KEYS: 1 meta, 2 feed, then the buckets. ARGV: 1 format, 2 incarnation to be, 3
-- that which the caller knows, 4 revision that it knows, then the buckets' names.
local meta = KEYS[1]
local known = redis.call('HMGET', meta, 'format', 'incarnation', 'revision', 'serial', 'replaces')
if known[1] and known[1] ~= ARGV[1] then return {'format', known[1]} end
local counted, sizes, count = redis.call('HMGET', meta, unpack(ARGV, 5)), {}, 0
local whole = known[1] and (ARGV[3] == '' or ARGV[3] == known[2] or string.find(known[5] or '', ARGV[3], 1, true))
for b = 1, #counted do
	sizes[b] = redis.call('HLEN', KEYS[2 + b])
	count = count + sizes[b]
	if sizes[b] ~= tonumber(counted[b] or 0) then whole = false end
end
if whole then return {'whole'} end
local second = tonumber(redis.call('TIME')[1])
-- Hosts may be left with revisions of which nobody knows more than that there
-- was not one every millisecond.
local revision = math.max(tonumber(ARGV[4]), tonumber(known[3] or second * 1000))
local text = string.format('%.0f', revision)
local replaces = known[5] or ''
for _, old in ipairs({known[2] or '', ARGV[3]}) do
	if old ~= '' and not string.find(replaces, old, 1, true) then replaces = old .. ' ' .. replaces end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', meta, 'format', ARGV[1], 'incarnation', ARGV[2], 'replaces', string.sub(replaces, 1, 1000), 'revision', text, 'nonce', ARGV[2],
	'serial', known[4] or string.format('%.0f', second % 4294967296), 'count', count, 'marked', second, 'mark0', text, 'mark1', text)
for b = 1, #counted do redis.call('HSET', meta, ARGV[4 + b], sizes[b]) end
return {'done'}
