"""The interface of an edge that the origin tells: a cache node, or the purge API of a vendor."""

from collections.abc import Sequence
from typing import Protocol

from ..protocol.invalidation import Invalidation


class EdgeBusy(Exception):
    """The edge takes no purge now, as with the status 429. `after`: in how many seconds it may."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Edge(Protocol):
    """One cache in front of the origin.

    `name`: for logs and `health()`; no secret. `batch`: how many scopes it takes at once. `pending`: how many scopes
    may wait; beyond them, the scopes of one context become that whole context. `timeout`: how many seconds one purge
    may take. `again`: after so many seconds every purge is sent a second time, or None for never.
    """

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def again(self) -> float | None: ...

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        """Forget every answer of these scopes. Returns once that is done.

        A scope is a context with the canonical texts of one of its known shapes, or with nothing: the whole context.
        Raises `EdgeBusy`, or any other error, where it is not known to have been done; it is then sent again.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections. It may be used again afterwards."""
        ...
