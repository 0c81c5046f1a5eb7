"""A client in Python: bundles, calls, and subscriptions that see what this client's own calls made stale.

`async with Client("https://example.com/api/mizan") as mizan: await mizan.fetch("user", user_id=5)`
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias
from weakref import WeakSet

try:
    import httpx
except ImportError as error:
    raise ImportError("mizan_asgi.client needs httpx: pip install 'mizan-asgi[client]'.") from error

from mizan_core.errors import BadRequest, HeaderError
from mizan_core.protocol.bodies import encode_json, parse_json, read_invalidations
from mizan_core.protocol.cache_headers import etag_of
from mizan_core.protocol.headers import MAXIMUM_HEADER_BYTES, decode_header
from mizan_core.protocol.invalidation import Invalidation, touches
from mizan_core.protocol.problems import read_problem
from mizan_core.protocol.urls import canonical_query, encode_text
from mizan_core.protocol.values import jsonable, texts_of

Params: TypeAlias = Mapping[str, object]
Token: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None]

# A mutation may take a while, and whoever gives up on it does not know what became of it.
DEFAULT_TIMEOUT_SECONDS = 30.0

# The built-in function that gives a session a token. It is asked without one: a token does not buy another.
OBTAIN = "mwt_obtain"

# The renewals that this code is part of: a request that waits for one of them would wait for itself.
_renewing: ContextVar[frozenset[object]] = ContextVar("mizan_renewing", default=frozenset())

# Of bundles that nobody subscribes to, so many are kept for a 304 to refer to.
MAXIMUM_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Known:
    """A bundle as the server sent it. Each receiver parses the bytes, so that none can change what another sees."""

    body: bytes
    etag: str | None


@dataclass(slots=True, eq=False)
class _Bundle:
    """One bundle: what is known of it, whether that still holds, and the request under way.

    `rounds` counts what overtook: an answer to a request of an earlier round is not shown to anybody. `settled` is the
    round of the last answer. `events` counts what overtook, what was asked for and what arrived.
    """

    context: str
    texts: Mapping[str, str | None]
    query: str
    url: str
    known: _Known | None = None
    current: bool = False
    rounds: int = 0
    settled: int = -1
    events: int = 0
    request: "asyncio.Task[bytes] | None" = None
    waiting: int = 0
    subscriptions: "WeakSet[Subscription]" = field(default_factory=WeakSet)

    @property
    def idle(self) -> bool:
        return not self.subscriptions and (self.request is None or self.request.done())

    @property
    def mounted(self) -> str:
        """How `X-Mizan-Mounted` names it."""
        return encode_text(self.context) + (f"?{self.query}" if self.query else "")

    def overtake(self) -> None:
        self.rounds += 1
        self.events += 1
        self.current = False
        self.tell()

    def arrived(self, known: _Known) -> None:
        self.events += 1
        self.known, self.current = known, True
        self.tell()

    def refreshed(self, known: _Known) -> None:
        """It came with a call's answer, so a request under way has nothing to bring any more."""
        self.arrived(known)
        if self.request is not None:
            self.request.cancel()
            self.request = None

    def tell(self) -> None:
        for subscription in list(self.subscriptions):
            subscription._changed.set()  # noqa: SLF001  # both are halves of one thing


class Subscription:
    """What `Client.subscribe` gives: the bundle as it is, then each time that it has become another one.

    A step that takes long misses what was between, never the last. A fetch that fails raises its error; the step after
    that tries again. Leaving the loop ends it, and so do `aclose()` and the client's end.
    """

    def __init__(self, client: "Client", bundle: _Bundle) -> None:
        self._client = client
        self._bundle = bundle
        self._shown: bytes | None = None
        self._changed = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not bundle.subscriptions:  # nobody was told of what happened meanwhile
            bundle.current = False
        bundle.subscriptions.add(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self._ended.done():
            self._changed.clear()
            body = await self._body()
            if body is not None and body != self._shown:
                self._shown = body
                return parse_json(body)
            await self._changed.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it; a step that somebody waits for ends too."""
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        self._changed.set()
        self._bundle.subscriptions.discard(self)

    async def _body(self) -> bytes | None:
        """The bundle as it is now; None where this ended meanwhile."""
        if self._bundle.current and self._bundle.known is not None:
            return self._bundle.known.body
        return await self._client._ask(self._bundle, self._ended)  # noqa: SLF001  # both are halves of one thing


class Client:
    """Talks to the server mounted at `base_url`, an absolute URL.

    `token`: sent as `X-Mizan-Token`; a function, sync or async, is asked before each request, once by those that wait
    for it together, and may itself call `mwt_obtain`. `defaults`: those of each
    context's parameters, as values or texts, which canonical URLs leave out. `transport`: one of httpx's, such as
    `httpx.ASGITransport(app)`. `http` is the underlying client, for cookies and whatever else a host wants.

    Lives in one event loop of asyncio. Requests that fail raise `CallError` as the server put it, or httpx's errors.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: Token | None = None,
        defaults: Mapping[str, Params] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = httpx.AsyncClient(transport=transport, timeout=timeout)
        self._token = token
        self._defaults = defaults or {}
        self._bundles: dict[str, _Bundle] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._renewal: asyncio.Task[str | None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def fetch(self, context: str, params: Params | None = None, /, **named: object) -> Any:
        """The bundle from the server, by its canonical URL. Asked for twice at once, it is sent once."""
        body = await self._ask(self._bundle(context, {**(params or {}), **named}))
        return None if body is None else parse_json(body)

    async def call(self, name: str, args: Params | None = None, /, **named: object) -> Any:
        """Call a function, forget what it made stale, and return its result.

        A caller that is cancelled stops waiting; the call goes on, and what it made stale is forgotten all the same.
        """
        calling = asyncio.create_task(self._call(name, {**(args or {}), **named}))
        self._calls.add(calling)
        calling.add_done_callback(self._calls.discard)
        calling.add_done_callback(_looked_at)
        await asyncio.wait({calling})
        if calling.cancelled():
            raise RuntimeError("The client was closed.")
        return calling.result()

    def subscribe(self, context: str, params: Params | None = None, /, **named: object) -> Subscription:
        """The bundle now and whenever it changed: fetched once for all who subscribe to it, and again when stale.

        Stale it becomes by calls of this client and by `invalidate`. Others' changes it does not see.
        """
        return Subscription(self, self._bundle(context, {**(params or {}), **named}))

    def invalidate(self, *invalidations: Invalidation | str) -> None:
        """Forget what these touch. What of it somebody subscribes to is fetched again.

        A null parameter stands for the bundles where it is null, one that is left out for any value.
        """
        entries = [Invalidation(one) if isinstance(one, str) else one for one in invalidations]
        for bundle in self._bundles.values():
            if any(_touches(one, bundle) for one in entries):
                bundle.overtake()

    def identify(self, token: Token | None) -> None:
        """Who asks has changed: forget everything, and ask with this token from now on."""
        self._token = token
        self._renewal = None
        for bundle in self._bundles.values():
            bundle.known = None
            bundle.overtake()

    async def aclose(self) -> None:
        """End every subscription and request. The server finishes calls that have reached it."""
        requests = [bundle.request for bundle in self._bundles.values() if bundle.request is not None]
        for bundle in self._bundles.values():
            bundle.current = False
            for subscription in list(bundle.subscriptions):
                subscription._end()  # noqa: SLF001  # both are halves of one thing
        under_way = [*requests, *self._calls]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self.http.aclose()

    def _bundle(self, context: str, params: Params) -> _Bundle:
        texts, query = _spell(params, self._defaults.get(context, {}))
        url = self._url(context, query)
        bundle = self._bundles.pop(url, None) or _Bundle(context, texts, query, url)
        self._bundles[url] = bundle  # the one used last comes last
        for oldest in list(self._bundles.values())[:-MAXIMUM_KEPT]:
            if oldest.idle:
                del self._bundles[oldest.url]
        return bundle

    def _url(self, context: str, query: str) -> str:
        return f"{self.base_url}/ctx/{encode_text(context)}/" + (f"?{query}" if query else "")

    async def _ask(self, bundle: _Bundle, until: "asyncio.Future[None] | None" = None) -> bytes | None:
        """The bundle from the server; None where `until` came first. Nothing that was overtaken comes out."""
        self._raise_if_renewing()
        while True:
            with self._joined(bundle) as request:
                waited: set[asyncio.Future[Any]] = {request} if until is None else {request, until}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if until is not None and until.done():
                return None
            if not request.cancelled() and bundle.settled == bundle.rounds:
                return request.result()
            if bundle.current and bundle.known is not None:  # a call's answer has brought it meanwhile
                return bundle.known.body
            if request.cancelled():
                raise RuntimeError("The client was closed.")

    @contextmanager
    def _joined(self, bundle: _Bundle) -> "Iterator[asyncio.Task[bytes]]":
        """The request under way, or a new one. It is ended when nobody waits for it any more."""
        request = bundle.request
        if request is None or request.done():
            request = bundle.request = asyncio.create_task(self._request(bundle))
            bundle.events += 1
            request.add_done_callback(_looked_at)
        bundle.waiting += 1
        try:
            yield request
        finally:
            bundle.waiting -= 1
            if bundle.waiting == 0 and not request.done():
                bundle.request = None
                request.cancel()

    async def _request(self, bundle: _Bundle) -> bytes:
        """Ask once. What an invalidation overtook is not kept, and nobody is given it, be it a bundle or an error."""
        rounds = bundle.rounds
        try:
            known = _read_bundle(await self._get(bundle), bundle.known)
        finally:
            bundle.settled = rounds
        if rounds == bundle.rounds:
            bundle.arrived(known)
        return known.body

    async def _get(self, bundle: _Bundle) -> httpx.Response:
        headers = await self._headers()
        if bundle.known is not None and bundle.known.etag is not None:
            headers["if-none-match"] = bundle.known.etag
        return await self.http.get(bundle.url, headers=headers)

    async def _call(self, name: str, args: Params) -> Any:
        body = encode_json(jsonable(args))
        headers = {"content-type": "application/json", **await self._headers(name)}
        mounted = {bundle: bundle.events for bundle in self._mounted()}
        if mounted:
            headers["x-mizan-mounted"] = ", ".join(bundle.mounted for bundle in mounted)
        try:
            response = await self.http.post(f"{self.base_url}/call/{encode_text(name)}/", content=body, headers=headers)
        except httpx.ConnectError:
            raise  # nothing was sent
        except httpx.TransportError:
            self._overtake_all()  # whether it ran, and what it made stale, is not known
            raise
        answer = (_object_of(response) if response.status_code == 200 else None) or {}
        undisturbed = {bundle.url: bundle for bundle, events in mounted.items() if bundle.events == events}
        self._forget(response, answer)
        self._take(answer.get("refreshed"), undisturbed)
        if "result" not in answer:
            error = read_problem(response.status_code, response.content)
            if error.code == "http_error" and error.status >= 500:
                self._overtake_all()  # somebody else answered: whether it ran is not known
            raise error
        return answer["result"]

    def _forget(self, response: httpx.Response, answer: Mapping[str, Any]) -> None:
        """What the answer names, by its body or, as on an error, by its header alone."""
        try:
            if "invalidate" in answer:
                self.invalidate(*read_invalidations(answer["invalidate"]))
            else:
                self.invalidate(*decode_header(response.headers.get("x-mizan-invalidate", "")))
        except (HeaderError, BadRequest):
            self._overtake_all()

    def _mounted(self) -> Iterator[_Bundle]:
        """What somebody subscribes to, as far as a header has room for it."""
        room = MAXIMUM_HEADER_BYTES
        for bundle in self._bundles.values():
            size = len(bundle.mounted) + len(", ")
            if bundle.subscriptions and size <= room:
                room -= size
                yield bundle

    def _take(self, refreshed: object, undisturbed: Mapping[str, _Bundle]) -> None:
        """What came with the answer to a call (protocol, section 14).

        Of an answer that was under way at the same time nobody would know which of the two is newer.
        """
        for entry in refreshed if isinstance(refreshed, list) else ():
            match entry:
                case {"context": str(context), "params": dict(params), "data": dict(data)}:
                    bundle = undisturbed.get(self._url(context, _spell(params, self._defaults.get(context, {}))[1]))
                    if bundle is not None:
                        body = encode_json(data)
                        bundle.refreshed(_Known(body, etag_of(body)))

    def _overtake_all(self) -> None:
        for bundle in self._bundles.values():
            bundle.overtake()

    async def _headers(self, name: str | None = None) -> dict[str, str]:
        token = None if name == OBTAIN else await self._current_token()
        return {} if token is None else {"x-mizan-token": token}

    async def _current_token(self) -> str | None:
        """The text, or what the function says, which is asked once by all requests that wait for its answer."""
        if not callable(self._token):
            return self._token
        self._raise_if_renewing()
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(_renew(self._token))
            self._calls.add(self._renewal)
            self._renewal.add_done_callback(self._calls.discard)
            self._renewal.add_done_callback(_looked_at)
        return await asyncio.shield(self._renewal)

    def _raise_if_renewing(self) -> None:
        if self._renewal is not None and self._renewal in _renewing.get() and not self._renewal.done():
            raise RuntimeError(f"A token function may ask its client for {OBTAIN!r} and nothing else.")


async def _renew(ask: Callable[[], str | Awaitable[str | None] | None]) -> str | None:
    _renewing.set(_renewing.get() | {asyncio.current_task()})
    token = ask()
    return await token if inspect.isawaitable(token) else token


def _touches(invalidation: Invalidation, bundle: _Bundle) -> bool:
    nulls = [name for name, value in invalidation.params.items() if value is None]
    is_null = all(bundle.texts.get(name) is None for name in nulls)  # or not known
    return is_null and touches(invalidation, bundle.context, bundle.texts)


def _spell(params: Params, defaults: Params) -> tuple[dict[str, str | None], str]:
    """The canonical texts of all parameters that are known, and the canonical URL's query (protocol, section 8)."""
    given = {name: jsonable(value) for name, value in params.items() if value is not None}
    nulls = {name: None for name, value in defaults.items() if value is None}
    usual = texts_of(defaults)
    known = {**usual, **texts_of(given)}
    texts: dict[str, str | None] = {**nulls, **known}
    return texts, canonical_query(known, given, usual)


def _read_bundle(response: httpx.Response, known: _Known | None) -> _Known:
    if response.status_code == 304 and known is not None:
        return known
    if response.status_code != 200:
        raise read_problem(response.status_code, response.content)
    _read_object(response)
    return _Known(response.content, response.headers.get("etag"))


def _read_object(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer that went well. Raises `CallError` where somebody else answered."""
    answer = _object_of(response)
    if answer is None:
        raise read_problem(response.status_code, response.content)
    return answer


def _object_of(response: httpx.Response) -> dict[str, Any] | None:
    try:
        answer = parse_json(response.content)
    except BadRequest:
        return None
    return answer if isinstance(answer, dict) else None


def _looked_at(task: "asyncio.Task[Any]") -> None:
    """Nobody may be waiting any more, and asyncio complains about an error that nobody has looked at."""
    if not task.cancelled():
        task.exception()
