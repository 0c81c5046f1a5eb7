"""Purged pages are fetched again through the node that forgot them, so that the next visitor does not wait.

Nothing depends on it: it begins after the node has forgotten them, and failures are logged and dropped. Old data cannot
come back, since the node keeps each answer under the generations that were current when it was asked.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mizan_core.edge.surfaces import EdgeMap
from mizan_core.edge.urls import urls_of_invalidations
from mizan_core.errors import DeclarationError
from mizan_core.protocol.invalidation import Invalidation

from .front import check_seconds
from .requests import Requests

logger = logging.getLogger("mizan")

# Purges within this time are answered together: a page that several of them name is fetched once.
PAUSE_SECONDS = 0.05

_FAILED = 500


@dataclass(frozen=True, init=False)
class Refetch:
    """`Nodes("http://varnish-1:8611", refetch=Refetch("http://varnish-1", host="example.com"))`.

    After a purge, the bundles and pages whose URLs its scopes name (`urls_of_invalidations`) are fetched again.

    `urls`: the public addresses of the nodes, in the order of `Nodes`. `host`: the `Host` of the requests, where it is
    not in the address. `headers`: what else they carry; no identity, which a node takes away. `at_most`: how many pages
    may wait for one node; what is beyond them is dropped. `at_once`: how many are asked for at the same time.
    `seconds`: how long one may take.
    """

    urls: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)
    at_most: int
    at_once: int
    seconds: float

    def __init__(
        self,
        *urls: str,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        at_most: int = 100,
        at_once: int = 4,
        seconds: float = 10.0,
    ) -> None:
        check_seconds("seconds", seconds)
        for name, value in (("at_most", at_most), ("at_once", at_once)):
            if type(value) is not int or value < 1:
                raise DeclarationError(f"{name}={value!r} would fetch nothing again; it is a whole number from 1 on.")
        values: dict[str, object] = {
            "urls": tuple(checked_address(url) for url in urls),
            "headers": {**(headers or {}), **({} if host is None else {"Host": host})},
            "at_most": at_most,
            "at_once": at_once,
            "seconds": seconds,
        }
        for option, given in values.items():
            object.__setattr__(self, option, given)


class NoRefetching:
    """Where nothing is fetched again."""

    def begin(self, scopes: Sequence[Invalidation]) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Nothing is open."""


class Refetching:
    """Fetches pages again through one node. `url`: its public address."""

    def __init__(self, url: str, options: Refetch, tables: EdgeMap) -> None:
        self._url = url
        self._options = options
        self._tables = tables
        self._requests = Requests(options.seconds)
        self._waiting: dict[str, None] = {}
        self._running: asyncio.Task[None] | None = None

    def begin(self, scopes: Sequence[Invalidation]) -> None:
        """Begin to fetch what these scopes name, after they were purged. Returns at once."""
        found = urls_of_invalidations(self._tables, scopes)
        new = [url for url in found if url not in self._waiting]
        room = self._options.at_most - len(self._waiting)
        self._waiting.update(dict.fromkeys(new[:room]))
        if len(new) > room:
            logger.warning(
                "Pages dropped, since too many wait to be fetched again through %s: %d", self._url, len(new) - room
            )
        loop = asyncio.get_running_loop()
        if self._waiting and (self._running is None or self._running.done() or self._running.get_loop() is not loop):
            self._running = loop.create_task(self._run())

    async def aclose(self) -> None:
        """Drop what waits, and what is under way."""
        self._waiting.clear()
        running, self._running = self._running, None
        if running is not None and running.get_loop() is asyncio.get_running_loop():
            running.cancel()
            await asyncio.wait([running])
        await self._requests.aclose()

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(PAUSE_SECONDS)
            reasons: list[str] = []
            await asyncio.gather(*(self._fetch_waiting(reasons) for _ in range(self._options.at_once)))
            if reasons:
                message = "Pages that could not be fetched again through %s: %d, such as %s"
                logger.warning(message, self._url, len(reasons), reasons[0])

    async def _fetch_waiting(self, reasons: list[str]) -> None:
        while self._waiting:
            page = next(iter(self._waiting))
            del self._waiting[page]  # a purge from now on lets it wait once more
            try:
                async with asyncio.timeout(self._options.seconds):
                    status = await self._requests.look(self._url, page, headers=self._options.headers)
            except Exception as error:  # noqa: BLE001  # a node may fail in any way; visitors fetch the page themselves
                reasons.append(f"{page} ({error!r})")
            else:
                if status >= _FAILED:
                    reasons.append(f"{page} ({status})")


def checked_address(url: str) -> str:
    """The address of a node, without a final slash. Raises `DeclarationError` for anything else."""
    try:
        parts = urlsplit(url)
        is_node = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_node = False
    if not is_node or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise DeclarationError(f"{url!r} is no address of a node such as 'http://varnish-1:8611'.")
    return url.removesuffix("/")
