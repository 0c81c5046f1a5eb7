"""Cloudflare: purges by tag through its API, of which every plan has a budget.

https://developers.cloudflare.com/cache/how-to/purge-cache/ and .../purge-cache/purge-by-tags/
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from mizan_core.edge.profiles import CACHE_TAG
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.telling.edge import Edge

from .front import Front, check_seconds
from .requests import EdgeError, Requests, TokenBucket
from .tagged import parts, tags_to_purge

_API = "https://api.cloudflare.com/client/v4"
# Operations of one request, on every plan.
_TAGS = 100
_PENDING = 2_000
# Seconds after which an answer that was under way during a purge has arrived, and is purged once more.
AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Cloudflare:
    """A zone of Cloudflare. `zone`: its id. `token`: an API token that may purge its cache.

    `rate` and `burst`: the requests a second that the plan allows, and the size of its bucket; the defaults are those
    of the plan Pro. The plan Free has 5 a minute: `rate=5 / 60, burst=25`. `again`: when each purge is sent a second
    time, in seconds, or None: an answer that was under way during the first is kept by then. `lifetime`, `targeted`:
    as of `Front`.
    """

    zone: str
    token: str = field(repr=False)
    lifetime: int = YEAR_SECONDS
    again: float | None = AGAIN_SECONDS
    rate: float = 5.0
    burst: int = 25
    timeout: float = 10.0
    targeted: str | None = None
    api: str = field(default=_API, repr=False)
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.zone or not self.token:
            raise DeclarationError("Cloudflare(zone, token=...) needs the id of a zone and an API token.")
        check_seconds("again", self.again)
        check_seconds("timeout", self.timeout)
        object.__setattr__(self, "front", Front(self.lifetime, (CACHE_TAG,), self.targeted))

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """The zone."""
        return [_Zone(self, tables)]


class _Zone:
    def __init__(self, settings: Cloudflare, tables: EdgeMap) -> None:
        self.name = f"Cloudflare zone {settings.zone}"
        self.batch = _TAGS
        self.pending = _PENDING
        self.timeout = settings.timeout
        self.again = settings.again
        self._url = f"{settings.api}/zones/{quote(settings.zone, safe='')}/purge_cache"
        self._headers = {"Authorization": f"Bearer {settings.token}", "Content-Type": "application/json"}
        self._tables = tables
        self._bucket = TokenBucket(settings.rate, settings.burst)
        self._requests = Requests(settings.timeout)

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        for tags in parts(tags_to_purge(self._tables, CACHE_TAG, scopes), _TAGS):
            self._bucket.take()
            content = json.dumps({"tags": tags}).encode()
            answer = await self._requests.send("POST", self._url, headers=self._headers, content=content)
            if json.loads(answer).get("success") is not True:
                raise EdgeError("the answer does not say success")

    async def aclose(self) -> None:
        await self._requests.aclose()
