"""Fakes of vendors' purge APIs, made from their documentation: they check requests, count a budget, and remember."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

ZONE, TOKEN = "023e105f4ecef8ad9ca31a8372d0c353", "token-of-the-test"
KEY_ID, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
XMLNS = "{http://cloudfront.amazonaws.com/doc/2020-05-31/}"


class VendorApi:
    """An API behind which nothing is cached. `purged`: the tags of every accepted request. `answers`: given first."""

    def __init__(self) -> None:
        self.purged: list[list[str]] = []
        self.answers: list[Response] = []
        self.refused: list[str] = []
        self.times: list[float] = []

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route(path, self._handled(one), methods=["POST"]) for path, one in self.routes()])

    def routes(self) -> list[tuple[str, Callable[[Request, bytes], Response]]]:
        raise NotImplementedError

    def _handled(self, handle: Callable[[Request, bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            self.times.append(time.monotonic())
            if self.answers:
                return self.answers.pop(0)
            return handle(request, body)

        return endpoint

    def refuse(self, why: str, status: int = 400) -> Response:
        self.refused.append(why)
        return PlainTextResponse(why, status)


class CloudflareApi(VendorApi):
    """developers.cloudflare.com/api/resources/cache/methods/purge/: at most 100 tags; no spaces or commas in a tag."""

    def routes(self) -> list[tuple[str, Callable[[Request, bytes], Response]]]:
        return [(f"/zones/{ZONE}/purge_cache", self._purge)]

    def _purge(self, request: Request, body: bytes) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.refuse("Authentication error", 403)
        tags = json.loads(body)["tags"]
        if not 1 <= len(tags) <= 100:
            return self.refuse(f"{len(tags)} tags")
        if any(not re.fullmatch(r"[!-+\--~]{1,1024}", tag) for tag in tags):
            return self.refuse("a tag that no header can carry")
        self.purged.append(tags)
        return JSONResponse({"success": True, "errors": [], "messages": [], "result": {"id": ZONE}})


class FastlyApi(VendorApi):
    """fastly.com/documentation/reference/api/purging/: at most 256 keys of at most 1,024 bytes, without spaces."""

    def routes(self) -> list[tuple[str, Callable[[Request, bytes], Response]]]:
        return [("/service/SU1Z0isxPaozGVKXdv0eY/purge", self._purge)]

    def _purge(self, request: Request, body: bytes) -> Response:
        if request.headers.get("fastly-key") != TOKEN:
            return self.refuse("Provided credentials are missing or invalid", 401)
        keys = json.loads(body)["surrogate_keys"]
        if not 1 <= len(keys) <= 256:
            return self.refuse(f"{len(keys)} keys")
        if any(not re.fullmatch(r"[!-~]{1,1024}", key) for key in keys):
            return self.refuse("a key that no header can carry")
        self.purged.append(keys)
        return JSONResponse(dict.fromkeys(keys, "108-1391560174-974124"))


class CloudFrontApi(VendorApi):
    """docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html, and Signature Version 4."""

    def routes(self) -> list[tuple[str, Callable[[Request, bytes], Response]]]:
        return [("/2020-05-31/distribution/EDFDVBD6EXAMPLE/invalidation", self._create)]

    def _create(self, request: Request, body: bytes) -> Response:
        if not signed_by_version_4(request, body):
            return self.refuse("SignatureDoesNotMatch", 403)
        batch = ElementTree.fromstring(body)
        items = [one.text or "" for one in batch.findall(f"{XMLNS}Paths/{XMLNS}Items/{XMLNS}Path")]
        quantity = batch.findtext(f"{XMLNS}Paths/{XMLNS}Quantity")
        if not batch.findtext(f"{XMLNS}CallerReference") or quantity != str(len(items)):
            return self.refuse("InvalidArgument")
        if any(not re.fullmatch(r"#[!-+\--~]{1,256}", item) for item in items):
            return self.refuse("an item that is no tag")
        self.purged.append([item[1:] for item in items])
        return Response("<Invalidation/>", 201, media_type="text/xml")


def signed_by_version_4(request: Request, body: bytes) -> bool:
    """Whether the signature is right, computed anew: docs.aws.amazon.com, "Create a signed AWS API request"."""
    pattern = (
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/us-east-1/cloudfront/aws4_request), "
        r"SignedHeaders=([a-z;0-9-]+), Signature=([0-9a-f]{64})"
    )
    found = re.fullmatch(pattern, request.headers.get("authorization", ""))
    if found is None or found[1] != KEY_ID or "host" not in found[3].split(";"):
        return False
    names = found[3].split(";")
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    path = quote(request.url.path, safe="/-_.~")
    canonical = "\n".join(["POST", path, "", headers, found[3], hashlib.sha256(body).hexdigest()])
    stamp = request.headers["x-amz-date"]
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, found[2], hashlib.sha256(canonical.encode()).hexdigest()])
    key: bytes = f"AWS4{SECRET_KEY}".encode()
    for piece in found[2].split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), found[4])


class NodeApi:
    """The listener of a node for purges, as protocol section 15 describes it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.status = 200

    @property
    def app(self) -> Any:
        async def purge(request: Request) -> Response:
            line = request.headers.get("x-mizan-invalidate")
            if not line:
                return Response(status_code=400)
            if self.status == 200:
                self.heard.append(line)
            return Response(status_code=self.status)

        return Starlette(routes=[Route("/", purge, methods=["PURGE"])])
