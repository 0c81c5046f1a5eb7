"""Fastly: purges by surrogate key through its API. https://www.fastly.com/documentation/reference/api/purging/"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from mizan_core.edge.profiles import SURROGATE_KEY
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.telling.edge import Edge

from .front import Front, check_seconds
from .requests import Requests
from .tagged import AGAIN_SECONDS, TaggedEdge

_API = "https://api.fastly.com"
# Surrogate keys of one request.
_KEYS = 256
_PENDING = 5_000


@dataclass(frozen=True)
class Fastly:
    """A service of Fastly. `service`: its id. `token`: an API token with the scope `purge_select`.

    `rate` and `burst`: how many requests a second are sent; the defaults stay below the 100,000 purges an hour that an
    account has. `again`, `lifetime`, `targeted` and `groups`: as of `Cloudflare`.
    """

    service: str
    token: str = field(repr=False)
    lifetime: int = YEAR_SECONDS
    again: float | None = AGAIN_SECONDS
    rate: float = 25.0
    burst: int = 100
    timeout: float = 10.0
    targeted: str | None = None
    groups: bool = False
    api: str = field(default=_API, repr=False)
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.service or not self.token:
            raise DeclarationError("Fastly(service, token=...) needs the id of a service and an API token.")
        check_seconds("again", self.again)
        check_seconds("timeout", self.timeout)
        object.__setattr__(self, "front", Front(self.lifetime, (SURROGATE_KEY,), self.targeted, self.groups))

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """The service."""
        url = f"{self.api}/service/{quote(self.service, safe='')}/purge"
        headers = {"Fastly-Key": self.token, "Content-Type": "application/json", "Accept": "application/json"}

        async def send(requests: Requests, keys: Sequence[str]) -> None:
            await requests.send("POST", url, headers=headers, content=json.dumps({"surrogate_keys": keys}).encode())

        name = f"Fastly service {self.service}"
        return [TaggedEdge(name, self, tables, SURROGATE_KEY, batch=_KEYS, pending=_PENDING, send=send)]
