"""Nodes of Varnish or nginx, as `mizan edge` writes them: each is sent what is stale (protocol, section 15)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mizan_core.edge.surfaces import EdgeMap
from mizan_core.edge.tags import MAXIMUM_ENTRIES
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.telling.edge import Edge

from .front import Front, check_seconds
from .refetching import NoRefetching, Refetch, Refetching, checked_address
from .requests import Requests

# Scopes that wait for a node that is down. Beyond them the context that most belong to is forgotten as a whole.
_PENDING = 1_000


class Nodes:
    """Nodes that share nothing: `Nodes("http://varnish-1:8611", "http://varnish-2:8611")`.

    The addresses are those of the listeners that the public does not reach. `lifetime`: as of `Front`; a day bounds how
    long a node that cannot be reached serves old data. `targeted`, `groups`: as of `Front`; the programs of
    `mizan edge` read `s-maxage`. `timeout`: how long a node may take, in seconds. `headers`: sent with each purge, such
    as the `Authorization` that a Worker asks for. `refetch`: what of the purged is fetched again.

    Raises `DeclarationError` for an address that is no URL of a node.
    """

    def __init__(
        self,
        *urls: str,
        lifetime: int = YEAR_SECONDS,
        timeout: float = 2.0,
        targeted: str | None = None,
        groups: bool = False,
        headers: Mapping[str, str] | None = None,
        refetch: Refetch | None = None,
    ) -> None:
        if not urls:
            raise DeclarationError("Nodes() names no node; write Nodes('http://varnish-1:8611').")
        check_seconds("timeout", timeout)
        nodes = [checked_address(url) for url in urls]
        if refetch is not None and len(refetch.urls) != len(nodes):
            raise DeclarationError(
                f"Refetch(...) names {len(refetch.urls)} public addresses for {len(nodes)} nodes; name one for each."
            )
        self._nodes = dict(zip(nodes, refetch.urls if refetch else [None] * len(nodes), strict=True))
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._refetch = refetch
        self.front = Front(lifetime, targeted=targeted, groups=groups)

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """One for each node: a node that is down keeps none of the others waiting."""
        return [
            _Node(url, self._timeout, self._headers, self._refetching(public, tables))
            for url, public in self._nodes.items()
        ]

    def _refetching(self, public: str | None, tables: EdgeMap) -> Refetching | NoRefetching:
        if self._refetch is None or public is None:
            return NoRefetching()
        return Refetching(public, self._refetch, tables)


@dataclass
class _Node:
    name: str
    timeout: float
    headers: Mapping[str, str] = field(repr=False)
    refetching: Refetching | NoRefetching = field(repr=False)
    batch: int = MAXIMUM_ENTRIES
    pending: int = _PENDING
    again: float | None = None  # its keys hold generations: no answer under way can come back
    _requests: Requests = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._requests = Requests(self.timeout)

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        headers = {**self.headers, "X-Mizan-Invalidate": encode_header(scopes)}
        await self._requests.send("PURGE", f"{self.name}/", headers=headers)
        self.refetching.begin(scopes)

    async def aclose(self) -> None:
        await self.refetching.aclose()
        await self._requests.aclose()
