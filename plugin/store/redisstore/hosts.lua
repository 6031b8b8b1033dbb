-- KEYS: 3 seen, then hosts, history and settings of each bucket. ARGV: 7 client
-- and token id for the history, 8 how many buckets, their names, then six of each
-- write: operation (p, r, d), bucket by its place, name, revision expected, state
-- without revision and settings flag, settings ("": leave, "-": remove).
local seen, by, buckets = KEYS[3], ARGV[7], tonumber(ARGV[8])
redis.call('ZCARD', seen)
local counted = redis.call('HMGET', meta, unpack(ARGV, 9, 8 + buckets))
for b = 1, buckets do
	if not whole(KEYS[1 + 3 * b], counted[b]) then return {'lost', ARGV[8 + b]} end
	redis.call('HLEN', KEYS[3 + 3 * b])
end

local first, old, past, answer = 9 + buckets, {}, {}, {'conflict'}
for w = first, #ARGV, 6 do
	local b, name = tonumber(ARGV[w + 1]), ARGV[w + 2]
	local state, current = redis.call('HGET', KEYS[1 + 3 * b], name), '0'
	if state then current = string.match(state, '^(%d+) ') end
	if not current then return {'damaged', name, state} end
	if current ~= ARGV[w + 3] then
		answer[#answer + 1] = name
		answer[#answer + 1] = state or ''
	end
	old[w], past[w] = state, redis.call('HGET', KEYS[2 + 3 * b], name)
end
if #answer > 1 then return answer end

local lines, fresh, grown = {}, {}, {}
for w = first, #ARGV, 6 do
	local op, name, bucket = ARGV[w], ARGV[w + 2], ARGV[8 + tonumber(ARGV[w + 1])]
	if op == 'p' then
		local state, settings = following .. ' ' .. ARGV[w + 4], ARGV[w + 5]
		if settings == '' and old[w] and string.sub(old[w], -1) == 's' or #settings > 1 then
			if string.sub(state, -2) == ' -' then state = string.sub(state, 1, -2) end
			state = state .. 's'
		end
		fresh[w] = state
		lines[#lines + 1] = name .. ' ' .. state
		if not old[w] then grown[bucket] = (grown[bucket] or 0) + 1 end
	elseif op == 'd' then
		lines[#lines + 1] = name .. ' -'
		grown[bucket] = (grown[bucket] or 0) - 1
	end
end
local serial = nextserial()
if #lines > 0 then commit(lines, serial, grown) end

for w = first, #ARGV, 6 do
	local op, b, name, settings = ARGV[w], tonumber(ARGV[w + 1]), ARGV[w + 2], ARGV[w + 5]
	local hosts, history, kept = KEYS[1 + 3 * b], KEYS[2 + 3 * b], KEYS[3 + 3 * b]
	if op == 'd' then
		redis.call('HDEL', hosts, name)
		redis.call('HDEL', history, name)
		redis.call('HDEL', kept, name)
		redis.call('ZREM', seen, name)
	else
		redis.call('ZADD', seen, 'GT', second, name)
	end
	if op == 'p' then
		redis.call('HSET', hosts, name, fresh[w])
		local text = fresh[w] .. ' ' .. second .. ' ' .. by .. '\n'
		if old[w] and past[w] then
			local upto = 0
			for _ = 1, 19 do
				upto = string.find(past[w], '\n', upto + 1, true)
				if not upto then break end
			end
			text = text .. (upto and string.sub(past[w], 1, upto) or past[w])
		end
		redis.call('HSET', history, name, text)
		if #settings > 1 then
			redis.call('HSET', kept, name, settings)
		elseif settings == '-' then
			redis.call('HDEL', kept, name)
		end
	end
end
if #lines == 0 then return {'done', '0', '0', tostring(second)} end
return {'done', following, string.format('%.0f', serial), tostring(second)}
