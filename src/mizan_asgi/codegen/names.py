"""Names: what a Python name is called as a type, and which of two that would be called the same gives way."""

import re
from collections.abc import Iterable

from mizan_core.protocol.values import canonical_json

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_WORD = re.compile(r"[^\W_]+")


class Names:
    """The names of one namespace, first come, first served."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def take(self, wanted: str, *alternatives: str) -> str:
        """The first of these that is free, or else the first with the lowest number that makes it so."""
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
    """`update_profile`, `update-profile` and `Update[Profile]` as `UpdateProfile`."""
    words = "".join(word[0].upper() + word[1:] for word in _WORD.findall(name))
    return words if words[:1].isalpha() else f"T{words}"


def member(name: str) -> str:
    """A name as it stands before the colon of an object's member."""
    if name == "__proto__":  # as an identifier or a text it would set the prototype
        return '["__proto__"]'
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def literal(value: object) -> str:
    """A JSON value as it is written in a program."""
    return canonical_json(value)
