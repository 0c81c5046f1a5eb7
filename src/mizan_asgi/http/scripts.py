"""What browsers run: the files of `static/`, which are served and shipped as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Receive, Scope

from mizan_core.protocol.cache_headers import etag_of

from .responses import Written, script_reply
from .sent_headers import SentHeaders
from .service import _check_gets

STATIC = Path(__file__).parent.parent / "static"


@dataclass(frozen=True, slots=True)
class Script:
    """A file of JavaScript, and what tells one version of it from another."""

    body: bytes
    etag: str

    @classmethod
    def read(cls, path: Path) -> "Script":
        body = path.read_bytes()
        return cls(body, etag_of(body))


SCRIPTS: Mapping[str, Script] = {path.name: Script.read(path) for path in sorted(STATIC.glob("*.js"))}


class ScriptEndpoint:
    """`/client.js` and the other scripts that pages load."""

    def __init__(self, name: str, script: Script) -> None:
        self.place = f"/{name}/"
        self._script = script

    def recall(self, scope: Scope) -> None:
        """Scripts are asked for once a page, and need no short way."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:  # noqa: ARG002
        _check_gets(scope)
        known = SentHeaders(scope).all(b"if-none-match")
        return script_reply(self._script.body, self._script.etag, if_none_match=known).written()
