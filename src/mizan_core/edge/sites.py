"""Where an edge stands: the origin behind it, and the host that it answers for. Refused unless plain."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import DeclarationError

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The server behind an edge."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"


def read_origin(url: str) -> Origin:
    """An origin from `http://host:port`. Raises `DeclarationError` for anything else, a path included."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    plain = (
        url.isprintable() and parts.scheme in _PORTS and "@" not in parts.netloc and not (parts.query or parts.fragment)
    )
    if not plain or parts.path not in ("", "/") or not _HOST.fullmatch(host):
        raise DeclarationError(
            f"The origin {url!r} is not of the form http://host:port, without a path; "
            "an edge sends on the path that it is asked for."
        )
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme])


def check_host(host: str) -> str:
    """The name of a host, without a port. Raises `DeclarationError` for anything else."""
    if not _HOST.fullmatch(host):
        raise DeclarationError(f"The host {host!r} is not a plain name such as example.com, without a port.")
    return host.lower()
