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
from mizan_core.telling.edge import Edge

from .front import Front, check_seconds
from .requests import EdgeError, Requests
from .tagged import AGAIN_SECONDS, TaggedEdge

_API = "https://api.cloudflare.com/client/v4"
# Operations of one request, on every plan.
_TAGS = 100
_PENDING = 2_000


@dataclass(frozen=True)
class Cloudflare:
    """A zone of Cloudflare. `zone`: its id. `token`: an API token that may purge its cache.

    `rate` and `burst`: the requests a second that the plan allows, and the size of its bucket; the defaults are those
    of the plan Pro. The plan Free has 5 a minute: `rate=5 / 60, burst=25`. `again`: when each purge is sent a second
    time, in seconds, or None: an answer that was under way during the first is kept by then. `lifetime`, `targeted`,
    `groups`: as of `Front`.
    """

    zone: str
    token: str = field(repr=False)
    lifetime: int = YEAR_SECONDS
    again: float | None = AGAIN_SECONDS
    rate: float = 5.0
    burst: int = 25
    timeout: float = 10.0
    targeted: str | None = None
    groups: bool = False
    api: str = field(default=_API, repr=False)
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.zone or not self.token:
            raise DeclarationError("Cloudflare(zone, token=...) needs the id of a zone and an API token.")
        check_seconds("again", self.again)
        check_seconds("timeout", self.timeout)
        object.__setattr__(self, "front", Front(self.lifetime, (CACHE_TAG,), self.targeted, self.groups))

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """The zone."""
        url = f"{self.api}/zones/{quote(self.zone, safe='')}/purge_cache"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

        async def send(requests: Requests, tags: Sequence[str]) -> None:
            content = json.dumps({"tags": tags}).encode()
            answer = await requests.send("POST", url, headers=headers, content=content)
            if json.loads(answer).get("success") is not True:
                raise EdgeError("the answer does not say success")

        name = f"Cloudflare zone {self.zone}"
        return [TaggedEdge(name, self, tables, CACHE_TAG, batch=_TAGS, pending=_PENDING, send=send)]
