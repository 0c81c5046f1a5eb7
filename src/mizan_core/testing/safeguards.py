"""The safeguards of protocol section 7, and how to do without each: a check that then finds nothing proves nothing.

For tests of Mizan, and for nothing else.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ..bundle_cache import BundleCache
from ..cache.guard import GuardedHoldingCache
from ..flights import Flight
from ..turns import Turns

_store = BundleCache._store


async def _stored_under_the_stamps_of_now(cache: BundleCache, slot: Any, stamps: tuple[bytes, ...], *rest: Any) -> bool:
    current = await cache._stamp(slot, await cache._backend.get(*slot.tags))
    return await _store(cache, slot, current if isinstance(current, tuple) else stamps, *rest)


def _set_in_any_case(cache: BundleCache, tag: str, nonce: bytes) -> Any:
    return cache._backend.set(tag, nonce, cache._max_age)


async def _held_by_nobody(cache: GuardedHoldingCache, tags: Sequence[str], holder: str, ttl: float) -> None:
    pass


def _deleted_by_anybody(cache: GuardedHoldingCache, tags: Sequence[str], holder: str) -> Any:
    return cache.delete(*tags)


def _joined_by_anybody(flight: Flight, stamps: tuple[bytes, ...]) -> bool:
    return True


def _the_one_under_way(turns: Turns, running: Any) -> Any:
    return running


# By name: what is replaced, and by what.
SAFEGUARDS: dict[str, tuple[type, str, Any]] = {
    "stamps": (BundleCache, "_store", _stored_under_the_stamps_of_now),
    "add-if-absent": (BundleCache, "_add", _set_in_any_case),
    "holds": (GuardedHoldingCache, "hold", _held_by_nobody),
    "last-holder": (GuardedHoldingCache, "release", _deleted_by_anybody),
    "joining-by-stamps": (Flight, "may_be_joined_with", _joined_by_anybody),
    "joining-the-next": (Turns, "_to_join", _the_one_under_way),
}


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While the block runs, this process does without these safeguards, and may serve old data."""
    if not names:
        yield
        return
    owner, attribute, instead = SAFEGUARDS[names[0]]
    with mock.patch.object(owner, attribute, instead), without(*names[1:]):
        yield
