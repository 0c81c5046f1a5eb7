"""Amazon CloudFront: invalidations by cache tag, signed with the account's credentials.

https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-by-tags.html and
.../APIReference/API_CreateInvalidation.html. The distribution needs a `CacheTagConfig` with the header `Cache-Tag`.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from mizan_core.edge.profiles import Profile
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.telling.edge import Edge, EdgeBusy

from .front import Front, check_seconds
from .requests import EdgeError, Requests
from .tagged import AGAIN_SECONDS, TaggedEdge

_API = "https://cloudfront.amazonaws.com"
_VERSION = "2020-05-31"
# CloudFront is a global service, and its requests are signed for this region.
_REGION = "us-east-1"
_PENDING = 1_000
# Tags are told apart without regard to case, so that a purge may be too wide.
TAGS = Profile("Cache-Tag", ",", 256, r"[!-+\--~]+")
# Codes of errors that pass.
_PASSING = ("TooManyInvalidationsInProgress", "Throttling", "RequestLimitExceeded")


@dataclass(frozen=True)
class CloudFront:
    """A distribution of CloudFront. `distribution`: its id. Needs the extra `mizan-asgi[cloudfront]`.

    `credentials`: of botocore's, or a function that returns some; without them the environment, the files and the role
    of the machine are asked, as by every program of AWS. CloudFront answers when it has taken the invalidation in; its
    nodes carry it out within seconds to minutes. `batch`: the tags of one invalidation. `rate` and `burst`: how many
    requests a second are sent. `again`, `lifetime`, `targeted` and `groups`: as of
    `Cloudflare`.
    """

    distribution: str
    credentials: Any = field(default=None, repr=False)
    lifetime: int = YEAR_SECONDS
    again: float | None = AGAIN_SECONDS
    batch: int = 100
    rate: float = 1.0
    burst: int = 10
    timeout: float = 10.0
    targeted: str | None = None
    groups: bool = False
    api: str = field(default=_API, repr=False)
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.distribution:
            raise DeclarationError("CloudFront(distribution) needs the id of a distribution.")
        check_seconds("again", self.again)
        check_seconds("timeout", self.timeout)
        object.__setattr__(self, "front", Front(self.lifetime, (TAGS,), self.targeted, self.groups))

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """The distribution."""
        url = f"{self.api}/{_VERSION}/distribution/{quote(self.distribution, safe='')}/invalidation"
        sign = _signer(self.credentials)

        async def send(requests: Requests, tags: Sequence[str]) -> None:
            content = _invalidation(tags)
            headers = await asyncio.to_thread(sign, "POST", url, content)  # it may ask for a new token
            try:
                await requests.send("POST", url, headers=headers, content=content)
            except EdgeError as error:
                if any(code in str(error) for code in _PASSING):
                    raise EdgeBusy(str(error)) from error
                raise

        name = f"CloudFront distribution {self.distribution}"
        return [TaggedEdge(name, self, tables, TAGS, batch=self.batch, pending=_PENDING, send=send)]


def _invalidation(tags: Sequence[str]) -> bytes:
    """The document of `CreateInvalidation`: a tag is an item that begins with `#`."""
    items = "".join(f"<Path>#{escape(tag)}</Path>" for tag in tags)
    return (
        f'<InvalidationBatch xmlns="http://cloudfront.amazonaws.com/doc/{_VERSION}/"><Paths><Quantity>{len(tags)}'
        f"</Quantity><Items>{items}</Items></Paths><CallerReference>{secrets.token_hex(16)}</CallerReference>"
        "</InvalidationBatch>"
    ).encode()


def _signer(credentials: Any) -> Callable[[str, str, bytes], dict[str, str]]:
    """A function that gives the signed headers of a request. Raises `DeclarationError` where nothing can be signed."""
    try:
        from botocore.auth import SigV4Auth  # noqa: PLC0415  # an optional extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415
    except ImportError:
        raise DeclarationError("CloudFront's requests need the extra: pip install 'mizan-asgi[cloudfront]'.") from None
    known = credentials() if callable(credentials) else credentials or Session().get_credentials()
    if known is None:
        raise DeclarationError("CloudFront needs credentials of AWS, and neither the environment nor a file has any.")

    def sign(method: str, url: str, content: bytes) -> dict[str, str]:
        request = AWSRequest(method, url, data=content, headers={"Content-Type": "text/xml"})
        SigV4Auth(known, "cloudfront", _REGION).add_auth(request)
        return dict(request.headers.items())

    return sign
