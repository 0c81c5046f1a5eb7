"""Fastly: purges by surrogate key through its API. https://www.fastly.com/documentation/reference/api/purging/"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from mizan_core.edge.profiles import SURROGATE_KEY
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.telling.edge import Edge

from .cloudflare import AGAIN_SECONDS
from .front import Front, check_seconds
from .requests import Requests, TokenBucket
from .tagged import parts, tags_to_purge

_API = "https://api.fastly.com"
# Surrogate keys of one request.
_KEYS = 256
_PENDING = 5_000


@dataclass(frozen=True)
class Fastly:
    """A service of Fastly. `service`: its id. `token`: an API token with the scope `purge_select`.

    `rate` and `burst`: how many requests a second are sent; the defaults stay below the 100,000 purges an hour that an
    account has. `again`, `lifetime` and `targeted`: as of `Cloudflare`.
    """

    service: str
    token: str = field(repr=False)
    lifetime: int = YEAR_SECONDS
    again: float | None = AGAIN_SECONDS
    rate: float = 25.0
    burst: int = 100
    timeout: float = 10.0
    targeted: str | None = None
    api: str = field(default=_API, repr=False)
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.service or not self.token:
            raise DeclarationError("Fastly(service, token=...) needs the id of a service and an API token.")
        check_seconds("again", self.again)
        check_seconds("timeout", self.timeout)
        object.__setattr__(self, "front", Front(self.lifetime, (SURROGATE_KEY,), self.targeted))

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """The service."""
        return [_Service(self, tables)]


class _Service:
    def __init__(self, settings: Fastly, tables: EdgeMap) -> None:
        self.name = f"Fastly service {settings.service}"
        self.batch = _KEYS
        self.pending = _PENDING
        self.timeout = settings.timeout
        self.again = settings.again
        self._url = f"{settings.api}/service/{quote(settings.service, safe='')}/purge"
        self._headers = {
            "Fastly-Key": settings.token,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self._tables = tables
        self._bucket = TokenBucket(settings.rate, settings.burst)
        self._requests = Requests(settings.timeout)

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        for keys in parts(tags_to_purge(self._tables, SURROGATE_KEY, scopes), _KEYS):
            self._bucket.take()
            content = json.dumps({"surrogate_keys": keys}).encode()
            await self._requests.send("POST", self._url, headers=self._headers, content=content)

    async def aclose(self) -> None:
        await self._requests.aclose()
