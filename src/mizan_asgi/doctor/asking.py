"""Asks a deployment over HTTP: a bounded number of requests, without bodies, and no redirect is followed."""

import itertools
import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from mizan_core.errors import MizanError

from .answers import Answer
from .examination import Unreachable
from .people import NOBODY, Person

# An answer is compared as a whole. A larger one is cut off, which leaves enough to tell two of them apart.
_MAXIMUM_BYTES = 4_000_000

# Other spellings of a URL have so many `&` behind it, of which the application reads 1,000.
_SPELLINGS = range(2, 500)


class Spent(MizanError):
    """The bound of requests or of time is reached."""


class Asker:
    """Asks one deployment. `root`: its scheme and host. `timeout`: of one request; `within`: of all, in seconds."""

    def __init__(self, root: str, *, timeout: float, within: float, requests: int) -> None:
        self.root = root
        self.host = httpx.URL(root).netloc.decode()
        self._timeout = timeout
        self._until = time.monotonic() + within
        self._most = requests
        self.requests = 0
        # Answers without compression, so that bodies compare; nothing of the environment, so that no proxy answers.
        self._http = httpx.AsyncClient(
            timeout=timeout, follow_redirects=False, trust_env=False, headers={"Accept-Encoding": "identity"}
        )
        self._numbers = itertools.count(secrets.randbelow(len(_SPELLINGS)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def number(self) -> int:
        """A number that was not used before, and hardly by an earlier run."""
        return _SPELLINGS[next(self._numbers) % len(_SPELLINGS)]

    async def get(self, url: str, person: Person = NOBODY, **headers: str) -> Answer:
        """The answer to a GET. An underscore in a header's name is a hyphen."""
        return await self.ask("GET", url, person, {name.replace("_", "-"): value for name, value in headers.items()})

    async def tried(self, method: str, url: str, **headers: str) -> Answer:
        """As `ask`, for a request that something in front may hang up on: status 0 where there is no answer."""
        try:
            return await self.ask(method, url, headers={n.replace("_", "-"): value for n, value in headers.items()})
        except Unreachable:
            return Answer(0, ())

    async def ask(
        self, method: str, url: str, person: Person = NOBODY, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Raises `Unreachable` where there is no answer, and `Spent` beyond a bound."""
        if self.requests >= self._most or time.monotonic() > self._until:
            raise Spent("The bound of requests or of time was reached; narrow what is asked with --url.")
        self.requests += 1
        began = time.monotonic()
        self._http.cookies.clear()  # a session that one answer opened must not be sent with the next request
        try:
            sent = {**person.headers, **(headers or {})}
            async with self._http.stream(method, self.root + url, headers=sent) as response:
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > _MAXIMUM_BYTES:
                        break
        except httpx.HTTPError as error:
            raise Unreachable(f"{method} {self.root}{url} got no answer: {_reason(error, self._timeout)}.") from None
        raw = response.headers.raw
        named = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw)
        return Answer(response.status_code, named, body, began)


def _reason(error: httpx.HTTPError, timeout: float) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"nothing within {timeout:g} s"
    return str(error).rstrip(".") or type(error).__name__
