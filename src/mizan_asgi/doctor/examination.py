"""What a deployment is asked for, as the command line gives it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from mizan_core.errors import DeclarationError, MizanError
from mizan_core.graph.model import Graph

from .edges import InFrontOf
from .people import Person
from .places import Place

# An application with dozens of contexts takes some hundreds, and a deployment hardly notices so many.
MAXIMUM_REQUESTS = 600

Purge: TypeAlias = Callable[[Place], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Examination:
    """What to ask. `url`: the deployment's, as the user gave it. `urls` and `given`: of `--url` and `--with`.

    `signs_tokens`: whether the target knows tokens of Mizan. `purge`: purges a place at the origin and tells the edges;
    None to purge nothing. `patience`: for how many seconds a purged answer may go on being given.
    `timeout`: of one request, in seconds; `within` and `requests`: of all of them.
    """

    url: str
    graph: Graph
    base_url: str
    front: InFrontOf | None
    people: Sequence[Person] = ()
    urls: Sequence[str] = ()
    given: Sequence[tuple[str, str]] = ()
    signs_tokens: bool = False
    purge: Purge | None = None
    patience: float = 2.0
    timeout: float = 10.0
    within: float = 120.0
    requests: int = MAXIMUM_REQUESTS


class Unreachable(MizanError):
    """The deployment gave no answer."""


def root_of(url: str, base_url: str) -> str:
    """Scheme and host of the deployment's URL, which may have `base_url` as its path. Raises `DeclarationError`."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.username is not None:
        raise DeclarationError(f"{url!r} is no URL of a deployment, such as https://example.com.")
    path = parts.path.rstrip("/")
    if path not in ("", base_url) or parts.query or parts.fragment:
        raise DeclarationError(
            f"{url!r} has a path. Name the deployment alone, as https://example.com: the target says that it is "
            f"mounted at {base_url}, and --base-url says otherwise. --url names what is asked for."
        )
    return f"{parts.scheme}://{parts.netloc}"


def path_of(url: str, root: str) -> str:
    """The path and query of a `--url`. Raises `DeclarationError` for one of another deployment."""
    path = url.removeprefix(root) if url.startswith(f"{root}/") else url
    if not path.startswith("/") or path.startswith("//"):
        raise DeclarationError(f"--url {url}: name a path of {root}, such as /api/mizan/ctx/user/?user_id=5.")
    return path
