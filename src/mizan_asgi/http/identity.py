"""The caller of a request: by a token in a header, or by the host's session (protocol, section 11).

`X-Mizan-Token` comes first, then `Authorization: Bearer`, then the session that the host established. A token that is
present and not valid is refused; no session is asked instead. A Bearer token that names none of our keys is the host's,
and the host is asked about it alone: a cookie beside it must not decide, since another site can make a browser send it.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.authentication import AuthCredentials, UnauthenticatedUser
from starlette.requests import Request
from starlette.types import Receive, Scope
from typing_extensions import TypedDict

from mizan_core.errors import DeclarationError, Forbidden, TokenError, Unauthorized
from mizan_core.graph.declare import client
from mizan_core.graph.model import Function
from mizan_core.protocol.cache_policy import CachePolicy
from mizan_core.protocol.identity import ANONYMOUS, Identity
from mizan_core.protocol.tokens import Keys, issue_mwt, names_key, verify_mwt

from .sent_headers import SentHeaders

logger = logging.getLogger("mizan")

TOKEN_HEADERS = frozenset({b"x-mizan-token", b"authorization"})

_COOKIE = frozenset({b"cookie"})
_COOKIE_OR_TOKEN = _COOKIE | {b"authorization"}

Clock: TypeAlias = Callable[[], float]
Authenticate: TypeAlias = Callable[[Request], Identity | Awaitable[Identity | None] | None]

# Attributes in which users of common frameworks keep their id, Starlette's first.
_ID_ATTRIBUTES = ("identity", "id", "pk", "user_id", "username")


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of a caller. `by_header`: from a token in a header, which no other site can make a browser send."""

    identity: Identity
    by_header: bool


_ANONYMOUS_CALLER = Caller(ANONYMOUS, by_header=False)


class Authenticator:
    """Identifies callers. `authenticate` is the host's function; without it, the scope's user is the session's."""

    def __init__(self, keys: Keys | None, *, audience: str, authenticate: Authenticate | None, clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._authenticate = authenticate
        self._clock = clock
        # The identity of the host's session as far as the scope tells it; None where `authenticate` has to be asked.
        self.in_scope: Callable[[Scope], Identity | None] = host_identity if authenticate is None else _never_in_scope

    async def identify(
        self, headers: SentHeaders, scope: Scope, receive: Receive, *, ask_session: bool = True
    ) -> Caller:
        """The caller. Raises `Unauthorized` for a token that is present and not valid.

        `ask_session`: whether to read the host's session if there is no token.
        """
        if not headers.none_of(TOKEN_HEADERS):
            if tokens := headers.all(b"x-mizan-token"):
                return Caller(self._verified(tokens), by_header=True)
            if bearers := _bearer_tokens(headers):
                return await self._by_bearer(bearers, headers, scope, receive)
        if not ask_session:
            return _ANONYMOUS_CALLER
        return Caller(await self.session(scope, receive), by_header=False)

    async def session(self, scope: Scope, receive: Receive) -> Identity:
        """The identity of the host's session."""
        if self._authenticate is None:
            return host_identity(scope)
        return await _ask_host(self._authenticate, scope, receive)

    async def _by_bearer(self, tokens: list[str], headers: SentHeaders, scope: Scope, receive: Receive) -> Caller:
        """The caller that `Authorization: Bearer` names, verified by our keys or by the host. Raises `Unauthorized`."""
        if len(tokens) > 1 or (self._keys is not None and names_key(tokens[0], self._keys)):
            return Caller(self._verified(tokens), by_header=True)
        has_cookie, doubtful = not headers.none_of(_COOKIE), False
        if self._authenticate is None:
            # Middleware found the user, perhaps by the cookie and not by the token: it does not tell.
            identity = ANONYMOUS if has_cookie else host_identity(scope)
            doubtful = has_cookie and "user" in scope
        else:
            identity = await _by_token_alone(self._authenticate, scope, receive, has_cookie=has_cookie)
        if identity == ANONYMOUS:
            if self._keys is None or doubtful:
                logger.warning(
                    "A Bearer token was refused, for neither Mizan nor the host knows it. If it is the host's, give "
                    "Mizan authenticate=, a function that finds the user by the Authorization header alone. If it is "
                    "Mizan's, give mwt_keys=."
                )
            raise Unauthorized("The token is not valid.")
        # Beside a cookie, the host may have gone by the cookie after all: then the cross-site check has to be made.
        return Caller(identity, by_header=not has_cookie)

    def _verified(self, tokens: list[str]) -> Identity:
        if self._keys is None:
            logger.warning("A token was sent, and Mizan has no mwt_keys to verify it.")
            raise Unauthorized("Tokens are not accepted here.")
        if len(tokens) > 1:
            raise Unauthorized("There is more than one token.")
        try:
            return verify_mwt(tokens[0], self._keys, audience=self._audience, now=self._clock())
        except TokenError as error:
            logger.debug("A token was refused: %s.", error)
            raise Unauthorized("The token is not valid.") from None


def host_identity(scope: Scope) -> Identity:
    """The identity of the user that Starlette's `AuthenticationMiddleware`, or one like it, put into the scope."""
    user = scope.get("user")
    if user is None:
        return ANONYMOUS
    if isinstance(user, Identity):
        return user
    if not getattr(user, "is_authenticated", False):
        return ANONYMOUS
    return Identity(
        _user_id(user),
        staff=bool(getattr(user, "is_staff", False)),
        superuser=bool(getattr(user, "is_superuser", False)),
        permissions=frozenset(getattr(scope.get("auth"), "scopes", ())),
    )


class IssuedToken(TypedDict):
    """The result of `mwt_obtain`; `expires_in` in seconds."""

    token: str
    expires_in: int


def mwt_obtain_function(keys: Keys, *, ttl: int, audience: str, clock: Clock) -> Callable[..., Any]:
    """The built-in function that gives a signed-in session a token."""

    @client(auth=True, name="mwt_obtain")
    async def mwt_obtain(me: Identity) -> IssuedToken:
        if me.by_token:
            raise Forbidden("A token cannot be exchanged for another token. Use the session.")
        try:
            token = issue_mwt(me, keys, ttl=ttl, audience=audience, now=clock())
        except TokenError as error:  # its claims are too long: no repetition of the call helps, and the session does
            logger.error("No token was issued: %s", error)  # noqa: TRY400  # a traceback would show the claims
            raise Forbidden("This session has too many claims for a token. Use the session.") from None
        return IssuedToken(token=token, expires_in=ttl)

    return mwt_obtain


def plain_etag(scope: Scope) -> tuple[bool, bytes | None]:
    """Whether a request has no token and `If-None-Match` once at most, and the value of that."""
    etag = None
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            if etag is not None:
                return False, None
            etag = value
        elif name in TOKEN_HEADERS:
            return False, None
    return True, etag


def needs_session(policy: CachePolicy, functions: Iterable[Function]) -> bool:
    """Whether an answer can depend on the caller, so that the host's session has to be read.

    Reading a session costs, and Starlette's `SessionMiddleware` adds a `Vary` to each response for which it was read.
    """
    return not policy.for_everyone or any(function.takes_request for function in functions)


async def _ask_host(authenticate: Authenticate, scope: Scope, receive: Receive) -> Identity:
    """The identity that the host's function returns. Raises `DeclarationError` if that is no `Identity` or None."""
    found = authenticate(Request(scope, receive))
    identity = await found if inspect.isawaitable(found) else found
    if identity is None:
        return ANONYMOUS
    if not isinstance(identity, Identity):
        raise DeclarationError(f"authenticate= returned a {type(identity).__name__}, not an Identity or None.")
    return identity


async def _by_token_alone(authenticate: Authenticate, scope: Scope, receive: Receive, *, has_cookie: bool) -> Identity:
    """The identity that the host's function finds by the Bearer token alone; `ANONYMOUS` if the token tells nothing.

    The function is asked twice: about the request without its cookies, and about it without the token as well. Two
    equal answers show that the token made no difference.
    """
    with_token = await _ask_host(authenticate, _without(scope, _COOKIE) if has_cookie else scope, receive)
    if with_token == ANONYMOUS:
        return with_token
    try:
        without_token = await _ask_host(authenticate, _without(scope, _COOKIE_OR_TOKEN, state={}), receive)
    except Exception:  # noqa: BLE001  # the host's function may fail in any way where the token is missing
        return with_token
    return ANONYMOUS if with_token == without_token else with_token


def _without(scope: Scope, names: frozenset[bytes], **more: object) -> Scope:
    """The scope without these headers, and without the user that middleware may have found by them."""
    signed_out = {"session": {}, "user": UnauthenticatedUser(), "auth": AuthCredentials(), **more}
    return {
        **scope,
        **{name: value for name, value in signed_out.items() if name in scope},
        "headers": [(name, value) for name, value in scope["headers"] if name not in names],
    }


def _never_in_scope(scope: Scope) -> None:
    """The `in_scope` of an `Authenticator` with a function of the host's."""


def _bearer_tokens(headers: SentHeaders) -> list[str]:
    values = headers.all(b"authorization")
    schemes = [value.partition(" ") for value in values]
    return [token.strip() for scheme, _, token in schemes if scheme.lower() == "bearer"]


def _user_id(user: object) -> Any:
    for attribute in _ID_ATTRIBUTES:
        try:
            user_id = getattr(user, attribute, None)
        except NotImplementedError:  # by `identity` of Starlette's BaseUser
            continue
        if user_id is not None:
            return user_id
    raise DeclarationError(
        f"The host's user is a {type(user).__name__}, which has none of {', '.join(_ID_ATTRIBUTES)}. "
        "Give the app authenticate=, a function from the request to an Identity."
    )
