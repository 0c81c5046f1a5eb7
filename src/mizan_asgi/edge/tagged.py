"""Edges that purge by tags: which tags a scope has, and how a vendor's header spells them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from mizan_core.edge.profiles import Profile, spelled_tag
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.edge.tags import tags_of_invalidations
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.urls import encode_text

from .requests import Requests, TokenBucket

# Seconds after which an answer that was under way during a purge has arrived, and is purged once more.
AGAIN_SECONDS = 5.0


def tags_to_purge(tables: EdgeMap, profile: Profile, scopes: Sequence[Invalidation]) -> list[str]:
    """The tags of these scopes, as the profile spells them, without repeats.

    A context that is not there any more is purged by the tag that all its answers had.
    """
    tags = (
        tag
        for scope in scopes
        for tag in (
            tags_of_invalidations(tables, [scope]) if scope.context in tables.shapes else (encode_text(scope.context),)
        )
    )
    return list(dict.fromkeys(spelled_tag(tag, profile) for tag in tags))


def parts(tags: Sequence[str], size: int) -> list[Sequence[str]]:
    """The tags in parts that a vendor takes at once: a scope may have several."""
    return [tags[start : start + size] for start in range(0, len(tags), size)]


class Settings(Protocol):
    """What the settings of every vendor have."""

    @property
    def again(self) -> float | None: ...
    @property
    def rate(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def timeout(self) -> float: ...


class TaggedEdge:
    """An `Edge` of a vendor that purges by tags, in parts of `batch`. `send` sends the request for one part."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        tables: EdgeMap,
        profile: Profile,
        *,
        batch: int,
        pending: int,
        send: Callable[[Requests, Sequence[str]], Awaitable[None]],
    ) -> None:
        self.name = name
        self.batch = batch
        self.pending = pending
        self.timeout = settings.timeout
        self.again = settings.again
        self._tables = tables
        self._profile = profile
        self._send = send
        self._bucket = TokenBucket(settings.rate, settings.burst)
        self._requests = Requests(settings.timeout)

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        """As `Edge.purge`."""
        requests = parts(tags_to_purge(self._tables, self._profile, scopes), self.batch)
        self._bucket.take(len(requests))
        for tags in requests:
            await self._send(self._requests, tags)

    async def aclose(self) -> None:
        """As `Edge.aclose`."""
        await self._requests.aclose()
