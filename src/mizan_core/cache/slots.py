"""The place of a bundle: its entry's key, the tags of its scopes, and the memory cells where it was found last."""

from dataclasses import dataclass, field

from .backends.memory import Cell, MemoryCache


@dataclass(slots=True, eq=False)
class Kept:
    """The memory cells of an entry that was a hit: its own, and those of its tags with the values that they must have.

    The entry is referenced through its cell alone, so that its memory is freed once the cache evicts it.
    """

    memory: MemoryCache
    cell: Cell
    tags: tuple[tuple[Cell, bytes], ...]


@dataclass(slots=True, eq=False)
class Slot:
    """The place of a bundle: its entry's key and the tags of every scope that it is part of, the whole context first.

    `fingerprint` identifies the scope shapes of the context: entries made under other shapes are not served. `kept`:
    the memory cells where the entry was found last.
    """

    key: str
    tags: tuple[str, ...]
    fingerprint: bytes
    kept: Kept | None = field(default=None, init=False, repr=False)
