"""The atomic steps of held tags in Redis, as Lua scripts. `held_tags` has the same in Python, with the reasons.

A held tag's value (protocol, section 7) is HELD; its holders, each with the moment at which its hold expires (in
milliseconds) and a comma; and, as long as the tag may be restored, `~` and the value that it had before, which is empty
if the tag was absent. A version that does not know this last part ignores it and writes the value without it, so that
nothing is restored.
"""

# Holders of one tag that are stored by name. Further ones share one holder, `*`, which only expires. Each name costs 45
# bytes of every look-up and half a microsecond of every step.
MAXIMUM_HOLDERS = 128

# A value that another program has stored under a tag, of any type, counts as none: it is overwritten or deleted.
_STATE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function state(key)
  local value = redis.pcall('GET', key)
  local others, crowd, last, before = {}, 0, 0, value == false and ''
  local held = type(value) == 'string' and string.sub(value, 1, 1) == ARGV[2]
  if held then
    local behind = string.find(value, '~', 1, true)
    before = behind and string.sub(value, behind + 1) or false
    for holder, expires in string.gmatch(string.sub(value, 2, (behind or 0) - 1), '([^=,]*)=(%d+),') do
      local moment = #expires < 16 and tonumber(expires) or 0
      if moment <= now then
        before = false
      elseif holder == '*' then
        crowd = math.max(crowd, moment)
      elseif holder ~= ARGV[1] then
        others[#others + 1] = holder .. '=' .. expires .. ','
        last = math.max(last, moment)
      end
    end
  elseif type(value) == 'string' and string.sub(value, 1, 1) == 'n' and #value < 100 then
    before = value
  end
  return held, others, crowd, last, before
end
local function hold(key, write, others, crowd, last, before)
  if crowd > 0 then
    others[#others + 1] = string.format('*=%d,', crowd)
    last = math.max(last, crowd)
  end
  local value = ARGV[2] .. table.concat(others) .. (before and '~' .. before or '')
  write('SET', key, value, 'PX', string.format('%d', last - now))
end
"""

# KEYS: tags to hold, then keys to add if they are absent. ARGV: the holder, HELD, the duration of the hold in
# milliseconds, the life of an added key in milliseconds, and the value of each key to add. Returns the values of these.
HOLD = f"""{_STATE}
local expires = now + tonumber(ARGV[3])
local tags = #KEYS - (#ARGV - 4)
for place = 1, tags do
  local key = KEYS[place]
  local _, others, crowd, last, before = state(key)
  if #others < {MAXIMUM_HOLDERS} then
    others[#others + 1] = ARGV[1] .. string.format('=%d,', expires)
    last = math.max(last, expires)
  else
    crowd, before = math.max(crowd, expires), false
  end
  hold(key, redis.call, others, crowd, last, before)
end
for place = tags + 1, #KEYS do
  redis.call('SET', KEYS[place], ARGV[4 + place - tags], 'PX', ARGV[4], 'NX')
end
return tags < #KEYS and redis.call('MGET', unpack(KEYS, tags + 1)) or {{}}
"""

# KEYS: tags to release, then keys to read. ARGV: the holder, HELD, and how many keys there are to read. Returns their
# values.
# A full server may refuse to write the shorter value. The tag then stays held, as it has other holders anyway.
RELEASE = f"""{_STATE}
local tags = #KEYS - tonumber(ARGV[3])
for place = 1, tags do
  local key = KEYS[place]
  local _, others, crowd, last = state(key)
  if #others == 0 and crowd == 0 then
    redis.call('DEL', key)
  else
    hold(key, redis.pcall, others, crowd, last, false)
  end
end
return tags < #KEYS and redis.call('MGET', unpack(KEYS, tags + 1)) or {{}}
"""

# KEYS: tags. ARGV: the holder, HELD, and the life of a restored value in milliseconds.
# A tag that is not held stays as it is. A full server may refuse the restored value; the tag is then deleted.
RESTORE = f"""{_STATE}
for _, key in ipairs(KEYS) do
  local held, others, crowd, last, before = state(key)
  if held and (#others > 0 or crowd > 0) then
    hold(key, redis.pcall, others, crowd, last, before)
  elseif held then
    local written = before and before ~= '' and redis.pcall('SET', key, before, 'PX', ARGV[3])
    if not written or written.err then
      redis.call('DEL', key)
    end
  end
end
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: the journal. ARGV: the lease in milliseconds, and notes, whose number is bounded by what a mutation names.
JOURNAL_WRITE = f"""{_NOW}
for place = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[place])
end
"""

# KEYS: the journal. ARGV: the lease in milliseconds, and the maximum of notes. Returns notes whose lease has ended.
JOURNAL_CLAIM = f"""{_NOW}
local notes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, note in ipairs(notes) do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), note)
end
return notes
"""
