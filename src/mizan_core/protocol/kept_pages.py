"""A page's response as it is kept at the origin: its headers as a line of JSON, then its body (protocol, section 9).

A response is kept if it is whole: a 200 with its body in memory and without a background task. It has to be the same
for all callers (no `Set-Cookie`, no `Vary`), and its own `Cache-Control` must not keep shared caches out.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from .cache_headers import may_be_shared, shared_seconds

_Headers: TypeAlias = list[tuple[bytes, bytes]]

# Such a header makes a response that of its caller.
_OF_ITS_CALLER = frozenset({"set-cookie", "vary"})


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A response that was kept, or is as it would be: a 200 with these headers."""

    headers: _Headers
    body: bytes


def kept_form(response: Any) -> tuple[bytes, float | None] | None:
    """The bytes to keep, and for how many seconds its own `Cache-Control` lets shared caches keep it, if it says so.

    None for a response that is not kept. It is recognised by the attributes that Starlette's responses have.
    """
    body, headers = getattr(response, "body", None), getattr(response, "raw_headers", None)
    if not isinstance(body, bytes) or headers is None or response.status_code != 200:
        return None
    if getattr(response, "background", None) is not None:
        return None
    named = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    if not _OF_ITS_CALLER.isdisjoint(name for name, _ in named):
        return None
    seconds = None
    own = [value for name, value in named if name == "cache-control"]
    if own:
        control = ", ".join(own)
        seconds = shared_seconds(control)
        if not may_be_shared(control) or seconds == 0:
            return None
    return b"%b\n%b" % (json.dumps(named, separators=(",", ":")).encode("ascii"), body), seconds


def read_page(kept: bytes) -> KeptPage:
    """The response of what `kept_form` made."""
    head, _, body = kept.partition(b"\n")
    return KeptPage([(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(head)], body)
