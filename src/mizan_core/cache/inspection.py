"""What a cache has of a bundle or of a scope now, for a developer's questions: it is read, and nothing is added."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .backends.backend import HELD
from .entries import Entry, read_entry
from .slots import Slot
from .tags import TagValues


class TagState(StrEnum):
    """`SET` alone lets entries be served: those that were stored under the tag's present value.

    `ABSENT`: purged, expired, evicted, or not asked for yet. `HELD`: a mutation that may change the scope is running.
    `OTHER_VERSION`: set by a program that knows other scope shapes. `UNREADABLE`: damaged, or another program's.
    """

    SET = "set"
    ABSENT = "absent"
    HELD = "held"
    OTHER_VERSION = "other-version"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class InspectedTag:
    """A tag of a bundle. `shape`: the parameters that its scope fixes. `has_changed`: since the entry was stored."""

    shape: tuple[str, ...]
    name: str
    state: TagState
    has_changed: bool


@dataclass(frozen=True, slots=True)
class Inspected:
    """The entry of a bundle. `is_kept`: it would be served. `size` in bytes; None where no entry is there.

    `is_near`: it would be served from this process's copy, and the shared cache may have another one or none.
    `since` and `expires`: seconds since 1970, and None for an entry that cannot be read. `since` is reckoned from
    `expires` and the lifetime that such an entry is given now.
    """

    key: str
    tags: tuple[InspectedTag, ...]
    is_kept: bool
    size: int | None = None
    since: float | None = None
    expires: float | None = None
    is_near: bool = False


def inspected(
    slot: Slot,
    shapes: Sequence[tuple[str, ...]],
    raw: bytes | None,
    values: Sequence[bytes | None],
    *,
    lifetime: float,
    now: float,
) -> Inspected:
    """The entry in `raw` and the `values` of the slot's tags, which have these shapes."""
    entry = None if raw is None else _as_stored(raw, len(slot.tags), slot.fingerprint)
    stamps: Sequence[bytes | None] = values if entry is None else entry.stamps
    tags = tuple(
        InspectedTag(shape, name, state_of(value, slot.fingerprint, is_whole=not shape), value != stamp)
        for shape, name, value, stamp in zip(shapes, slot.tags, values, stamps, strict=True)
    )
    if raw is None:
        return Inspected(slot.key, tags, is_kept=False)
    if entry is None:
        return Inspected(slot.key, tags, is_kept=False, size=len(raw))
    is_kept = entry.expires > now and not any(tag.has_changed for tag in tags)
    return Inspected(slot.key, tags, is_kept, len(entry.body), entry.expires - lifetime, entry.expires)


def state_of(value: bytes | None, fingerprint: bytes, *, is_whole: bool) -> TagState:
    """The state of a tag with this value. `is_whole`: it is the tag of a whole context, which tells versions apart."""
    if value is None:
        return TagState.ABSENT
    if value.startswith(HELD):
        return TagState.HELD
    if not TagValues.is_one(value, fingerprint):
        return TagState.UNREADABLE
    return TagState.OTHER_VERSION if is_whole and not TagValues.made_by(value, fingerprint) else TagState.SET


def _as_stored(raw: bytes, tags: int, fingerprint: bytes) -> Entry | None:
    """The entry in these bytes, whatever values its tags have now; None for one of another version, or damaged."""
    size = len(TagValues.PREFIX) + len(fingerprint) + TagValues.RANDOM_BYTES
    stamps = [raw[start : start + size] for start in range(2, 2 + tags * size, size)]
    return read_entry(raw, stamps, fingerprint)
