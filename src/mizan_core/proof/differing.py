"""Where two JSON texts differ first, as a normalized JSONPath (RFC 9535, section 2.7)."""

from typing import Any

from ..errors import BadRequest
from ..protocol.bodies import parse_json

_MISSING = object()


def difference(before: bytes, after: bytes) -> str:
    """The path of the first difference; "$" where all of it differs, where the texts alone do, and for HTML."""
    try:
        return _first(parse_json(before), parse_json(after), "$") or "$"
    except BadRequest:
        return "$"


def _first(before: Any, after: Any, path: str) -> str | None:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(one for one in after if one not in before)]:
            found = _first(before.get(name, _MISSING), after.get(name, _MISSING), f"{path}{_member(name)}")
            if found is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(after, list):
        for place, (one, other) in enumerate(zip(before, after, strict=False)):
            found = _first(one, other, f"{path}[{place}]")
            if found is not None:
                return found
        return None if len(before) == len(after) else f"{path}[{min(len(before), len(after))}]"
    return None if type(before) is type(after) and before == after else path


def _member(name: str) -> str:
    """A member's name in shorthand where that is allowed, else in brackets."""
    if name.isidentifier() and name.isascii():
        return f".{name}"
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{quoted}']"
