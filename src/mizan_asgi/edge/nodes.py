"""Nodes of Varnish or nginx, as `mizan edge` writes them: each is sent what is stale (protocol, section 15)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mizan_core.edge.surfaces import EdgeMap
from mizan_core.edge.tags import MAXIMUM_ENTRIES
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.telling.edge import Edge

from .front import Front, check_seconds
from .requests import Requests

# Scopes that wait for a node that is down. Beyond them the context that most belong to is forgotten as a whole.
_PENDING = 1_000


class Nodes:
    """Nodes that share nothing: `Nodes("http://varnish-1:8611", "http://varnish-2:8611")`.

    The addresses are those of the listeners that the public does not reach. `lifetime`: as of `Front`; a day bounds how
    long a node that cannot be reached serves old data. `timeout`: how long a node may take, in seconds.

    Raises `DeclarationError` for an address that is no URL of a node.
    """

    def __init__(
        self,
        *urls: str,
        lifetime: int = YEAR_SECONDS,
        timeout: float = 2.0,
        targeted: str | None = None,
    ) -> None:
        if not urls:
            raise DeclarationError("Nodes() names no node; write Nodes('http://varnish-1:8611').")
        check_seconds("timeout", timeout)
        self._nodes = tuple(dict.fromkeys(_checked(url) for url in urls))
        self._timeout = timeout
        self.front = Front(lifetime, targeted=targeted)

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:  # noqa: ARG002  # a node has the tables itself
        """One for each node: a node that is down keeps none of the others waiting."""
        return [_Node(url, self._timeout) for url in self._nodes]


@dataclass
class _Node:
    name: str
    timeout: float
    batch: int = MAXIMUM_ENTRIES
    pending: int = _PENDING
    again: float | None = None  # its keys hold generations: no answer under way can come back
    _requests: Requests = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._requests = Requests(self.timeout)

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        await self._requests.send("PURGE", f"{self.name}/", headers={"X-Mizan-Invalidate": encode_header(scopes)})

    async def aclose(self) -> None:
        await self._requests.aclose()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_node = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_node = False
    if not is_node or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise DeclarationError(f"{url!r} is no address of a node such as 'http://varnish-1:8611'.")
    return url.removesuffix("/")
