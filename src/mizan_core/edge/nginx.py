"""Settings for nginx with its Lua module, as OpenResty and Debian's libnginx-mod-http-lua have it.

They keep what is for everyone under generations (protocol, section 15), which live in a shared dictionary: all workers
see a purge at once. A generation belongs to a bucket of tags, so the dictionary never fills, and never forgets one. It
is empty after a restart, where the files of the cache are still there, so all keys begin with a number that was random
at the start. A reload keeps the dictionary.

The cache has a location of its own: nginx leaves out of requests to a cached location what a private answer needs, such
as `If-None-Match` and `Range`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import DeclarationError
from .misleading import MISLEADING
from .sites import check_host, read_origin
from .surfaces import TEXT, EdgeMap, Shape, Surface, Template, read_manifest
from .tags import MAXIMUM_ENTRIES

# 8 MiB hold all of them, at some 100 bytes each; a purge of one tag misses nearly nothing else.
BUCKETS = 32_768

_MAXIMUM_URL = 1024

_ENTRY_NAME = "[A-Za-z0-9._~-]+"
_ENTRY = f"^{_ENTRY_NAME}(?:/{_ENTRY_NAME})?(?:;{_ENTRY_NAME}={TEXT})*+$"

# What `listen` and the name of a folder may be made of: they are written into settings as they are.
_PLAIN = re.compile(r"[A-Za-z0-9_./:\[\]=*-]+(?: [A-Za-z0-9_./:\[\]=*-]+)*")


def nginx_text(
    manifest: Mapping[str, Any],
    *,
    origin: str,
    host: str | None = None,
    listen: str = "80",
    purge_listen: str = "127.0.0.1:8611",
    cache_path: str = "/var/cache/nginx/mizan",
    written_by: str = "",
) -> str:
    """The settings for a manifest, to be included in `http { }`; the same for the same arguments.

    `origin`: `http://host:port` or `https://host:port`. `host`: the only host whose answers are kept; without it each
    host has answers of its own. `listen` and `purge_listen`: the addresses of the public and of purges. `written_by`: a
    command for the first line. Raises `DeclarationError` for what cannot be written into settings.
    """
    edge = read_manifest(manifest)
    backend = read_origin(origin)
    for option, value in (("listen", listen), ("purge_listen", purge_listen), ("cache_path", cache_path)):
        if not _PLAIN.fullmatch(value):
            raise DeclarationError(f"{option}={value!r} has characters that nginx gives a meaning to.")
    first = f"# Written by `{written_by}`. Changes will be lost.\n" if written_by else ""
    text = _SETTINGS.replace("@LUA@", _lua(edge, check_host(host) if host is not None else None))
    values = {
        "CACHE": cache_path,
        "ORIGIN": backend.netloc,
        "SCHEME": backend.scheme,
        "TLS": "\n    proxy_ssl_server_name on;\n" if backend.scheme == "https" else "",
        "LISTEN": listen,
        "PURGING": purge_listen,
    }
    return first + re.sub("@([A-Z]+)@", lambda match: values[match[1]], text)


def _lua(edge: EdgeMap, host: str | None) -> str:
    tables = {
        "host": "nil" if host is None else _quoted(host),
        "call": _quoted(f"^{re.escape(edge.base_url)}/call(?:/([^/]*))?/?$"),
        "left_out": _list(map(_quoted, (*edge.identity_headers, *MISLEADING))),
        "passing": _list(_quoted(f"^(?:{one})$") for one in edge.passing),
        "surfaces": _list(map(_surface, edge.surfaces)),
        "shapes": _map({name: _list(map(_shape, shapes)) for name, shapes in edge.shapes.items()}),
        "calls": _map({name: _quoted(", ".join(affected)) for name, affected in edge.calls.items()}),
        "harmless": _map(dict.fromkeys(edge.harmless, "true")),
        "routes": _list(
            f"{{ {_quoted(f'^{pattern}$')}, {_quoted(', '.join(affected))} }}"
            for pattern, affected in edge.routes.items()
        ),
        "entry_pattern": _quoted(_ENTRY),
        "buckets": str(BUCKETS),
        "maximum_entries": str(MAXIMUM_ENTRIES),
        "maximum_url": str(_MAXIMUM_URL),
    }
    lines = "".join(f"local {name} = {table}\n" for name, table in tables.items())
    return "\n".join(f"        {line}" if line else "" for line in (lines + _PROGRAM).splitlines())


def _surface(surface: Surface) -> str:
    params = (
        f"{{ name = {_quoted(name)}, capture = {_quoted(f'^{surface.with_capture(name)}$')} }}"
        for name in surface.in_path
    )
    return "\n".join(
        [
            "{",
            f"  context = {_quoted(surface.context)},",
            f"  is_page = {'true' if surface.is_page else 'false'},",
            f"  pattern = {_quoted(f'^{surface.pattern}$')},",
            f"  version = {_quoted(surface.version)},",
            f"  slash = {'true' if surface.path.endswith('/') else 'false'},",
            f"  two_spellings = {'true' if surface.has_two_spellings else 'false'},",
            f"  filled = {_map({name: _quoted(text) for name, text in surface.filled.items()})},",
            f"  in_path = {_list(params)},",
            f"  templates = {_templates(surface.templates)},",
            "}",
        ]
    )


def _shape(shape: Shape) -> str:
    return f"{{ names = {_list(map(_quoted, shape.names))}, templates = {_templates(shape.templates)} }}"


def _templates(templates: Sequence[Template]) -> str:
    return _list(f"{{ head = {_quoted(one.head)}, names = {_list(map(_quoted, one.names))} }}" for one in templates)


def _quoted(text: str) -> str:
    """A string of Lua. Nothing of a manifest has quotes or control characters (`read_manifest`)."""
    return '"' + text.replace("\\", "\\\\") + '"'


def _list(items: Iterable[str]) -> str:
    every = list(items)
    return "{ " + ", ".join(every) + " }" if every else "{}"


def _map(items: Mapping[str, str]) -> str:
    return _list(f"[{_quoted(name)}] = {item}" for name, item in items.items())


_PROGRAM = r"""
local generations = ngx.shared.mizan_generations
local edge = {}

-- Whether the text has this pattern; an error where that cannot be found out, as at a limit of the library.
local function matches(text, pattern)
  local from, _, failed = ngx.re.find(text, pattern, "jo")
  if failed then
    error(failed)
  end
  return from ~= nil
end

-- A reload finds these numbers and keeps them.
if not generations:get("start") then
  local random = io.open("/dev/urandom", "rb")
  local bytes = random:read(12)
  random:close()
  generations:set("start", (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end)))
  generations:set("*", generations:get("start"))
end

local function fresh()
  return generations:get("start") .. "-" .. generations:incr("count", 1, 0)
end

local function bucket(tag)
  return "b" .. (ngx.crc32_long(tag) % buckets)
end

-- The tag with these texts; nil if one of them is missing.
local function tag_of(template, texts)
  local tag = template.head
  for _, name in ipairs(template.names) do
    if not texts[name] then
      return nil
    end
    tag = tag .. ";" .. name .. "=" .. texts[name]
  end
  return tag
end

local function everything()
  generations:set("*", fresh())
end

-- Purges by the largest known shape inside the names of an entry. False if the entry cannot be understood.
local function purge_entry(entry, generation)
  if not matches(entry, entry_pattern) then
    return false
  end
  local known = shapes[entry:match("^[^/;]*")]
  if not known then
    return false
  end
  local texts = {}
  for name, text in entry:gmatch(";([^=;]*)=([^;]*)") do
    if texts[name] then
      return false
    end
    texts[name] = text
  end
  for _, shape in ipairs(known) do
    local inside = true
    for _, name in ipairs(shape.names) do
      inside = inside and texts[name] ~= nil
    end
    if inside then
      for _, template in ipairs(shape.templates) do
        generations:set(bucket(tag_of(template, texts)), generation)
      end
      return true
    end
  end
end

local function purge(header)
  local entries = {}
  for member in header:gmatch("[^,]+") do
    local entry = member:match("^[ \t]*([^ \t]*)[ \t]*$")
    if not entry then
      return everything()
    elseif entry ~= "" then
      entries[#entries + 1] = entry
    end
  end
  if #entries > maximum_entries then
    return everything()
  end
  local generation = fresh()
  for _, entry in ipairs(entries) do
    local done, understood = pcall(purge_entry, entry, generation)
    if not (done and understood) then
      return everything()
    end
  end
end

local function purge_affected()
  local path = ngx.var.request_uri:match("^[^?]*")
  if path:find("%", 1, true) then
    return everything()
  end
  local called = ngx.re.match(path, call, "jo")
  if called then
    local name = called[1]
    if name and calls[name] then
      purge(calls[name])
    elseif not (name and harmless[name]) then
      everything()
    end
  end
  for _, route in ipairs(routes) do
    if matches(path, route[1]) then
      purge(route[2])
    end
  end
end

-- A call that no origin answered may have written: what it affects is purged.
local function purge_unknown()
  if not pcall(purge_affected) then
    everything()
  end
end

local function is_safe(method)
  return method == "GET" or method == "HEAD" or method == "OPTIONS"
end

local function texts_at(surface, path, query)
  local texts = {}
  for name, text in pairs(surface.filled) do
    texts[name] = text
  end
  for _, param in ipairs(surface.in_path) do
    texts[param.name] = ngx.re.match(path, param.capture, "jo")[1]:gsub("/", "%%2F")
  end
  for name, text in query:gmatch("([^&=]*)=([^&]*)") do
    texts[name] = text
  end
  return texts
end

-- A write at the URL of a page makes at least that page stale, also one that Mizan knows nothing of (RFC 9111, 4.4).
local function purge_written()
  local path = ngx.var.request_uri:match("^[^?]*")
  for _, surface in ipairs(surfaces) do
    if surface.is_page and matches(path, surface.pattern) then
      local entry = surface.context
      for _, param in ipairs(surface.in_path) do
        entry = entry .. ";" .. param.name .. "=" .. ngx.re.match(path, param.capture, "jo")[1]:gsub("/", "%%2F")
      end
      purge(entry)
    end
  end
end

-- The canonical URL of what may be kept, and its key with the generations of now; nil if it has to be passed on.
local function locate(url)
  local path, query = url:match("^([^?]*)%??(.*)$")
  if #url > maximum_url then
    return nil
  end
  for _, pattern in ipairs(passing) do
    if matches(path, pattern) then
      return nil
    end
  end
  local found, last = 0, nil
  local key = { generations:get("*") }
  for _, surface in ipairs(surfaces) do
    if matches(url, surface.pattern) then
      found, last = found + 1, surface
      local texts = texts_at(surface, path, query)
      key[#key + 1] = surface.version
      for _, template in ipairs(surface.templates) do
        local tag = tag_of(template, texts)
        if tag then
          key[#key + 1] = generations:get(bucket(tag)) or ""
        end
      end
    end
  end
  if found == 0 or not key[1] then
    return nil
  end
  if found == 1 and last.two_spellings and (path:sub(-1) == "/") ~= last.slash then
    url = (last.slash and path .. "/" or path:sub(1, -2)) .. url:sub(#path + 1)
  end
  return url, table.concat(key, " ")
end

local function sent_host()
  local sent = (ngx.var.http_host or ""):lower()
  return sent:match("^(.-):%d+$") or sent
end

function edge.request()
  local method = ngx.req.get_method()
  if method == "PURGE" then
    ngx.header["Allow"] = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    return ngx.exit(405)
  end
  if not is_safe(method) then
    return ngx.exec("@mizan_write")
  end
  if method == "OPTIONS" or (host and sent_host() ~= host) then
    return
  end
  local located, url, key = pcall(locate, ngx.var.request_uri)
  if located and url then
    -- The answer is the same for everyone, so nothing of who asks goes to the origin, and nothing that the key lacks
    -- and that could lead to another answer.
    for _, name in ipairs(left_out) do
      ngx.req.clear_header(name)
    end
    ngx.var.mizan_url = url
    ngx.var.mizan_host = host or (ngx.var.http_host or ""):lower()
    ngx.var.mizan_key = ngx.var.mizan_host .. " " .. url .. " " .. key
    return ngx.exec("@mizan_kept")
  end
end

-- All lines of a header of the answer as one.
local function header_of(name)
  local value = ngx.header[name] or ""
  return type(value) == "table" and table.concat(value, ", ") or value
end

-- What the origin sends for everyone, and nothing else, is kept: whole, and not from a cache that stands between.
local function may_be_kept()
  local control = "," .. header_of("Cache-Control"):lower():gsub("[ \t]", "") .. ","
  local function says(directive)
    return control:find("," .. directive) ~= nil
  end
  local vary = header_of("Vary"):lower()
  local has_length = ngx.var.upstream_http_content_length or ngx.var.upstream_http_transfer_encoding
  return ngx.var.upstream_status == "200"
    and says("public,") and says("s%-maxage=[1-9]")
    and not (says("private") or says("no%-store") or says("no%-cache") or says("stale%-"))
    and (vary == "" or vary == "accept-encoding")
    and not header_of("Age"):find("[1-9]")
    and has_length
end

-- Seconds since the origin made what is kept.
local function age()
  local made = ngx.parse_http_time(ngx.var.upstream_http_date or "")
  return made and math.max(0, ngx.time() - made)
end

function edge.response()
  local header = ngx.header["X-Mizan-Invalidate"]
  local kind = ngx.header["Content-Type"] or ""
  if header then
    purge(type(header) == "table" and table.concat(header, ",") or header)
  elseif ngx.status >= 500 and not is_safe(ngx.req.get_method()) and not kind:find("^application/problem%+json") then
    purge_unknown()
  elseif ngx.status < 400 and not is_safe(ngx.req.get_method()) and not pcall(purge_written) then
    everything()
  end
  ngx.ctx.mizan_heard = true
  local before, is_located = header_of("Cache-Status"), ngx.var.mizan_key ~= ""
  if is_located then
    local is_hit = ngx.var.upstream_cache_status == "HIT"
    if is_hit then
      ngx.header["Age"] = age()
    else
      ngx.var.mizan_passing = may_be_kept() and "" or "1"
    end
    local status = is_hit and "mizan-edge; hit" or "mizan-edge; fwd=uri-miss"
    ngx.header["Cache-Status"] = before ~= "" and before .. ", " .. status or status
  end
  local control = header_of("Cache-Control")
  if control ~= "" and (is_located or before:find("^mizan;")) then
    -- Caches behind this one are told of no purge.
    ngx.header["Cache-Control"] =
      ("," .. control):gsub(",[ \t]*[sS]%-[mM][aA][xX][aA][gG][eE]=[^,]*", ""):gsub("^,[ \t]*", "")
  end
end

function edge.ended()
  -- Of a request that the client broke off the origin has seen nothing.
  if not ngx.ctx.mizan_heard and ngx.var.upstream_addr and not is_safe(ngx.req.get_method()) then
    purge_unknown()
  end
end

function edge.purging()
  if ngx.req.get_method() ~= "PURGE" then
    ngx.header["Allow"] = "PURGE"
    return ngx.exit(405)
  end
  local header = ngx.req.get_headers(0)["X-Mizan-Invalidate"]
  if not header then
    return ngx.exit(400)
  end
  purge(type(header) == "table" and table.concat(header, ",") or header)
  ngx.header["Content-Type"] = "text/plain; charset=utf-8"
  ngx.print("200 Purged")
end

package.loaded["mizan_edge"] = edge
"""

_SETTINGS = """\
# For `http { }`. Needs the Lua module. Nothing else there may use init_by_lua.
lua_shared_dict mizan_generations 8m;
proxy_cache_path @CACHE@ levels=1:2 keys_zone=mizan:16m max_size=1g inactive=7d use_temp_path=off;

init_by_lua_block {
@LUA@
}

upstream mizan_origin {
    server @ORIGIN@;
    keepalive 32;
}

# Of all protocols only this one: a tunnel to HTTP/2 would lead calls past this node.
map $http_upgrade $mizan_upgrade {
    default "";
    "~*^websocket$" websocket;
}

map $mizan_upgrade $mizan_connection {
    default upgrade;
    "" "";
}

server {
    listen @LISTEN@;
    set $mizan_key "";
    set $mizan_url "";
    set $mizan_host "";
    set $mizan_passing "1";
    proxy_http_version 1.1;
    proxy_next_upstream off;
    proxy_ignore_headers X-Accel-Redirect;
    # X-Mizan-Invalidate alone may have 4096 bytes, and more where it names nothing but contexts.
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;@TLS@
    header_filter_by_lua_block { require("mizan_edge").response() }
    log_by_lua_block { require("mizan_edge").ended() }

    location / {
        rewrite_by_lua_block { require("mizan_edge").request() }
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $mizan_upgrade;
        proxy_set_header Connection $mizan_connection;
        proxy_pass @SCHEME@://mizan_origin$request_uri;
    }

    # A write goes on, and its answer is read, when the client has gone away.
    location @mizan_write {
        proxy_ignore_client_abort on;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Connection "";
        proxy_pass @SCHEME@://mizan_origin$request_uri;
    }

    location @mizan_kept {
        proxy_cache mizan;
        proxy_cache_key $mizan_key;
        proxy_no_cache $mizan_passing $upstream_http_x_mizan_invalidate;
        proxy_ignore_headers X-Accel-Redirect X-Accel-Expires Expires Vary;
        proxy_cache_use_stale off;
        proxy_cache_lock off;
        proxy_pass_request_body off;
        proxy_set_header Host $mizan_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Accept-Encoding "";
        proxy_set_header Content-Length "";
        proxy_set_header Content-Type "";
        proxy_set_header Connection "";
        proxy_pass @SCHEME@://mizan_origin$mizan_url;
    }
}

# The address of purges. Only the origin may reach it.
server {
    listen @PURGING@;
    location / {
        content_by_lua_block { require("mizan_edge").purging() }
    }
}
"""
