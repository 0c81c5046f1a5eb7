"""What Redis does to held tags in one step, in Lua."""

# A held tag's value is HELD and its holders, each with the moment at which its hold expires (in milliseconds) and a
# comma. Each expires by itself: who died would otherwise hold for as long as others go on holding the same tag.
# What another program keeps under a tag, of whichever type, is taken for nothing, and is overwritten or deleted.
_OTHERS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function others(value)
  local kept, last = '', 0
  if type(value) == 'string' and string.sub(value, 1, 1) == ARGV[2] then
    for holder, expires in string.gmatch(string.sub(value, 2), '([^=,]*)=(%d+),') do
      if holder ~= ARGV[1] and #expires < 16 and tonumber(expires) > now then
        kept = kept .. holder .. '=' .. expires .. ','
        last = math.max(last, tonumber(expires))
      end
    end
  end
  return kept, last
end
"""

# KEYS: tags. ARGV: the holder, HELD, and for how long at most, in milliseconds.
HOLD = f"""{_OTHERS}
local expires = now + tonumber(ARGV[3])
for _, key in ipairs(KEYS) do
  local kept, last = others(redis.pcall('GET', key))
  local value = ARGV[2] .. kept .. ARGV[1] .. '=' .. string.format('%d', expires) .. ','
  redis.call('SET', key, value, 'PX', string.format('%d', math.max(last, expires) - now))
end
"""

# KEYS: tags. ARGV: the holder and HELD.
# A server that is full may refuse to write the shorter value. Then the tag stays held, as others hold it anyway.
RELEASE = f"""{_OTHERS}
for _, key in ipairs(KEYS) do
  local kept, last = others(redis.pcall('GET', key))
  if kept == '' then
    redis.call('DEL', key)
  else
    redis.pcall('SET', key, ARGV[2] .. kept, 'PX', string.format('%d', last - now))
  end
end
"""
