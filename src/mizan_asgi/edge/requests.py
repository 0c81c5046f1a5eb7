"""Requests to edges: one HTTP client for each event loop, what a status means, and a bound on how many are sent."""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Mapping
from typing import Any

from mizan_core.errors import DeclarationError
from mizan_core.telling.edge import EdgeBusy

# The beginning of an answer that is quoted in an error. A vendor's answer does not repeat the token.
_QUOTED = 200
# How long an edge that says that it is busy, and not for how long, is left alone.
_BUSY_SECONDS = 1.0

_TOO_MANY, _UNAVAILABLE = 429, 503


class EdgeError(Exception):
    """An edge answered something else than that it has forgotten."""


class Requests:
    """Sends requests of one edge, on any event loop. `timeout`: of one request, in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            import httpx  # noqa: F401, PLC0415  # an optional extra
        except ImportError:
            raise DeclarationError("An edge is told by httpx: pip install 'mizan-asgi[edge]'.") from None

    async def send(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes = b"") -> bytes:
        """The body of a successful answer. Raises `EdgeBusy` for 429 and 503, and other errors for anything else."""
        response = await self._connected().request(method, url, headers=dict(headers), content=content)
        if response.is_success:
            return response.content  # type: ignore[no-any-return]  # httpx is imported when it is needed
        reason = f"{response.status_code} {response.text[:_QUOTED]!r}"
        if response.status_code in (_TOO_MANY, _UNAVAILABLE):
            raise EdgeBusy(reason, _seconds(response.headers.get("retry-after", "")))
        raise EdgeError(reason)

    async def look(self, address: str, target: str, *, headers: Mapping[str, str]) -> int:
        """The status of an answer to GET, whose body is dropped. `target`: path and query, sent as they are."""
        exactly = {"target": target.encode()}
        async with self._connected().stream("GET", address, headers=dict(headers), extensions=exactly) as response:
            async for _ in response.aiter_raw():
                pass
            return response.status_code  # type: ignore[no-any-return]  # as above

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def _connected(self) -> Any:
        import httpx  # noqa: PLC0415  # an optional extra

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = httpx.AsyncClient(timeout=self._timeout, follow_redirects=False, trust_env=False)
        return self._client


class TokenBucket:
    """At most `burst` requests at once, and `rate` a second on average: what a vendor allows an account."""

    def __init__(self, rate: float, burst: int) -> None:
        if not rate > 0 or burst < 1:
            raise DeclarationError(f"rate={rate!r} and burst={burst!r} would let no request through.")
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._since: float | None = None

    def take(self, count: int = 1) -> None:
        """Take so many tokens. Raises `EdgeBusy` where they are not there, with the time until they are.

        A full bucket gives more than it holds, and then is in debt: a purge of several requests must not begin anew
        for ever.
        """
        now = time.monotonic()
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        needed = min(count, self._burst)
        if self._left < needed:
            raise EdgeBusy("the budget of requests is used up", (needed - self._left) / self._rate)
        self._left -= count


def _seconds(retry_after: str) -> float:
    """The seconds of a `Retry-After` (RFC 9110, 10.2.3), which may be a date."""
    if retry_after.isdecimal():
        return float(retry_after)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return _BUSY_SECONDS
