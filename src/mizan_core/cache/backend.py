"""What a cache has to do: five verbs, and two more that make holds atomic across processes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class CacheBackend(Protocol):
    """Keys are texts, values bytes. Nothing has to be kept: any key may be forgotten at any moment.

    A backend that several processes share says so with a class attribute `shared = True`; its keys are then made
    under a secret that has to be given.
    """

    async def get(self, *keys: str) -> list[bytes | None]:
        """The values of the keys, in their order; None for what is not there or has expired.

        All of them as they stood after every `set` and `delete` that had returned before this began.
        """
        ...

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        """Keep a value for `ttl` seconds, or without an end for None; False if it was not kept.

        With `if_absent`, atomically: only where the key is not there, and False where it is. A value that cannot be
        kept must not leave an older one in its place.
        """
        ...

    async def delete(self, *keys: str) -> int:
        """Forget the keys; how many of them were there. No keys are no error."""
        ...

    async def delete_by_prefix(self, prefix: str) -> int:
        """Forget every key that begins with the prefix, which is plain text; how many there were."""
        ...

    async def clear(self) -> None:
        """Forget everything that this backend keeps."""
        ...


@runtime_checkable
class HoldingBackend(Protocol):
    """A backend that counts the holders of a tag across processes.

    A held tag's value begins with `HELD` (see `mizan_core.bundle_cache`).
    """

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        """Mark every tag as held by `holder`, beside whoever holds it already, for `ttl` seconds from now."""
        ...

    async def release(self, tags: Sequence[str], holder: str) -> None:
        """Take `holder` off every tag; delete the tags that nobody holds any more, give the others a fresh value."""
        ...
