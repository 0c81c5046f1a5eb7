"""A program for Varnish, from 7.1 on, that keeps what is for everyone under generations (protocol, section 15).

VCL has no loops, no variables and no arrays. Variables are those of the module `var` (in the package varnish-modules):
those of a request, and global ones for the generations. The global ones are a list that each look-up walks through, so
they are bounded: a generation belongs to a bucket of tags, found by the first bytes of the SHA-256 that `shard.key`
gives. A generation is the time and the number of the transaction that set it. A bucket that was never purged has none,
and `mizan`, set when the worker process starts, tells its keys from those of an earlier process.

Variables live in the workspace of a task. What no longer fits there is lost without an error, so the room is looked at
first, and a workspace that has overflowed makes a key that nothing else has, or a purge of everything.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import DeclarationError
from .misleading import MISLEADING
from .sites import check_host, read_origin
from .surfaces import TEXT, EdgeMap, Shape, Surface, Template, read_manifest
from .tags import MAXIMUM_ENTRIES

# A purge of one tag misses what shares its bucket: of a thousand, one in a hundred objects with ten tags. A look-up in
# a list of so many takes some microseconds.
BUCKETS = 1024

# The name that the purging address has on the command line of varnishd: `-a mizan-purge=127.0.0.1:8611`.
LISTENER = "mizan-purge"

# A longer URL is passed on: its parameters are copied once for each shape.
_MAXIMUM_URL = 1024
# Bytes of a workspace that the longest URL and the longest header need.
_ROOM = 32 * 1024
# A miss that cannot be kept is remembered so long, so that requests for it do not wait for each other.
_REMEMBERED_SECONDS = 5


_HEAD = """\
vcl 4.1;

import directors;
import std;
import var;
import vtc;

backend mizan_origin {{
    .host = "{host}";
    .port = "{port}";
}}

sub vcl_init {{
    new mizan_buckets = directors.shard();
    # Reloading this file keeps the generations, and what is kept under them.
    if (!var.global_get("mizan")) {{
        var.global_set("mizan", std.time2real(now, 0.0));
    }}
}}
"""

_RECV = """\
sub vcl_recv {{
    set req.backend_hint = mizan_origin;
    var.set("mizan.found", "");
    if (local.socket == "{listener}") {{
        if (req.method != "PURGE") {{
            return (synth(405, "Method Not Allowed"));
        }}
        std.collect(req.http.X-Mizan-Invalidate, ", ");
        if (!req.http.X-Mizan-Invalidate) {{
            return (synth(400, "Bad Request"));
        }}
        if (vtc.workspace_free(client) < {room}) {{
            return (synth(413, "Content Too Large"));
        }}
        var.set("mizan.new", "" + std.time2real(now, 0.0) + "-" + req.xid);
        var.set("mizan.header", req.http.X-Mizan-Invalidate);
        call mizan_purge;
        if (vtc.workspace_overflowed(client)) {{
            call mizan_everything;
        }}
        return (synth(200, "Purged"));
    }}
    if (req.method == "PURGE") {{
        return (synth(405, "Method Not Allowed"));
    }}
    if (!req.http.host && req.proto != "HTTP/1.0") {{
        return (synth(400, "Bad Request"));
    }}
    if (req.method != "GET" && req.method != "HEAD") {{
        return (pass);
    }}
    if (vtc.workspace_free(client) >= {room}{conditions}) {{
        call mizan_locate;
    }}
    if (var.get("mizan.found") != "") {{
        # The answer is the same for everyone, so nothing of who asks goes to the origin, and nothing that the key lacks
        # and that could lead to another answer.
{strip}
        set req.http.host = {sent_host};
        if (req.http.X-Forwarded-Proto ~ "(?i)^https$") {{
            set req.http.X-Forwarded-Proto = "https";
        }} else {{
            unset req.http.X-Forwarded-Proto;
        }}
        return (hash);
    }}
    if (req.http.Upgrade ~ "(?i)^websocket$") {{
        return (pipe);
    }}
    return (pass);
}}

sub vcl_pipe {{
    set bereq.http.Upgrade = req.http.Upgrade;
    # An origin that does not upgrade closes the connection: of a second request on it nothing would be heard here.
    set bereq.http.Connection = "upgrade, close";
}}
"""

# Varnish refuses a program with a subroutine that nothing calls, so these two are left out where nothing does.
_GENERATION = """\
# The generation of a tag becomes part of the key.
sub mizan_generation {{
    hash_data(var.global_get("" + (mizan_buckets.key(var.get("mizan.tag")) % {buckets})));
}}
"""

_ADVANCE = """\
# What is kept under the generations of before is no longer found.
sub mizan_advance {{
    var.global_set("" + (mizan_buckets.key(var.get("mizan.tag")) % {buckets}), var.get("mizan.new"));
}}
"""

_HASH = """\
sub vcl_hash {{
    hash_data(req.url);
{host}
    hash_data(req.http.X-Forwarded-Proto);
    hash_data(var.global_get("mizan"));
{calls}
    if (vtc.workspace_overflowed(client)) {{
        # Something is missing above: nothing else has this key.
        hash_data(req.xid);
    }}
    return (lookup);
}}

sub vcl_deliver {{
    if (var.get("mizan.found") != "") {{
        if (obj.hits > 0) {{
            set resp.http.X-Mizan-Edge = "mizan-edge; hit";
        }} else {{
            set resp.http.X-Mizan-Edge = "mizan-edge; fwd=uri-miss";
        }}
        if (resp.http.Cache-Status) {{
            set resp.http.Cache-Status = resp.http.Cache-Status + ", " + resp.http.X-Mizan-Edge;
        }} else {{
            set resp.http.Cache-Status = resp.http.X-Mizan-Edge;
        }}
        unset resp.http.X-Mizan-Edge;
    }}
    if (resp.http.Cache-Control && (var.get("mizan.found") != "" || resp.http.Cache-Status ~ "^mizan;")) {{
        # Caches behind this one are told of no purge.
        set resp.http.Cache-Control = regsub(
            regsuball(resp.http.Cache-Control, "(?i)(?:^|,)[ ]*+s-maxage=[^,]*+", ""), "^[ ]*,[ ]*", "");
    }}
}}

sub vcl_synth {{
    if (resp.status == 503 && req.method != "GET" && req.method != "HEAD" && req.method != "OPTIONS") {{
        # This program failed, perhaps in the midst of a purge: a regular expression or a workspace came to its limit.
        var.set("mizan.new", "" + std.time2real(now, 0.0) + "-" + req.xid);
        call mizan_everything;
        if (req.method == "PURGE") {{
            set resp.status = 200;
            set resp.reason = "Purged";
        }}
    }}
    set resp.http.Cache-Control = "no-store";
    if (resp.status == 405) {{
        if (local.socket == "{listener}") {{
            set resp.http.Allow = "PURGE";
        }} else {{
            set resp.http.Allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
        }}
    }}
    set resp.http.Content-Type = "text/plain; charset=utf-8";
    set resp.body = "" + resp.status + " " + resp.reason;
    return (deliver);
}}
"""

_BACKEND = """\
sub vcl_backend_response {{
    if (beresp.http.X-Mizan-Invalidate) {{
        std.collect(beresp.http.X-Mizan-Invalidate, ", ");
        var.set("mizan.new", "" + std.time2real(now, 0.0) + "-" + bereq.xid);
        if (vtc.workspace_free(backend) < {room}) {{
            call mizan_everything;
        }} else {{
            var.set("mizan.header", beresp.http.X-Mizan-Invalidate);
            call mizan_purge;
            if (vtc.workspace_overflowed(backend)) {{
                call mizan_everything;
            }}
        }}
        set beresp.uncacheable = true;
    }} else if (beresp.status >= 500 && beresp.http.Content-Type !~ "(?i)^application/problem\\+json") {{
        call mizan_unknown;
    }} else if (beresp.status < 400) {{
        call mizan_written;
    }}
    if (!bereq.uncacheable) {{
        set beresp.grace = 0s;
        set beresp.keep = 0s;
        if (beresp.status != 200 || beresp.ttl <= 0s || beresp.http.Set-Cookie
            || beresp.http.Cache-Control !~ "(?i)(?:^|,)[ ]*public[ ]*(?:,|$)"
            || beresp.http.Cache-Control !~ "(?i)(?:^|,)[ ]*s-maxage=[0-9]"
            || beresp.http.Cache-Control ~ "(?i)(?:^|,)[ ]*(?:private|no-store|no-cache)"
            || (beresp.http.Vary && beresp.http.Vary !~ "(?i)^accept-encoding$")
            # From a cache that is told of no purge, or without a length, so that nothing tells a part from the whole.
            || beresp.http.Age ~ "[1-9]"
            || (!beresp.http.Content-Length && beresp.http.Transfer-Encoding !~ "(?i)chunked")) {{
            set beresp.ttl = {remembered}s;
            set beresp.uncacheable = true;
        }}
    }}
    return (deliver);
}}

sub vcl_backend_error {{
    call mizan_unknown;
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    set beresp.http.Content-Type = "text/plain; charset=utf-8";
    set beresp.http.Cache-Control = "no-store";
    set beresp.body = "" + beresp.status + " " + beresp.reason;
    return (deliver);
}}

# A call that no origin answered may have written: what it affects is purged.
sub mizan_unknown {{
    if (bereq.method != "GET" && bereq.method != "HEAD" && bereq.method != "OPTIONS") {{
        var.set("mizan.new", "" + std.time2real(now, 0.0) + "-" + bereq.xid);
        var.set("mizan.header", "");
        if (vtc.workspace_free(backend) < {room}) {{
            call mizan_everything;
        }} else {{
            call mizan_affected;
            call mizan_purge;
        }}
    }}
}}

sub mizan_affected {{
{unknown}
}}

# A write at the URL of a page makes at least that page stale, also one that Mizan knows nothing of (RFC 9111, 4.4).
sub mizan_written {{
    if (bereq.method != "GET" && bereq.method != "HEAD" && bereq.method != "OPTIONS" && bereq.method != "TRACE") {{
        var.set("mizan.header", "");
{written}
        if (var.get("mizan.header") ~ ".") {{
            var.set("mizan.new", "" + std.time2real(now, 0.0) + "-" + bereq.xid);
            if (vtc.workspace_free(backend) < {room}) {{
                call mizan_everything;
            }} else {{
                call mizan_purge;
            }}
        }}
    }}
}}

sub mizan_everything {{
    var.global_set("mizan", var.get("mizan.new"));
}}

sub mizan_purge {{
    if (var.get("mizan.header") ~ "^(?:[^,]*+,){{{entries_allowed}}}[ \\t]*[^, \\t]") {{
        call mizan_everything;
    }} else {{
{entries}
    }}
}}
"""


def varnish_text(manifest: Mapping[str, Any], *, origin: str, host: str | None = None, written_by: str = "") -> str:
    """The program for a manifest, the same for the same arguments. `origin`: `http://host:port`.

    `host`: the only host whose answers are kept; without it each host has answers of its own. `written_by`: a command
    for the first line. Raises `DeclarationError` for what cannot be written into a program.
    """
    edge = read_manifest(manifest)
    backend = read_origin(origin)
    if backend.scheme != "http":
        raise DeclarationError(f"Varnish speaks no TLS to the origin {origin!r}; name an http:// address.")
    pieces = [
        _HEAD.format(host=backend.host.strip("[]"), port=backend.port),
        _RECV.format(
            listener=LISTENER,
            room=_ROOM,
            conditions=_keepable(edge, host),
            strip="\n".join(f"        unset req.http.{name};" for name in (*edge.identity_headers, *MISLEADING)),
            sent_host=f'"{check_host(host)}"' if host else "std.tolower(req.http.host)",
        ),
        _located(edge),
        *([_GENERATION.format(buckets=BUCKETS)] if edge.surfaces else []),
        *(_hashing(number, surface) for number, surface in enumerate(edge.surfaces)),
        _HASH.format(
            buckets=BUCKETS,
            listener=LISTENER,
            host='    hash_data("kept");' if host else "    hash_data(std.tolower(req.http.host));",
            calls=_hash_calls(edge.surfaces),
        ),
        _BACKEND.format(
            buckets=BUCKETS,
            room=_ROOM,
            remembered=_REMEMBERED_SECONDS,
            entries_allowed=MAXIMUM_ENTRIES,
            entries=_entries(),
            unknown=_unknown(edge),
            written="\n".join(line for one in edge.surfaces if one.is_page for line in _written(one)),
        ),
        *([_ADVANCE.format(buckets=BUCKETS)] if edge.shapes else []),
        _contexts(edge),
    ]
    first = f"# Written by `{written_by}`. Changes will be lost.\n" if written_by else ""
    return first + "\n".join(pieces)


def _keepable(edge: EdgeMap, host: str | None) -> str:
    """What a request has to be for its answer to be kept, beside GET or HEAD of a known URL."""
    conditions = [f'req.url !~ "^.{{{_MAXIMUM_URL + 1}}}"']
    if host is not None:
        conditions.append(f'req.http.host ~ "(?i)^{re.escape(check_host(host))}(?::[0-9]+)?$"')
    conditions += [rf'req.url !~ "^(?:{one})(?:\?|$)"' for one in edge.passing]
    return "".join(f"\n        && {one}" for one in conditions)


def _located(edge: EdgeMap) -> str:
    """Finds the surfaces of a URL. The endpoints of bundles exclude each other; pages may overlap with anything."""
    return "\n".join(
        [
            "sub mizan_locate {",
            '    var.set("mizan.found", "");',
            '    var.set("mizan.url", req.url);',
            *(line for number, one in enumerate(edge.surfaces) for line in _locating(number, one)),
            '    if (var.get("mizan.found") ~ "^ [0-9]+ $") {',
            '        set req.url = var.get("mizan.url");',
            "    }",
            "}",
            "",
        ]
    )


def _locating(number: int, surface: Surface) -> Iterator[str]:
    yield f'    if (req.url ~ "^{surface.pattern}$") {{'
    yield f'        var.set("mizan.found", var.get("mizan.found") + " {number} ");'
    if surface.has_two_spellings:
        spelled = r"/\2" if surface.path.endswith("/") else r"\2"
        yield rf'        var.set("mizan.url", regsub(req.url, "^([^?]*?)/?(\?.*)?$", "\1{spelled}"));'
    yield "    }"


def _hashing(number: int, surface: Surface) -> str:
    """The subroutine that makes the generations of a surface's tags part of the key."""
    wanted = [name for name in surface.params if any(name in one.names for one in surface.templates)]
    variables = {name: f"mizan.{place}" for place, name in enumerate(wanted)}
    lines = [f"# {surface.path}", f"sub mizan_hash_{number} {{", f'    hash_data("{surface.version}");']
    for name, variable in variables.items():
        lines += _reading(surface, name, variable)
    for template in surface.templates:
        given = [f'var.get("{variables[name]}")' for name in template.names]
        tag = " + ".join([f'"{template.head}"', *_pairs(template, given)])
        body = [f'var.set("mizan.tag", {tag});', "call mizan_generation;"]
        conditions = " && ".join(f'{one} != ""' for one in given)
        lines += (
            [f"    if ({conditions}) {{", *(f"        {one}" for one in body), "    }"] if given else _indented(body)
        )
    return "\n".join([*lines, "}", ""])


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _pairs(template: Template, texts: Sequence[str]) -> Iterator[str]:
    """The pairs of a tag; each text has its equals sign before it, so that an empty one is told from none."""
    return (f'";{name}" + {text}' for name, text in zip(template.names, texts, strict=True))


def _reading(surface: Surface, name: str, variable: str) -> list[str]:
    """Sets a variable to `=` and the text of a parameter; to nothing where it is null."""
    if name in surface.in_path:
        text = rf'regsub(req.url, "^{surface.with_capture(name)}$", "\1")'
        return [f'    var.set("{variable}", "=" + regsuball({text}, "/", "%2F"));']
    filled = f'"={surface.filled[name]}"' if name in surface.filled else '""'
    if name not in surface.in_query:
        return [f'    var.set("{variable}", {filled});']
    pair = rf"[?&]{re.escape(name)}="
    return [
        f'    if (req.url ~ "{pair}") {{',
        rf'        var.set("{variable}", "=" + regsub(req.url, "^.*?{pair}([^&]*).*$", "\1"));',
        "    } else {",
        f'        var.set("{variable}", {filled});',
        "    }",
    ]


def _hash_calls(surfaces: Sequence[Surface]) -> str:
    return "\n".join(
        f'    if (var.get("mizan.found") ~ " {number} ") {{\n        call mizan_hash_{number};\n    }}'
        for number in range(len(surfaces))
    )


def _entries() -> str:
    """Takes the entries of a header one by one: VCL has no loops."""
    lines = []
    for number in range(MAXIMUM_ENTRIES):
        before = f"^(?:[^,]*+,){{{number}}}"
        entry = rf'regsub(var.get("mizan.header"), "{before}[ \t]*+([^, \t]*+)[ \t]*+(?:,.*+)?$", "\1")'
        lines += [
            rf'        if (var.get("mizan.header") ~ "{before}[ \t]*[^, \t]") {{',
            f'            var.set("mizan.entry", {entry});',
            "            call mizan_entry;",
            "        }",
        ]
    return "\n".join(lines)


def _contexts(edge: EdgeMap) -> str:
    """Purges what one entry names: a subroutine for each context, and one that finds it."""
    texts = [
        "\n".join([f"sub mizan_context_{number} {{", *_indented(_shapes_of(edge.shapes[name])), "}", ""])
        for number, name in enumerate(edge.shapes)
    ]
    lines = [
        "# An entry in another than its canonical spelling purges everything, and so does an unknown context.",
        "sub mizan_entry {",
        rf'    if (var.get("mizan.entry") !~ "^{_ENTRY}$") {{',
        "        call mizan_everything;",
    ]
    for number, name in enumerate(edge.shapes):
        lines += [
            rf'    }} else if (var.get("mizan.entry") ~ "^{re.escape(name)}(?:[/;]|$)") {{',
            f"        call mizan_context_{number};",
        ]
    lines += ["    } else {", "        call mizan_everything;", "    }", "}", ""]
    return "\n".join([*texts, *lines])


_ENTRY_NAME = "[A-Za-z0-9._~-]+"
_ENTRY = f"{_ENTRY_NAME}(?:/{_ENTRY_NAME})?(?:;{_ENTRY_NAME}={TEXT})*+"


def _shapes_of(shapes: Sequence[Shape]) -> list[str]:
    """Purges by the largest known shape inside the names of the entry; the last, of the whole context, has no names."""
    lines: list[str] = []
    for shape in shapes:
        conditions = " && ".join(rf'var.get("mizan.entry") ~ ";{re.escape(name)}="' for name in shape.names)
        head = f"if ({conditions})" if shape.names else "if (true)"
        body = [line for one in shape.templates for line in _advancing(one)]
        lines += [f"{'} else ' if lines else ''}{head} {{", *_indented(body)]
    return [*lines, "}"]


def _advancing(template: Template) -> list[str]:
    texts = [
        rf'"=" + regsub(var.get("mizan.entry"), "^[^;]*+(?:;(?!{name}=)[^;]*+)*+;{name}=([^;]*+).*+$", "\1")'
        for name in map(re.escape, template.names)
    ]
    tag = " + ".join([f'"{template.head}"', *_pairs(template, texts)])
    return [f'var.set("mizan.tag", {tag});', "call mizan_advance;"]


def _written(page: Surface) -> Iterator[str]:
    """Adds the entry for the URL of a page to what is purged."""
    texts = (
        rf'";{name}=" + regsuball(regsub(bereq.url, "^{page.with_capture(name)}(?:\?.*)?$", "\1"), "/", "%2F")'
        for name in page.in_path
    )
    yield rf'        if (bereq.url ~ "^{page.pattern}(?:\?|$)") {{'
    added = " + ".join(['var.get("mizan.header")', f'", {page.context}"', *texts])
    yield f'            var.set("mizan.header", {added});'
    yield "        }"


def _unknown(edge: EdgeMap) -> str:
    """The contexts that a call or a route of a mutation affects, where its outcome is not known."""
    base = re.escape(edge.base_url)
    lines = [
        rf'    if (bereq.url ~ "^[^?]*%" || bereq.url ~ "^{base}/call/?(?:\?|$)") {{',
        '        var.set("mizan.header", "*");',
    ]
    for name, affected in edge.calls.items():
        lines += [
            rf'    }} else if (bereq.url ~ "^{base}/call/{re.escape(name)}/?(?:\?|$)") {{',
            f'        var.set("mizan.header", "{", ".join(affected)}");',
        ]
    if edge.harmless:
        names = "|".join(map(re.escape, edge.harmless))
        lines += [
            rf'    }} else if (bereq.url ~ "^{base}/call/(?:{names})/?(?:\?|$)") {{',
            '        var.set("mizan.header", "");',
        ]
    lines += [f'    }} else if (bereq.url ~ "^{base}/call/") {{', '        var.set("mizan.header", "*");', "    }"]
    for pattern, affected in edge.routes.items():
        lines += [
            rf'    if (bereq.url ~ "^{pattern}(?:\?|$)") {{',
            f'        var.set("mizan.header", var.get("mizan.header") + ", {", ".join(affected)}");',
            "    }",
        ]
    return "\n".join(lines)
