-- The start of every script that writes to a log: a zone's hosts, or the tokens.
-- KEYS: 1 meta, 2 feed. ARGV: 1 format, 2 incarnation known to the caller, 3 and
-- 4 a commit that it knows (revision 0: none) and that one's nonce, 5 nonce of
-- the commit to make, 6 highest serial served. Nothing is rolled back here, so
-- everything is read, and found to be of the right type, before XADD, and XADD
-- is the first write: it alone may be refused.
local meta, feed = KEYS[1], KEYS[2]
local known = redis.call('HMGET', meta, 'format', 'incarnation', 'revision', 'nonce', 'serial', 'count', 'marked', 'mark0', 'mark1')
if not known[1] then return {'absent'} end
if known[1] ~= ARGV[1] then return {'format', known[1]} end
if ARGV[2] ~= '' and ARGV[2] ~= known[2] then return {'replaced', known[2]} end
local revision, second = tonumber(known[3]), tonumber(redis.call('TIME')[1])
local tip = tonumber(ARGV[3])
if tip > revision then return {'behind', known[3]} end
if tip == revision and tip > 0 then
	if ARGV[4] ~= known[4] then return {'behind', known[3]} end
elseif tip > 0 then
	local entry = redis.call('XRANGE', feed, ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
	if entry and entry[2][2] ~= ARGV[4] then return {'behind', known[3]} end
end
local following = string.format('%.0f', revision + 1)

-- RFC 1982.
local function less(a, b) return a ~= b and (b - a) % 4294967296 < 2147483648 end

local function nextserial()
	local last, served, now = tonumber(known[5]), tonumber(ARGV[6]), second % 4294967296
	local serial = now
	if less(now, last) then serial = (last + 1) % 4294967296 end
	if served ~= 0 and not less(served, serial) then serial = (served + 1) % 4294967296 end
	return serial
end

-- What is missing from a bucket was evicted or deleted behind our back.
local function whole(bucket, counted) return redis.call('HLEN', bucket) >= tonumber(counted or 0) end

-- commit writes the feed's entry and the meta, and returns the serial.
-- mark0 is a revision at least 10 minutes old: the feed is trimmed up to it, or
-- to the latest 100,000 entries, whichever keeps more.
local function commit(lines, serial, grown)
	local floor = math.min(tonumber(known[8]), revision - 100000)
	local entry = {'nonce', ARGV[5], 'prev', known[4], 'serial', serial, 'changes', table.concat(lines, '\n')}
	if floor > 0 then
		redis.call('XADD', feed, 'MINID', '~', string.format('%.0f', floor), following .. '-0', unpack(entry))
	else
		redis.call('XADD', feed, following .. '-0', unpack(entry))
	end
	local marked = tonumber(known[7])
	if second >= marked + 600 or second < marked then
		if second >= marked then
			redis.call('HSET', meta, 'mark0', known[9], 'mark1', following)
		end
		redis.call('HSET', meta, 'marked', second)
	end
	local count = tonumber(known[6])
	for bucket, n in pairs(grown) do
		if n ~= 0 then redis.call('HINCRBY', meta, bucket, n) end
		count = count + n
	end
	redis.call('HSET', meta, 'revision', following, 'nonce', ARGV[5], 'serial', serial, 'count', count)
end
