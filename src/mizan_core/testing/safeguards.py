"""Takes away safeguards of protocol section 7, one by one: a consistency check that then finds nothing proves nothing.

Only for tests of Mizan: it replaces private functions of the cache and the engine.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

from ..cache import stamping
from ..cache.backends import backend, redis_scripts
from ..cache.entries import Entry
from ..cache.held_tags import HeldTag
from ..cache.shared.breaker import HoldingCircuitBreaker
from ..cache.shared.store import SharedStore
from ..cache.single_flight import Flight
from ..cache.stamping import Stamping
from ..cache.turns import Turns
from ..engine import mutations
from ..graph.narrowing import Refused

_store = SharedStore._store


async def _store_under_current_stamps(store: SharedStore, slot: Any, entry: Entry, lifetime: float) -> bool:
    stamping = store._stamping
    current = await stamping.stamp(slot, await stamping._backend.get(*slot.tags))
    return await _store(
        store, slot, replace(entry, stamps=current if isinstance(current, tuple) else entry.stamps), lifetime
    )


def _overwrite(stamps: Stamping, tag: str, value: bytes) -> Any:
    return stamps._backend.set(tag, value, stamps._max_age)


async def _hold_nothing(cache: HoldingCircuitBreaker, tags: Sequence[str], holder: str, ttl: float) -> None:
    pass


def _delete_despite_other_holders(cache: HoldingCircuitBreaker, tags: Sequence[str], holder: str) -> Any:
    return cache.delete(*tags)


# By the commands that a backend has one by one, which may be replaced.
def _hold_and_claim_apart(cache: HoldingCircuitBreaker, *arguments: Any) -> Any:
    return backend.hold_and_claim(cache, cache, *arguments)


def _release_and_get_apart(cache: HoldingCircuitBreaker, *arguments: Any) -> Any:
    return backend.release_and_get(cache, cache, *arguments)


def _valid_despite_stamps(copy: Entry, found: Sequence[bytes | None], fingerprint: bytes) -> bool:
    return True


def _join_despite_stamps(flight: Flight, stamps: tuple[bytes, ...]) -> bool:
    return True


def _join_the_running(turns: Turns, running: Any) -> Any:
    return running


def _forget_expired_holders(held: HeldTag, now: float) -> None:
    for holder in [holder for holder, expires in held.holders.items() if expires <= now]:
        del held.holders[holder]


def _forget_purges(held: HeldTag, holder: str, now: float) -> None:
    if holder:  # a purge has no holder
        _release(held, holder, now)


def _forget_writes(held: HeldTag, holder: str, now: float) -> None:
    if holder and held.holders.keys() - {holder}:
        held.restore(holder, now)
    else:
        _release(held, holder, now)


def _restore_with_the_first(held: HeldTag, holder: str, now: float) -> None:
    held.expire(now)
    held.holders.clear()


def _refused_means_unchanged(outcome: Any, purge: Any) -> bool:
    return isinstance(outcome, Refused)


class Replaced(NamedTuple):
    """An attribute, and its replacement."""

    owner: Any
    attribute: str
    instead: Any


def _scripts(line: str, instead: str) -> tuple[Replaced, ...]:
    """The scripts of Redis that have this line, with another line in its place."""
    scripts = {name: getattr(redis_scripts, name) for name in ("HOLD", "RELEASE", "RESTORE")}
    having = {name: script for name, script in scripts.items() if line in script}
    return tuple(Replaced(redis_scripts, name, script.replace(line, instead)) for name, script in having.items())


_release = HeldTag.release
_EXPIRED = "if moment <= now then\n        before = false"
_RELEASED = "hold(key, redis.pcall, others, crowd, last, false)"
_GIVEN_BACK = "if held and (#others > 0 or crowd > 0) then"

# For each safeguard the replacements that take it away, in Python and in the scripts of Redis.
SAFEGUARDS: dict[str, tuple[Replaced, ...]] = {
    "stamps": (Replaced(SharedStore, "_store", _store_under_current_stamps),),
    "add-if-absent": (Replaced(Stamping, "_add", _overwrite),),
    "holds": (
        Replaced(HoldingCircuitBreaker, "hold", _hold_nothing),
        Replaced(HoldingCircuitBreaker, "hold_and_claim", _hold_and_claim_apart),
    ),
    "last-holder": (
        Replaced(HoldingCircuitBreaker, "release", _delete_despite_other_holders),
        Replaced(HoldingCircuitBreaker, "release_and_get", _release_and_get_apart),
    ),
    "copies-by-stamps": (Replaced(stamping, "is_under", _valid_despite_stamps),),
    "joining-by-stamps": (Replaced(Flight, "may_be_joined_with", _join_despite_stamps),),
    "joining-the-next": (Replaced(Turns, "_to_join", _join_the_running),),
    "expired-may-have-written": (
        Replaced(HeldTag, "expire", _forget_expired_holders),
        *_scripts(_EXPIRED, "if moment <= now then\n        before = before"),
    ),
    "purged-while-held": (
        Replaced(HeldTag, "release", _forget_purges),
        *_scripts(_RELEASED, _RELEASED.replace("false", "ARGV[1] == '' and select(5, state(key))")),
    ),
    "all-refused": (
        Replaced(HeldTag, "release", _forget_writes),
        *_scripts(_RELEASED, _RELEASED.replace("false", "ARGV[1] ~= '' and select(5, state(key))")),
    ),
    "last-restores": (
        Replaced(HeldTag, "restore", _restore_with_the_first),
        *_scripts(_GIVEN_BACK, "if false then"),
    ),
    "refused-named-nothing": (Replaced(mutations, "_changed_nothing", _refused_means_unchanged),),
}


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While the block runs, this process lacks these safeguards and may serve stale data."""
    with ExitStack() as stack:
        for name in names:
            for replaced in SAFEGUARDS[name]:
                stack.enter_context(mock.patch.object(*replaced))
        yield
