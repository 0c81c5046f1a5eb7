"""`/client.js` and `/elements.js`: the files of `static/`, which browsers run as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Receive, Scope

from mizan_core.protocol.cache_headers import etag_of

from .responses import RawResponse, script_reply
from .sent_headers import SentHeaders
from .service import check_gets

STATIC = Path(__file__).parent.parent / "static"


@dataclass(frozen=True, slots=True)
class Script:
    """A file of JavaScript, with its entity tag."""

    body: bytes
    etag: str

    @classmethod
    def read(cls, path: Path) -> "Script":
        body = path.read_bytes()
        return cls(body, etag_of(body))


SCRIPTS: Mapping[str, Script] = {path.name: Script.read(path) for path in sorted(STATIC.glob("*.js"))}


class ScriptEndpoint:
    """`/client.js` or `/elements.js`."""

    def __init__(self, name: str, script: Script) -> None:
        self.place = f"/{name}/"
        self._script = script

    def fast_path(self, scope: Scope) -> None:
        """Always None: a page asks for a script once."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:  # noqa: ARG002
        check_gets(scope)
        known = SentHeaders(scope).all(b"if-none-match")
        return script_reply(self._script.body, self._script.etag, if_none_match=known).raw()
