"""The answers of an engine, to calls and for bundles and pages, with the caching headers of each."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

from ..cache.bundle_cache import DECLINED
from ..cache.inspection import Inspected as Inspected  # noqa: PLC0414  # proof/ and cli/ have it from here
from ..cache.inspection import TagState as TagState  # noqa: PLC0414  # proof/ and cli/ have it from here
from ..cache.outcomes import Fetched, Fresh, Hit
from ..errors import CallError
from ..graph.model import Function
from ..protocol.bodies import call_body, encode_json, refreshing_body
from ..protocol.cache_headers import (
    CACHE_STATUS_OF_A_HIT,
    CACHE_STATUS_OF_A_MISS,
    NO_STORE,
    PRIVATE_NO_STORE,
    cache_control,
    cache_status_of_a_bypass,
    etag_of,
    page_cache_control,
)
from ..protocol.cache_policy import CachePolicy, Per, Seconds
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.invalidation import Invalidation
from .failures import ErrorMapping, blame

_bypass = cache(cache_status_of_a_bypass)  # the reasons are few
_DECLINED = _bypass(DECLINED)

Status: TypeAlias = Literal["hit", "miss", "bypass"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A bundle that a call made stale, as it is now: sent along to a client that shows it. `params` are JSON values."""

    context: str
    params: Mapping[str, object]
    data: bytes


@dataclass(slots=True)
class Answer:
    """A call that ended well: the function's result, its JSON, and the invalidations.

    `result_json` is empty for a view, whose `result` is the response itself. `refreshed` is None unless the caller
    named the bundles that it shows. `told`: the invalidations as the body tells the caller (`told_to`), if they differ.
    """

    result: object
    result_json: bytes
    invalidations: tuple[Invalidation, ...] = ()
    refreshed: tuple[Refreshed, ...] | None = None
    told: tuple[Invalidation, ...] | None = None

    @property
    def body(self) -> bytes:
        """The JSON of the answer to a call: result, invalidations, refreshed bundles (protocol, section 3)."""
        if not self.result_json:
            return b""
        told = self.invalidations if self.told is None else self.told
        if self.refreshed is None:
            return call_body(self.result_json, told)
        bundles = [(one.context, one.params, one.data) for one in self.refreshed]
        return refreshing_body(self.result_json, told, bundles)


@dataclass(slots=True)
class Failure:
    """A call that ended in an error, with the invalidations that hold all the same. `function`: the one that failed."""

    error: Exception
    invalidations: tuple[Invalidation, ...] = ()
    function: str | None = None
    told: tuple[Invalidation, ...] | None = None  # as in an `Answer`


# The end of a call.
Ended: TypeAlias = Answer | Failure
ENDED = (Answer, Failure)


async def ended_of(begun: Ended | Awaitable[Ended]) -> Ended:
    """The end of a call that has begun."""
    return begun if isinstance(begun, ENDED) else await begun


@dataclass(slots=True)
class Bundle:
    """A bundle's JSON, with its caching headers.

    `policy`: its `Cache-Control`. `cache_status`: its `Cache-Status`. `canonical_query`: the only query under which an
    edge may keep it, or None. `varies`: it depends on its caller. `remaining`: the seconds until a hit expires.
    """

    body: bytes
    etag: str
    status: Status
    policy: str
    cache_status: str
    canonical_query: str | None
    varies: bool
    remaining: float | None = None

    @property
    def is_personal(self) -> bool:
        """Whether a reader looked at its caller, although the declaration shares the answer."""
        return self.policy == PRIVATE_NO_STORE

    @property
    def declined(self) -> bool:
        """Whether a reader said that no cache may keep it (`no_store`)."""
        return self.cache_status == _DECLINED


class StoredBundle(Protocol):
    """A stored entry as the layers above the cache see it. `written`: a place for the response that they prepare."""

    @property
    def body(self) -> bytes: ...
    @property
    def etag(self) -> str: ...
    @property
    def expires(self) -> float: ...

    written: Any


@dataclass(frozen=True, slots=True)
class Page:
    """The answer of a reader's own route.

    `result`: the JSON of what the function returned; a `KeptPage`; or the response itself, which is not kept.
    `keepable`: caches may keep it as the policy says, since nothing was purged or held while it was made. `personal`:
    it depends on its caller, although its declaration shares it with other callers. `path`: its canonical path.
    `etag`: empty for a response that is not kept. `remaining`: the seconds until a hit expires.
    """

    result: object
    policy: CachePolicy
    keepable: bool
    personal: bool
    path: str
    etag: str = ""
    cache_status: str = ""
    remaining: float | None = None

    def cache_control(
        self,
        status: int,
        *,
        canonical_url: bool,
        own: str | None = None,
        sets_cookie: bool = False,
        varies: bool = False,
    ) -> str:
        """The `Cache-Control` of a response with this page; the arguments as in `page_cache_control`."""
        return page_cache_control(
            self.policy,
            status,
            keepable=self.keepable,
            personal=self.personal,
            canonical_url=canonical_url,
            own=own,
            sets_cookie=sets_cookie,
            varies=varies,
            remaining=self.remaining,
        )


@dataclass(frozen=True, slots=True)
class Health:
    """The state of an engine.

    `cache`: "up", "down", or "settling" after an outage. `owed_purges`: mutations whose purge has not succeeded yet.
    `running`: mutations and purges under way. `owed_to_edges`: mutations whose scopes some edge has yet to be told.
    `failing_edges`: the names of the edges that could not be told at the last attempt, or within a mutation's second.
    """

    cache: str
    owed_purges: int
    running: int
    owed_to_edges: int = 0
    failing_edges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TagOfScope:
    """The tag that an invalidation purges, and its state now."""

    invalidation: Invalidation
    name: str
    state: TagState


def serialised(function: Function, result: object) -> tuple[Any, Any]:
    """The validated result, and the same as plain JSON types. Raises Pydantic's error for a misfit."""
    validated = function.validate_result(result, from_attributes=True)
    return validated, function.dump_result(validated, mode="json", by_alias=True)


def plain_result(function: Function, result: object) -> Any:
    """The result of one reader of a bundle, as plain JSON types. `serialised`, written out: every miss passes here."""
    validated = function.validate_result(result, from_attributes=True)
    return function.dump_result(validated, mode="json", by_alias=True)


def answered(function: Function, result: object) -> tuple[Answer, Any]:
    """The answer to a call, and the validated result. Raises Pydantic's error for a misfit."""
    if function.is_view:
        return Answer(result, b""), result
    validated, plain = serialised(function, result)
    return Answer(result, encode_json(plain)), validated


def failure_of(errors: ErrorMapping, function: str, error: Exception) -> Failure:
    """The failure of a function, with its error as callers are told it. `blame` marks an unexpected error."""
    told = errors.told(error)
    if not isinstance(told, CallError):
        blame(told, function)
    return Failure(told, function=function)


def hit_of(stored: StoredBundle, remaining: float, policy: CachePolicy, canonical_query: str | None) -> Bundle:
    """The answer of a stored entry that is good for `remaining` seconds."""
    return as_bundle(Hit(stored.body, stored.etag, remaining), policy, canonical_query)


def passing(body: bytes, detail: str, policy: CachePolicy, canonical_query: str | None) -> Bundle:
    """The answer of a bundle that was not looked up. `as_bundle`, written out: each answer with cache=False passes."""
    varies = not policy.for_everyone
    return Bundle(body, etag_of(body), "bypass", NO_STORE, _bypass(detail), canonical_query, varies)


def as_bundle(
    fetched: Fetched, policy: CachePolicy, canonical_query: str | None, identity: Identity = ANONYMOUS
) -> Bundle:
    """The answer of a fetched bundle for this identity, with its headers."""
    status: Status
    remaining = None
    if isinstance(fetched, Fresh):
        status, control = "miss", cache_control(policy)
        told = CACHE_STATUS_OF_A_MISS[fetched.stale, fetched.stored, fetched.joined]
    elif isinstance(fetched, Hit):
        remaining = fetched.remaining
        left = remaining if isinstance(policy.lifetime, Seconds) else None
        status, control, told = "hit", cache_control(policy, left), CACHE_STATUS_OF_A_HIT
    else:
        is_own = policy.per is Per.USER and not identity.is_authenticated  # as a visitor's is that shows the visitor
        status, control = "bypass", PRIVATE_NO_STORE if fetched.personal and not is_own else NO_STORE
        told = _bypass(fetched.detail)
    return Bundle(
        fetched.body, fetched.etag, status, control, told, canonical_query, not policy.for_everyone, remaining
    )
