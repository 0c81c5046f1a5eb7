"""What browsers run: the files of `static/`, which are served and shipped as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mizan_core.protocol.cache_headers import etag_of

STATIC = Path(__file__).parent / "static"


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
