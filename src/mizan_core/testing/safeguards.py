"""The safeguards of protocol section 7, and how to do without each: a check that then finds nothing proves nothing.

For tests of Mizan, and for nothing else.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from ..cache.backends import redis_scripts
from ..cache.held_tags import HeldTag
from ..cache.shared.breaker import HoldingCircuitBreaker
from ..cache.shared.store import SharedStore
from ..cache.single_flight import Flight
from ..cache.stamping import Stamping
from ..cache.turns import Turns
from ..engine import mutations
from ..graph.narrowing import Refused

_store = SharedStore._store


async def _stored_under_the_stamps_of_now(store: SharedStore, slot: Any, stamps: tuple[bytes, ...], *rest: Any) -> bool:
    current = await store._stamping.stamps(slot)
    return await _store(store, slot, current or stamps, *rest)


def _set_in_any_case(stamping: Stamping, tag: str, value: bytes) -> Any:
    return stamping._backend.set(tag, value, stamping._max_age)


async def _held_by_nobody(cache: HoldingCircuitBreaker, tags: Sequence[str], holder: str, ttl: float) -> None:
    pass


def _deleted_by_anybody(cache: HoldingCircuitBreaker, tags: Sequence[str], holder: str) -> Any:
    return cache.delete(*tags)


def _joined_by_anybody(flight: Flight, stamps: tuple[bytes, ...]) -> bool:
    return True


def _the_one_under_way(turns: Turns, running: Any) -> Any:
    return running


def _expired_without_a_trace(held: HeldTag, now: float) -> None:
    for holder in [holder for holder, expires in held.holders.items() if expires <= now]:
        del held.holders[holder]


def _purged_without_a_trace(held: HeldTag, holder: str, now: float) -> None:
    if holder:  # a purge has none
        _release(held, holder, now)


def _written_without_a_trace(held: HeldTag, holder: str, now: float) -> None:
    if holder and held.holders.keys() - {holder}:
        held.restore(holder, now)
    else:
        _release(held, holder, now)


def _restored_by_the_first(held: HeldTag, holder: str, now: float) -> None:
    held.expire(now)
    held.holders.clear()


def _refused_is_unchanged(outcome: Any, purge: Any) -> bool:
    return isinstance(outcome, Refused)


class Replaced(NamedTuple):
    """What is replaced, and by what."""

    owner: Any
    attribute: str
    instead: Any


def _scripts(line: str, instead: str) -> tuple[Replaced, ...]:
    """The scripts of Redis that have this line, with another in its place."""
    scripts = {name: getattr(redis_scripts, name) for name in ("HOLD", "RELEASE", "RESTORE")}
    having = {name: script for name, script in scripts.items() if line in script}
    return tuple(Replaced(redis_scripts, name, script.replace(line, instead)) for name, script in having.items())


_release = HeldTag.release
_EXPIRED = "if moment <= now then\n        before = false"
_RELEASED = "hold(key, redis.pcall, others, crowd, last, false)"
_GIVEN_BACK = "if held and (#others > 0 or crowd > 0) then"

# By name: what takes it away, in Python and in Redis.
SAFEGUARDS: dict[str, tuple[Replaced, ...]] = {
    "stamps": (Replaced(SharedStore, "_store", _stored_under_the_stamps_of_now),),
    "add-if-absent": (Replaced(Stamping, "_add", _set_in_any_case),),
    "holds": (Replaced(HoldingCircuitBreaker, "hold", _held_by_nobody),),
    "last-holder": (Replaced(HoldingCircuitBreaker, "release", _deleted_by_anybody),),
    "joining-by-stamps": (Replaced(Flight, "may_be_joined_with", _joined_by_anybody),),
    "joining-the-next": (Replaced(Turns, "_to_join", _the_one_under_way),),
    "expired-may-have-written": (
        Replaced(HeldTag, "expire", _expired_without_a_trace),
        *_scripts(_EXPIRED, "if moment <= now then\n        before = before"),
    ),
    "purged-while-held": (
        Replaced(HeldTag, "release", _purged_without_a_trace),
        *_scripts(_RELEASED, _RELEASED.replace("false", "ARGV[1] == '' and select(5, state(key))")),
    ),
    "all-refused": (
        Replaced(HeldTag, "release", _written_without_a_trace),
        *_scripts(_RELEASED, _RELEASED.replace("false", "ARGV[1] ~= '' and select(5, state(key))")),
    ),
    "last-restores": (
        Replaced(HeldTag, "restore", _restored_by_the_first),
        *_scripts(_GIVEN_BACK, "if false then"),
    ),
    "refused-named-nothing": (Replaced(mutations, "_changed_nothing", _refused_is_unchanged),),
}


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While the block runs, this process does without these safeguards, and may serve old data."""
    with ExitStack() as stack:
        for name in names:
            for replaced in SAFEGUARDS[name]:
                stack.enter_context(mock.patch.object(*replaced))
        yield
