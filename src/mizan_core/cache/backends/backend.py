"""The interface of a cache backend: five verbs, and three more that make holds atomic across processes."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


class CacheBackend(Protocol):
    """Stores bytes under keys, which are texts. It may forget any key at any moment.

    The verbs are async functions. A verb may also begin its work when it is called and return a future, so that verbs
    that are called together share a round trip. Any exception of a verb counts as a failure of the cache.

    A backend that several processes share has the class attribute `shared = True`; an engine then needs a
    `cache_secret`. A backend with an async `aclose()` is closed with its engine, which may be used again. Keys are at
    most 133 ASCII characters; a lifetime may be rounded up to a second.
    """

    def get(self, *keys: str) -> Awaitable[list[bytes | None]]:
        """The values of the keys, in their order; None for a key that is absent or has expired.

        No value may be older than a `set` or `delete` that had returned before this was called.
        """
        ...

    def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> Awaitable[bool]:
        """Store a value for `ttl` seconds, or without an end for None; False if it was not stored.

        With `if_absent`, store it only if the key is absent, atomically; False if the key is present. A value that
        cannot be stored must not leave an older one in its place.
        """
        ...

    def delete(self, *keys: str) -> Awaitable[int]:
        """Delete the keys; returns how many of them were present. Without keys it does nothing."""
        ...

    def delete_by_prefix(self, prefix: str) -> Awaitable[int]:
        """Delete every key that begins with the prefix, which is plain text; returns how many there were.

        It only frees memory after a purge: an engine depends neither on its work nor on its speed.
        """
        ...

    def clear(self) -> Awaitable[None]:
        """Delete every key of this backend."""
        ...


@runtime_checkable
class HoldingBackend(Protocol):
    """A backend that counts the holders of a tag across processes.

    A held tag's value begins with `HELD`; nothing else that is stored under a tag does.
    """

    def hold(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        """Add `holder` to the holders of every tag, for `ttl` seconds from now."""
        ...

    def release(self, tags: Sequence[str], holder: str) -> Awaitable[None]:
        """Remove `holder` from every tag, and purge the tag; a purge without a hold has the holder "".

        A tag without a holder is deleted. A tag that is still held gets a new value, so that nothing stamped with the
        value that it had is ever served.
        """
        ...


@runtime_checkable
class RestoringBackend(HoldingBackend, Protocol):
    """A backend that can restore the value that a tag had before it was held, if no holder can have written."""

    def restore(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        """Remove `holder`, which was refused and wrote nothing, from every tag.

        A tag that thereby loses its last holder gets back the value that it had, for `ttl` seconds, if every holder was
        removed by `restore`, none had expired, and `release` was not called for the tag while it was held. Otherwise it
        is deleted, as by `release`. A tag that was not held stays as it is.
        """
        ...


@runtime_checkable
class ClaimingBackend(RestoringBackend, Protocol):
    """A backend that does in one command what a hold and a purge of narrow scopes take several for."""

    def hold_and_claim(
        self, tags: Sequence[str], holder: str, ttl: float, fresh: Mapping[str, bytes], life: float
    ) -> Awaitable[list[bytes | None]]:
        """As `hold`; then adds each key of `fresh` that is absent, for `life` seconds, and returns their values."""
        ...

    def release_and_get(self, tags: Sequence[str], holder: str, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        """As `release`; then returns the values of these keys."""
        ...


@runtime_checkable
class JournalBackend(Protocol):
    """A backend that keeps a journal, which every process may read: byte strings, each with a lease."""

    def journal_write(self, notes: Sequence[bytes], lease: float) -> Awaitable[None]:
        """Add notes, with a lease of so many seconds from now. A note that is there gets a new lease."""
        ...

    def journal_strike(self, notes: Sequence[bytes]) -> Awaitable[None]:
        """Remove these notes, if they are there."""
        ...

    def journal_claim(self, at_most: int, lease: float) -> Awaitable[list[bytes]]:
        """Notes whose lease has ended, with new leases, atomically: no other claim returns them until these end."""
        ...


async def hold_and_claim(
    holds: HoldingBackend,
    backend: CacheBackend,
    tags: Sequence[str],
    holder: str,
    ttl: float,
    fresh: Mapping[str, bytes],
    life: float,
) -> list[bytes | None]:
    """As `ClaimingBackend.hold_and_claim`, by commands that are called together."""
    held = holds.hold(tags, holder, ttl)
    adding = [backend.set(key, value, life, if_absent=True) for key, value in fresh.items()]
    _, *added, values = await together(held, *adding, backend.get(*fresh))
    return [mine if is_mine else found for mine, is_mine, found in zip(fresh.values(), added, values, strict=True)]


async def release_and_get(
    holds: HoldingBackend, backend: CacheBackend, tags: Sequence[str], holder: str, keys: Sequence[str]
) -> list[bytes | None]:
    """As `ClaimingBackend.release_and_get`, by commands that are called together."""
    _, values = await together(holds.release(tags, holder), backend.get(*keys))
    return values  # type: ignore[no-any-return]  # of a list of different results


# A held tag's value begins with this; no other value of a tag does.
HELD = b"!"


async def together(*operations: Awaitable[Any]) -> list[Any]:
    """The results of operations that were called together. Raises the first error, and abandons the rest."""
    results: list[Any] = []
    for place, operation in enumerate(operations):
        try:
            results.append(await operation)
        except BaseException:
            for left in operations[place + 1 :]:
                let_go(left)
            raise
    return results


def let_go(operation: Awaitable[Any]) -> None:
    """Abandon an operation: a coroutine is closed, so that Python does not warn that it was never awaited."""
    close = getattr(operation, "close", None)
    if close is not None:
        close()
