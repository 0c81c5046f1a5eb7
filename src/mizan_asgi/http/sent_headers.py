"""A request's headers, looked up by name. A module of its own, for most modules of `http/` read headers."""

from starlette.types import Scope


class SentHeaders:
    """A request's headers by their names in lower case. Finding that a header is absent is cheap."""

    __slots__ = ("_last", "_pairs")

    def __init__(self, scope: Scope) -> None:
        self._pairs: list[tuple[bytes, bytes]] = scope["headers"]
        self._last: dict[bytes, bytes] = dict(self._pairs)

    def none_of(self, names: frozenset[bytes]) -> bool:
        """Whether there is no header of any of these names."""
        return names.isdisjoint(self._last)

    def last(self, name: bytes) -> bytes | None:
        """The value of the last header of this name, or None."""
        return self._last.get(name)

    def all(self, name: bytes) -> list[str]:
        """The values of every header of this name."""
        if name not in self._last:
            return []
        return [value.decode("latin-1") for found, value in self._pairs if found == name]
