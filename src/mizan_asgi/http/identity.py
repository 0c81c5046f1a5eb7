"""Who asks, and from where: tokens, the host's session, and the cross-site check (protocol, section 11)."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.authentication import AuthCredentials, UnauthenticatedUser
from starlette.requests import Request
from starlette.types import Receive, Scope
from typing_extensions import TypedDict

from mizan_core.errors import DeclarationError, Forbidden, TokenError, Unauthorized
from mizan_core.graph.declare import client
from mizan_core.protocol.identity import ANONYMOUS, Identity
from mizan_core.protocol.tokens import Keys, issue_mwt, names_key, verify_mwt

from .sent_headers import SentHeaders

logger = logging.getLogger("mizan")

Clock: TypeAlias = Callable[[], float]
Authenticate: TypeAlias = Callable[[Request], Identity | Awaitable[Identity | None] | None]

# Where users of common frameworks keep their id, the field's own term first.
_ID_ATTRIBUTES = ("identity", "id", "pk", "user_id", "username")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `by_header`: a token in a header says so, which no other site can make a browser send."""

    identity: Identity
    by_header: bool


TOKEN_HEADERS = frozenset({b"x-mizan-token", b"authorization"})
_COOKIE = frozenset({b"cookie"})
_COOKIE_OR_TOKEN = _COOKIE | {b"authorization"}

_NOBODY = Caller(ANONYMOUS, by_header=False)


class Authenticator:
    """Finds out who asks: `X-Mizan-Token`, then `Authorization: Bearer`, then the session that the host established.

    A Bearer token that names none of our keys is the host's, which is asked whom it names.
    """

    def __init__(self, keys: Keys | None, *, audience: str, authenticate: Authenticate | None, clock: Clock) -> None:
        self._keys = keys
        self._audience = audience
        self._authenticate = authenticate
        self._clock = clock
        # Who it is by the host's session, where the scope shows that; None where `authenticate` has to be asked.
        self.in_scope: Callable[[Scope], Identity | None] = host_identity if authenticate is None else _unknown

    async def identify(
        self, headers: SentHeaders, scope: Scope, receive: Receive, *, ask_session: bool = True
    ) -> Caller:
        """Raises `Unauthorized` for a token that is present and not valid: there is no falling back."""
        if not headers.none_of(TOKEN_HEADERS):
            if tokens := headers.all(b"x-mizan-token"):
                return Caller(self._verified(tokens), by_header=True)
            if bearers := _bearer_tokens(headers):
                return await self._by_bearer(bearers, headers, scope, receive)
        if not ask_session:
            return _NOBODY
        return Caller(await self.session(scope, receive), by_header=False)

    async def session(self, scope: Scope, receive: Receive) -> Identity:
        """Who it is by the host's session."""
        if self._authenticate is None:
            return host_identity(scope)
        return await _asked(self._authenticate, scope, receive)

    async def _by_bearer(self, tokens: list[str], headers: SentHeaders, scope: Scope, receive: Receive) -> Caller:
        """Whom `Authorization: Bearer` names: by one of our tokens, or by the host's word. Raises `Unauthorized`.

        A session in a cookie is not asked: the caller said who they are.
        """
        if len(tokens) > 1 or (self._keys is not None and names_key(tokens[0], self._keys)):
            return Caller(self._verified(tokens), by_header=True)
        has_cookie, doubtful = not headers.none_of(_COOKIE), False
        if self._authenticate is None:
            # A middleware has found the user, and does not tell by what: a cookie would do as well.
            identity = ANONYMOUS if has_cookie else host_identity(scope)
            doubtful = has_cookie and "user" in scope
        else:
            identity = await _by_token_alone(self._authenticate, scope, receive, has_cookie=has_cookie)
        if identity == ANONYMOUS:
            if self._keys is None or doubtful:
                logger.warning(
                    "A Bearer token was sent that nobody knows. Give Mizan authenticate=, a function that finds its "
                    "user from the Authorization header alone, if it is the host's, and mwt_keys= if it is Mizan's."
                )
            raise Unauthorized("The token is not valid.")
        # No site can make a browser send the header, but what the host reads beside a cookie is the host's secret.
        return Caller(identity, by_header=not has_cookie)

    def _verified(self, tokens: list[str]) -> Identity:
        if self._keys is None:
            logger.warning("A token was sent, and no mwt_keys are configured to verify it.")
            raise Unauthorized("Tokens are not accepted here.")
        if len(tokens) > 1:
            raise Unauthorized("There is more than one token.")
        try:
            return verify_mwt(tokens[0], self._keys, audience=self._audience, now=self._clock())
        except TokenError as error:
            logger.debug("A token was refused: %s.", error)
            raise Unauthorized("The token is not valid.") from None


async def _asked(authenticate: Authenticate, scope: Scope, receive: Receive) -> Identity:
    """Who it is by the host's word. Raises `DeclarationError` where that is no `Identity`."""
    found = authenticate(Request(scope, receive))
    identity = await found if inspect.isawaitable(found) else found
    if identity is None:
        return ANONYMOUS
    if not isinstance(identity, Identity):
        raise DeclarationError(f"authenticate= returned a {type(identity).__name__}, not an Identity or None.")
    return identity


async def _by_token_alone(authenticate: Authenticate, scope: Scope, receive: Receive, *, has_cookie: bool) -> Identity:
    """Who it is by the host's word about the token, and by nothing else; `ANONYMOUS` where the token tells nothing.

    The host is asked about the request without its cookies, and about one that has not the token either. Where it says
    the same of both, it did not go by the token.
    """
    told = await _asked(authenticate, _without(scope, _COOKIE) if has_cookie else scope, receive)
    if told == ANONYMOUS:
        return told
    try:
        bare = await _asked(authenticate, _without(scope, _COOKIE_OR_TOKEN, state={}), receive)
    except Exception:  # noqa: BLE001  # what it looks for is not there, which is why it knows nobody
        return told
    return ANONYMOUS if told == bare else told


def _without(scope: Scope, names: frozenset[bytes], **more: object) -> Scope:
    """The scope without these headers, and without whom middlewares may have found by them."""
    signed_out = {"session": {}, "user": UnauthenticatedUser(), "auth": AuthCredentials(), **more}
    return {
        **scope,
        **{name: value for name, value in signed_out.items() if name in scope},
        "headers": [(name, value) for name, value in scope["headers"] if name not in names],
    }


def _unknown(scope: Scope) -> None:
    """The scope alone does not tell."""


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
    """What `mwt_obtain` answers; `expires_in` in seconds."""

    token: str
    expires_in: int


def mwt_obtain_function(keys: Keys, *, ttl: int, audience: str, clock: Clock) -> Callable[..., Any]:
    """The built-in function that gives a signed-in session a token."""

    @client(auth=True, name="mwt_obtain")
    async def mwt_obtain(me: Identity) -> IssuedToken:
        if me.by_token:
            raise Forbidden("A token does not buy another token. Use the session.")
        token = issue_mwt(me, keys, ttl=ttl, audience=audience, now=clock())
        return IssuedToken(token=token, expires_in=ttl)

    return mwt_obtain


def _bearer_tokens(headers: SentHeaders) -> list[str]:
    values = headers.all(b"authorization")
    schemes = [value.partition(" ") for value in values]
    return [token.strip() for scheme, _, token in schemes if scheme.lower() == "bearer"]


def _user_id(user: object) -> Any:
    for attribute in _ID_ATTRIBUTES:
        try:
            user_id = getattr(user, attribute, None)
        except NotImplementedError:  # as Starlette's BaseUser has it
            continue
        if user_id is not None:
            return user_id
    raise DeclarationError(
        f"The host's user is a {type(user).__name__}, which has none of {', '.join(_ID_ATTRIBUTES)}. "
        "Give the app authenticate=, a function from the request to an Identity."
    )
