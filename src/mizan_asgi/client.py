"""A client in Python: bundles, calls, and subscriptions, which are updated when this client's calls make them stale.

`async with Client("https://example.com/api/mizan") as mizan: await mizan.fetch("user", user_id=5)`

One rule runs through all of it: an invalidation overtakes the requests that began before it, and the answer to an
overtaken request is neither kept nor shown, since it may have been computed before the change.
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
from mizan_core.protocol.files import JSON_ARGUMENTS, File
from mizan_core.protocol.headers import MAXIMUM_HEADER_BYTES, decode_header
from mizan_core.protocol.invalidation import Invalidation, touches
from mizan_core.protocol.problems import read_problem
from mizan_core.protocol.urls import canonical_query, encode_text
from mizan_core.protocol.values import jsonable, texts_of

Params: TypeAlias = Mapping[str, object]
Token: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None]

# Long, since a mutation may take a while, and a caller that gives up does not know whether it took effect.
DEFAULT_TIMEOUT_SECONDS = 30.0

# The built-in function that issues a token for a session. It is called without a token, which it would refuse.
OBTAIN = "mwt_obtain"

# The token renewals in which the current task runs: a request that waited for one of them would wait for itself.
_renewing: ContextVar[frozenset[object]] = ContextVar("mizan_renewing", default=frozenset())

# The number of bundles above which those without subscriptions are dropped. A kept one can be answered with 304.
MAXIMUM_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Known:
    """A bundle as the server sent it. Each receiver parses the bytes, so that none can change another's objects."""

    body: bytes
    etag: str | None


@dataclass(slots=True, eq=False)
class _Bundle:
    """One bundle: its last known data, whether they are `current`, and the request under way.

    `rounds` counts how often it was overtaken: an answer to a request of an earlier round is dropped. `settled` is the
    round of the last answer. `events` counts requests, answers, and how often it was overtaken.
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
        """Its name in `X-Mizan-Mounted`."""
        return encode_text(self.context) + (f"?{self.query}" if self.query else "")

    def overtake(self) -> None:
        """It became stale, and so did the answer to a request under way."""
        self.rounds += 1
        self.events += 1
        self.current = False
        self.tell()

    def arrived(self, known: _Known) -> None:
        self.events += 1
        self.known, self.current = known, True
        self.tell()

    def refreshed(self, known: _Known) -> None:
        """It came with a call's answer, so the request under way is not needed any more."""
        self.arrived(known)
        if self.request is not None:
            self.request.cancel()
            self.request = None

    def tell(self) -> None:
        for subscription in list(self.subscriptions):
            subscription._changed.set()  # noqa: SLF001  # a subscription and its client are one unit


class Subscription:
    """An iterator over the states of a bundle, made by `Client.subscribe`: the current one, then each different one.

    A slow consumer may miss states, but never the last. If a fetch fails, the step raises its error, and the next step
    tries again. `aclose()` ends the subscription, and so does the end of the client.
    """

    def __init__(self, client: "Client", bundle: _Bundle) -> None:
        self._client = client
        self._bundle = bundle
        self._shown: bytes | None = None
        self._changed = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not bundle.subscriptions:  # without any, changes were not followed
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
        """End the subscription. A step that is waited for ends too."""
        self._end()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        self._changed.set()
        self._bundle.subscriptions.discard(self)

    async def _body(self) -> bytes | None:
        """The current bundle; None if the subscription ended while it was fetched."""
        if self._bundle.current and self._bundle.known is not None:
            return self._bundle.known.body
        return await self._client._ask(self._bundle, self._ended)  # noqa: SLF001  # a subscription and its client are one unit


class Client:
    """A client of the server mounted at `base_url`, an absolute URL.

    `token`: sent as `X-Mizan-Token`. A function, sync or async, is called before each request, once for requests that
    wait for it at the same time; it may itself call `mwt_obtain` with this client. `defaults`: for each context the
    defaults of its parameters, as values or texts, which canonical URLs leave out. `transport`: a transport of httpx,
    such as `httpx.ASGITransport(app)`. `http` is the underlying `httpx.AsyncClient`, for cookies and other settings.

    Works in one event loop of asyncio. Requests that fail raise the server's `CallError`, or errors of httpx.
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
        """The bundle from the server, by its canonical URL. Simultaneous fetches of one bundle share one request."""
        body = await self._ask(self._bundle(context, {**(params or {}), **named}))
        return None if body is None else parse_json(body)

    async def call(self, name: str, args: Params | None = None, /, **named: object) -> Any:
        """Call a function, forget the bundles that it made stale, and return its result.

        An argument that is a `File`, or a list of them, is sent as files; who made them closes them.

        A caller that is cancelled stops waiting, but the call goes on and its stale bundles are forgotten.
        """
        calling = asyncio.create_task(self._call(name, {**(args or {}), **named}))
        self._calls.add(calling)
        calling.add_done_callback(self._calls.discard)
        calling.add_done_callback(_retrieve_error)
        await asyncio.wait({calling})
        if calling.cancelled():
            raise RuntimeError("The client was closed.")
        return calling.result()

    def subscribe(self, context: str, params: Params | None = None, /, **named: object) -> Subscription:
        """The bundle now and after each change. All subscriptions to a bundle share its fetches.

        Calls of this client and `invalidate` make it stale, so that it is fetched again. Changes that others make are
        not seen.
        """
        return Subscription(self, self._bundle(context, {**(params or {}), **named}))

    def invalidate(self, *invalidations: Invalidation | str) -> None:
        """Forget the bundles that the invalidations touch. Those with subscriptions are fetched again.

        A parameter that is None touches bundles in which it is null; a parameter that is left out, all values.
        """
        entries = [Invalidation(one) if isinstance(one, str) else one for one in invalidations]
        for bundle in self._bundles.values():
            if any(_touches(one, bundle) for one in entries):
                bundle.overtake()

    def identify(self, token: Token | None) -> None:
        """Use this token from now on, and forget all bundles: the caller has changed."""
        self._token = token
        self._renewal = None
        for bundle in self._bundles.values():
            bundle.known = None
            bundle.overtake()

    async def aclose(self) -> None:
        """End all subscriptions and requests. Calls that have reached the server go on there."""
        requests = [bundle.request for bundle in self._bundles.values() if bundle.request is not None]
        for bundle in self._bundles.values():
            bundle.current = False
            for subscription in list(bundle.subscriptions):
                subscription._end()  # noqa: SLF001  # a subscription and its client are one unit
        under_way = [*requests, *self._calls]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self.http.aclose()

    def _bundle(self, context: str, params: Params) -> _Bundle:
        texts, query = _spell(params, self._defaults.get(context, {}))
        url = self._url(context, query)
        bundle = self._bundles.pop(url, None) or _Bundle(context, texts, query, url)
        self._bundles[url] = bundle  # the most recently used comes last
        for oldest in list(self._bundles.values())[:-MAXIMUM_KEPT]:
            if oldest.idle:
                del self._bundles[oldest.url]
        return bundle

    def _url(self, context: str, query: str) -> str:
        return f"{self.base_url}/ctx/{encode_text(context)}/" + (f"?{query}" if query else "")

    async def _ask(self, bundle: _Bundle, until: "asyncio.Future[None] | None" = None) -> bytes | None:
        """The bundle from the server, never an overtaken answer; None if `until` is done first."""
        self._raise_if_renewing()
        while True:
            with self._joined(bundle) as request:
                waited: set[asyncio.Future[Any]] = {request} if until is None else {request, until}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if until is not None and until.done():
                return None
            if not request.cancelled() and bundle.settled == bundle.rounds:
                return request.result()
            if bundle.current and bundle.known is not None:  # it came with a call's answer
                return bundle.known.body
            if request.cancelled():
                raise RuntimeError("The client was closed.")

    @contextmanager
    def _joined(self, bundle: _Bundle) -> "Iterator[asyncio.Task[bytes]]":
        """The request under way, or a new one. It is cancelled once no caller waits for it."""
        request = bundle.request
        if request is None or request.done():
            request = bundle.request = asyncio.create_task(self._request(bundle))
            bundle.events += 1
            request.add_done_callback(_retrieve_error)
        bundle.waiting += 1
        try:
            yield request
        finally:
            bundle.waiting -= 1
            if bundle.waiting == 0 and not request.done():
                bundle.request = None
                request.cancel()

    async def _request(self, bundle: _Bundle) -> bytes:
        """Request the bundle once. Keeps the answer unless it was overtaken; `_ask` then drops it, even an error."""
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
        body, media = _body_of(args)
        headers = {**media, **await self._headers(name)}
        mounted = {bundle: bundle.events for bundle in self._mounted()}
        if mounted:
            headers["x-mizan-mounted"] = ", ".join(bundle.mounted for bundle in mounted)
        try:
            response = await self.http.post(f"{self.base_url}/call/{encode_text(name)}/", headers=headers, **body)
        except httpx.ConnectError:
            raise  # the call was not sent, so nothing can be stale
        except httpx.TransportError:
            self._overtake_all()  # it may have run, and made anything stale
            raise
        answer = (_object_of(response) if response.status_code == 200 else None) or {}
        undisturbed = {bundle.url: bundle for bundle, events in mounted.items() if bundle.events == events}
        self._forget(response, answer)
        self._take(answer.get("refreshed"), undisturbed)
        if "result" not in answer:
            error = read_problem(response.status_code, response.content)
            if error.code == "http_error" and error.status >= 500:
                self._overtake_all()  # a proxy answered: the call may have run, and made anything stale
            raise error
        return answer["result"]

    def _forget(self, response: httpx.Response, answer: Mapping[str, Any]) -> None:
        """Forget the bundles that the answer names: in its body, or, as an error does, only in its header.

        The header names what concerns other users as well.
        """
        try:
            if "result" in answer:
                self.invalidate(*read_invalidations(answer.get("invalidate", [])))
            else:
                self.invalidate(*decode_header(response.headers.get("x-mizan-invalidate", "")))
        except (HeaderError, BadRequest):
            self._overtake_all()

    def _mounted(self) -> Iterator[_Bundle]:
        """The bundles with subscriptions, as many as fit into a header."""
        room = MAXIMUM_HEADER_BYTES
        for bundle in self._bundles.values():
            size = len(bundle.mounted) + len(", ")
            if bundle.subscriptions and size <= room:
                room -= size
                yield bundle

    def _take(self, refreshed: object, undisturbed: Mapping[str, _Bundle]) -> None:
        """Take the bundles that came with a call's answer (protocol, section 14).

        Only undisturbed ones: if a request for a bundle was under way too, either of the answers could be the newer.
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
        """The token, or the result of the token function, which all requests that wait for it share."""
        if not callable(self._token):
            return self._token
        self._raise_if_renewing()
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(_renew(self._token))
            self._calls.add(self._renewal)
            self._renewal.add_done_callback(self._calls.discard)
            self._renewal.add_done_callback(_retrieve_error)
        return await asyncio.shield(self._renewal)

    def _raise_if_renewing(self) -> None:
        if self._renewal is not None and self._renewal in _renewing.get() and not self._renewal.done():
            raise RuntimeError(f"A token function may ask its client for {OBTAIN!r} and nothing else.")


async def _renew(ask: Callable[[], str | Awaitable[str | None] | None]) -> str | None:
    _renewing.set(_renewing.get() | {asyncio.current_task()})
    token = ask()
    return await token if inspect.isawaitable(token) else token


def _body_of(args: Params) -> tuple[dict[str, Any], dict[str, str]]:
    """What httpx is given for a call's body, and its headers: JSON, or a form where there are files (section 16)."""
    files = [(name, one) for name, value in args.items() for one in _files_in(value)]
    if not files:
        return {"content": encode_json(jsonable(args))}, {"content-type": "application/json"}
    rest = encode_json(jsonable({name: value for name, value in args.items() if not _files_in(value)}))
    for _, one in files:
        one.file.seek(0)
    parts = [(name, (one.name or "file", one.file, one.content_type)) for name, one in files]
    return {"data": {JSON_ARGUMENTS: rest.decode()}, "files": parts}, {}


def _files_in(value: object) -> list[File]:
    """The files of an argument; none if it is something else."""
    listed = value if isinstance(value, list | tuple) else [value]
    files = [one for one in listed if isinstance(one, File)]
    return files if len(files) == len(listed) else []


def _touches(invalidation: Invalidation, bundle: _Bundle) -> bool:
    nulls = [name for name, value in invalidation.params.items() if value is None]
    is_null = all(bundle.texts.get(name) is None for name in nulls)  # an unknown value may be null
    return is_null and touches(invalidation, bundle.context, bundle.texts)


def _spell(params: Params, defaults: Params) -> tuple[dict[str, str | None], str]:
    """The canonical texts of all known parameters, and the query of the canonical URL (protocol, section 8)."""
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
    """The JSON object of a successful answer. Raises `CallError` for any other body, such as a proxy's."""
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


def _retrieve_error(task: "asyncio.Task[Any]") -> None:
    """If no caller waits any more, keep asyncio from logging the error as never retrieved."""
    if not task.cancelled():
        task.exception()
