"""Names in generated code: types and members from Python names, without collisions."""

import re
from collections.abc import Iterable

from mizan_core.protocol.values import canonical_json

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_WORD = re.compile(r"[^\W_]+")


class Names:
    """The names taken in one namespace. The first taker keeps a name."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def take(self, wanted: str, *alternatives: str) -> str:
        """Takes the first of these names that is free, or `wanted` with the lowest number that makes it free."""
        free = [name for name in (wanted, *alternatives) if name not in self._taken]
        name = free[0] if free else self._numbered(wanted)
        self._taken.add(name)
        return name

    def _numbered(self, wanted: str) -> str:
        number = 2
        while f"{wanted}{number}" in self._taken:
            number += 1
        return f"{wanted}{number}"


def type_name(name: str) -> str:
    """The name as a type's: `update_profile`, `update-profile` and `Update[Profile]` become `UpdateProfile`."""
    words = "".join(word[0].upper() + word[1:] for word in _WORD.findall(name))
    return words if words[:1].isalpha() else f"T{words}"


def member(name: str) -> str:
    """The name as the key of an object's member, quoted where it has to be."""
    if name == "__proto__":  # an unbracketed key of this name would set the prototype
        return '["__proto__"]'
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def literal(value: object) -> str:
    """A JSON value as a literal of JavaScript."""
    return canonical_json(value)
