"""The endpoints of the inspector below `/inspector/`: its page, the files of that, its application and its changes.

Nothing is loaded from elsewhere, nothing inline runs, and the page cannot be framed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from mizan_core.engine.engine import Engine
from mizan_core.graph.manifest import build_manifest
from mizan_core.proof import Verify

from ..codegen.api import api_of
from ..http.responses import RawHeaders, RawResponse
from ..http.service import Endpoint, check_gets
from .access import Access, Inspector
from .recorder import Recorder

PAGE = Path(__file__).parent / "page"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "connect", "img")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
    ]
)

_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def inspector_endpoints(
    engine: Engine, options: Inspector, *, verify: object, base_url: str, several: bool
) -> Iterator[Endpoint]:
    """All endpoints of the inspector. `several`: a server starts several workers, so that others answer too."""
    access = Access(options)
    recorder = Recorder(engine, verify if isinstance(verify, Verify) else None)
    for path in sorted(PAGE.iterdir()):
        yield _File(access, path)
    yield _Application(access, engine, base_url=base_url, several=several)
    yield _Changes(access, recorder, several=several)


class _Inspected:
    """A GET of something below `/inspector/`."""

    reads = True  # the answer tells of this application

    def __init__(self, access: Access, place: str) -> None:
        self.place = place
        self._access = access

    def fast_path(self, scope: Scope) -> None:
        """Always None: every request is checked."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:  # noqa: ARG002
        check_gets(scope)
        self._access.check(scope, reads=self.reads)
        return self.response(scope)

    def response(self, scope: Scope) -> RawResponse:
        raise NotImplementedError


class _File(_Inspected):
    """The page, or a file of it."""

    reads = False  # a link on another site may lead to the page

    def __init__(self, access: Access, path: Path) -> None:
        self._is_page = path.suffix == ".html"
        super().__init__(access, "/inspector/" if self._is_page else f"/inspector/{path.name}/")
        self._body = path.read_bytes()
        self._type = _TYPES[path.suffix]

    def response(self, scope: Scope) -> RawResponse:
        if self._is_page and not scope["path"].endswith("/"):  # its files are named relative to it
            return 308, _headers("text/plain", b"", location="inspector/"), b""
        return 200, _headers(self._type, self._body), self._body


class _Application(_Inspected):
    """`/inspector/application.json`: the manifest, and the schemas of everything that can be called or fetched."""

    def __init__(self, access: Access, engine: Engine, *, base_url: str, several: bool) -> None:
        super().__init__(access, "/inspector/application.json/")
        self._engine = engine
        self._base_url = base_url
        self._several = several
        self._made: bytes | None = None

    def response(self, scope: Scope) -> RawResponse:  # noqa: ARG002
        if self._made is None:
            graph = self._engine.graph
            api = api_of(graph, base_url=self._base_url)
            described = {
                "manifest": build_manifest(graph, base_url=self._base_url),
                "several_workers": self._several,
                "calls": [asdict(call) for call in api.calls],
                "bundles": [asdict(bundle) for bundle in api.bundles],
                "definitions": api.definitions,
            }
            self._made = _json(described)
        return 200, _headers("application/json", self._made), self._made


class _Changes(_Inspected):
    """`/inspector/changes.json?after=WORKER.CHANGE&...`: what changed in this worker after a change that a page has.

    A page asks once a second. An open stream would keep a server from shutting down, as at every reload.
    """

    def __init__(self, access: Access, recorder: Recorder, *, several: bool) -> None:
        super().__init__(access, "/inspector/changes.json/")
        self._recorder = recorder
        self._several = several

    def response(self, scope: Scope) -> RawResponse:
        after = _after(scope["query_string"], self._recorder.worker)
        body = _json(self._recorder.changes(after))
        # The next request comes by a connection of its own, which another worker may accept.
        more = {"connection": "close"} if self._several and scope.get("http_version") == "1.1" else {}
        return 200, _headers("application/json", body, **more), body


def _after(query: bytes, worker: str) -> int:
    """The number in the query for this worker; 0 where there is none."""
    for key, place in parse_qsl(query.decode("latin-1")):
        named, _, number = place.partition(".")
        if key == "after" and named == worker and number.isdecimal() and len(number) < 16:
            return int(number)
    return 0


def _headers(media_type: str, body: bytes, **more: str) -> RawHeaders:
    named = {**_HEADERS, "content-type": media_type, "content-length": str(len(body)), **more}
    return [(name.encode(), value.encode()) for name, value in named.items()]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
