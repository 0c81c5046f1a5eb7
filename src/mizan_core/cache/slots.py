"""The place of a bundle: its entry's key and the tags of its scopes."""

from dataclasses import dataclass, field

from .backends.memory import Cell, MemoryCache


@dataclass(slots=True, eq=False)
class Kept:
    """Where in this process's memory an entry was found: its cell, and those of its tags with what they have to say.

    The entry itself is reached through its cell alone, so that it goes when the cache lets it go.
    """

    memory: MemoryCache
    cell: Cell
    tags: tuple[tuple[Cell, bytes], ...]


@dataclass(slots=True, eq=False)
class Slot:
    """Where a bundle is kept: its entry's key and the tags of every scope that it is part of, the whole context first.

    `fingerprint` stands for the shapes of those scopes: entries made under others are not served. `kept`: where in
    this process's memory it was found last.
    """

    key: str
    tags: tuple[str, ...]
    fingerprint: bytes
    kept: Kept | None = field(default=None, init=False, repr=False)
