"""What a cache has of a bundle: an entry that is served, stale, expired or unreadable, and the states of its tags."""

import pytest

from mizan_core.cache.entries import Entry
from mizan_core.cache.inspection import Inspected, TagState, inspected, state_of
from mizan_core.cache.slots import Slot
from mizan_core.protocol.cache_headers import etag_of

ME, OTHER = b"me......", b"other..."
SHAPES: tuple[tuple[str, ...], ...] = ((), ("user_id",))
SLOT = Slot("ctx:user:5", ("tag:user:whole", "tag:user:5"), ME)


def stamp(text: str, fingerprint: bytes = ME) -> bytes:
    return b"n" + fingerprint + text.encode().ljust(15, b".")


STAMPS = (stamp("whole"), stamp("five"))
RAW = bytes(Entry(STAMPS, 60.0, etag_of(b"{}"), b"{}"))


def look(raw: bytes | None = RAW, values: tuple[bytes | None, ...] = STAMPS, now: float = 10.0) -> Inspected:
    return inspected(SLOT, SHAPES, raw, values, lifetime=50.0, now=now)


@pytest.mark.parametrize(
    ("value", "is_whole", "state"),
    [
        (None, True, TagState.ABSENT),
        (b"!1", True, TagState.HELD),
        (b"whatever", False, TagState.UNREADABLE),
        (stamp("x", OTHER), True, TagState.OTHER_VERSION),
        (stamp("x", OTHER), False, TagState.SET),
        (stamp("x"), True, TagState.SET),
    ],
)
def test_a_tags_value_shows_its_state(value: bytes | None, is_whole: bool, state: TagState) -> None:
    assert state_of(value, ME, is_whole=is_whole) is state


def test_an_entry_under_its_tags_values_is_kept() -> None:
    found = look()
    assert (found.is_kept, found.size, found.since, found.expires) == (True, 2, 10.0, 60.0)
    assert [(tag.shape, tag.state, tag.has_changed) for tag in found.tags] == [
        ((), TagState.SET, False),
        (("user_id",), TagState.SET, False),
    ]


@pytest.mark.parametrize("value", [None, b"!1", stamp("anew")])
def test_a_stale_entry_names_the_tag_that_changed(value: bytes | None) -> None:
    found = look(values=(STAMPS[0], value))
    assert (found.is_kept, found.expires) == (False, 60.0)
    assert [tag.shape for tag in found.tags if tag.has_changed] == [("user_id",)]


def test_an_expired_entry_is_not_kept() -> None:
    found = look(now=60.0)
    assert not found.is_kept
    assert not any(tag.has_changed for tag in found.tags)


@pytest.mark.parametrize("raw", [b"", b"whatever", RAW[:20], bytes(Entry((stamp("x", OTHER),), 60.0, "", b""))])
def test_an_entry_that_cannot_be_read_has_a_size_alone(raw: bytes) -> None:
    found = look(raw)
    assert (found.is_kept, found.size, found.since, found.expires) == (False, len(raw), None, None)


def test_where_no_entry_is_nothing_is_known_but_tags() -> None:
    found = look(None, (STAMPS[0], None))
    assert (found.is_kept, found.size) == (False, None)
    assert [tag.state for tag in found.tags] == [TagState.SET, TagState.ABSENT]
    assert not any(tag.has_changed for tag in found.tags)
