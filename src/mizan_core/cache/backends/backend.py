"""What a cache has to do: five verbs, and two more that make holds atomic across processes."""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, runtime_checkable


class CacheBackend(Protocol):
    """Keys are texts, values bytes. Nothing has to be kept: any key may be forgotten at any moment.

    The verbs are async functions; one that begins its work when it is called, and returns a future, lets operations
    that are called together travel together. Whatever one raises counts as a failure of the cache.

    A backend that several processes share says so with a class attribute `shared = True`; its keys are then made
    under a secret that has to be given.
    """

    def get(self, *keys: str) -> Awaitable[list[bytes | None]]:
        """The values of the keys, in their order; None for what is not there or has expired.

        Each as it stood at some moment after this began: never as it was before a `set` or `delete` that had returned.
        """
        ...

    def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> Awaitable[bool]:
        """Keep a value for `ttl` seconds, or without an end for None; False if it was not kept.

        With `if_absent`, atomically: only where the key is not there, and False where it is. A value that cannot be
        kept must not leave an older one in its place.
        """
        ...

    def delete(self, *keys: str) -> Awaitable[int]:
        """Forget the keys; how many of them were there. No keys are no error."""
        ...

    def delete_by_prefix(self, prefix: str) -> Awaitable[int]:
        """Forget every key that begins with the prefix, which is plain text; how many there were."""
        ...

    def clear(self) -> Awaitable[None]:
        """Forget everything that this backend keeps."""
        ...


@runtime_checkable
class HoldingBackend(Protocol):
    """A backend that counts the holders of a tag across processes.

    A held tag's value begins with `HELD`; nothing else that is stored under a tag does.
    """

    def hold(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        """Mark every tag as held by `holder`, beside whoever holds it already, for `ttl` seconds from now."""
        ...

    def release(self, tags: Sequence[str], holder: str) -> Awaitable[None]:
        """Take `holder` off every tag; delete the tags that nobody holds any more, give the others a fresh value."""
        ...


@runtime_checkable
class RestoringBackend(HoldingBackend, Protocol):
    """A backend that gives a tag back what it had before it was held, where nothing can have been written."""

    def restore(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        """Take `holder`, which was refused and wrote nothing, off every tag.

        A tag that is not held any more gets back the value that it had, for `ttl` seconds, if every holder was taken
        off so, none had expired, and `release` was not called for it meanwhile; otherwise it is deleted, as `release`
        does. A tag that is not held is left as it is.
        """
        ...


# What a held tag's value begins with; a nonce never does.
HELD = b"!"


async def together(*operations: Awaitable[Any]) -> list[Any]:
    """The results of operations that were called together. The first error is raised, and the others are let go."""
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
    """Nobody will wait for this operation, which may not even have begun."""
    close = getattr(operation, "close", None)
    if close is not None:
        close()
