"""`outermost(app, mizan)`: around a host's whole application, so that no middleware makes a public answer personal.

Middleware adds headers to answers that a shared cache may keep: a session's cookie, the name of the user, the origin
that asked. Whoever asks next would be sent them. This wrapper has the last word: Mizan notes in the scope what it
answers (`marks`), and on its way out the answer is compared with that (`leaving`, `judging`, `bodies`).
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from types import FrameType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError

from .enclosing import enclosing
from .hits import Hits
from .judging import BODY, STATUS, may_be_promised
from .leaving import Leaving
from .marks import MARK, Mark
from .mounting import Served, is_missing

logger = logging.getLogger("mizan")

# Middleware can make up names of headers without end.
_MOST_LOGGED = 100


def outermost(app: ASGIApp, mizan: Served, *, hits_first: bool = False, allow: Iterable[str] = ()) -> "Outermost":
    """The application that a server runs: `app`, the host with all its middleware, in which `mizan` is mounted.

    An answer of Mizan's for everyone leaves as Mizan made it, or with headers that say the same to everyone. If
    middleware added another one, or changed the answer, it leaves as `Cache-Control: private, no-store`, and the log
    names the header, once. Answers of the host's own are left alone.

    `hits_first`: bundles and pages for everyone that are kept are answered before the host's stack: they pass none of
    its middleware. `allow`: the names of more headers of which you know that they say the same to everyone.

    Raises `DeclarationError`, when it starts or is first asked, if it is inside of another application or its
    middleware, and if `app` does not serve `mizan`. Inside of middleware of your own, it logs a warning.
    """
    if isinstance(app, Outermost):
        raise DeclarationError("outermost(outermost(...)): the outer one would judge nothing. Use one of them.")
    if not callable(app):
        raise DeclarationError(f"outermost({app!r}, ...): this is no ASGI application.")
    if not isinstance(getattr(mizan, "engine", None), Engine):
        raise DeclarationError(f"outermost(..., {mizan!r}): this is no Mizan. Pass the one that the host mounts.")
    return Outermost(app, mizan, Hits(allowed=hits_first), _promised(allow))


class Outermost:
    """See `outermost`."""

    def __init__(self, app: ASGIApp, mizan: Served, hits: Hits, promised: frozenset[bytes]) -> None:
        self.app = app
        self._mizan = mizan
        self._hits = hits
        self._promised = promised
        self._is_checked = False
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_checked:
            caller = sys._getframe().f_back  # noqa: SLF001  # as `several_workers` looks for the server
            if scope["type"] == "lifespan":
                await self._start(scope, receive, send, caller)
                return
            _check_place(scope, send, caller)
            self._check_mounted()
            self._is_checked = True
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        hit = self._hits.find(scope)
        if not isinstance(hit, tuple):
            hit = None if hit is None else await hit
            if hit is None:
                await self._ask_host(scope, receive, send)
                return
        status, headers, body = hit
        await send({"type": "http.response.start", "status": status, "headers": headers.copy()})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _ask_host(self, scope: Scope, receive: Receive, send: Send) -> None:
        mark = self._hits.mark(scope)
        leaving = Leaving(mark, send, self._promised, self._tell)
        await self.app({**scope, MARK: mark}, receive, leaving)
        self._hits.learn(mark, leaving.status)

    async def _start(self, scope: Scope, receive: Receive, send: Send, caller: FrameType | None) -> None:
        """The host's lifespan. What is refused fails the start: servers go on without a lifespan that raises."""
        told = False

        async def starting(message: Message) -> None:
            nonlocal told
            if message["type"] == "lifespan.startup.complete":
                self._check_mounted()  # now the host's lifespan has entered Mizan's, if it does
            told = True
            await send(message)

        try:
            _check_place(scope, send, caller)
            await self.app(scope, receive, starting)
        except NotOutermost as refusal:
            if not told:
                await send({"type": "lifespan.startup.failed", "message": str(refusal)})

    def _check_mounted(self) -> None:
        if is_missing(self.app, self._mizan):
            raise NotOutermost(
                "outermost(app, mizan): app neither mounts this Mizan nor has its routes or its lifespan, so its "
                "answers would not be recognised. Pass the Mizan that app serves."
            )

    def _tell(self, mark: Mark, found: Sequence[str]) -> None:
        """Log why an answer leaves as one that no cache may keep, unless that was logged before."""
        for one in found:
            if one in self._logged or len(self._logged) >= _MOST_LOGGED:
                continue
            self._logged.add(one)
            promise = f" If it says the same to everyone, pass outermost(..., allow=[{one!r}])."
            logger.warning(
                "Mizan's answer at %r left as 'private, no-store', for %s was added or changed on its way out. Let the "
                "middleware in between leave Mizan's answers alone.%s",
                *(mark.scope["path"], f"{one!r}" if one in (STATUS, BODY) else f"the header {one!r}"),
                promise if one not in (STATUS, BODY) and may_be_promised(one.encode("latin-1")) else "",
            )


class NotOutermost(DeclarationError):
    """`outermost` is not where it has to be."""


def _check_place(scope: Scope, send: Send, caller: FrameType | None) -> None:
    """Raise `NotOutermost` inside of another application. Code of the host's own is logged, as it may only watch."""
    outside = enclosing(scope, send, caller)
    if outside is None:
        return
    told = (
        f"outermost(...) is inside of {outside.name}, which could make answers personal after they were judged. Let "
        "the server run outermost(app, mizan) itself, and put all middleware into app."
    )
    if not outside.is_own:
        raise NotOutermost(told)
    logger.warning("%s Only code that changes no answer may stay around it.", told)


def _promised(allow: Iterable[str]) -> frozenset[bytes]:
    """The names that `allow=` gives, in lower case. Raises `DeclarationError`."""
    if isinstance(allow, str):
        raise DeclarationError(f"allow={allow!r} is one text; pass a list of names, as allow=[{allow!r}].")
    names = frozenset(one.lower().encode("latin-1") for one in allow)
    for name in sorted(names):
        if not may_be_promised(name):
            raise DeclarationError(f"allow= may not name {name.decode('latin-1')!r}: caches go by it.")
    return names
