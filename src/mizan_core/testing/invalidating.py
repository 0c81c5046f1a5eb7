"""An assertion on what a call made stale."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..engine.failures import invalidations_of
from ..protocol.bodies import read_invalidations
from ..protocol.headers import decode_header
from ..protocol.invalidation import Invalidation


def assert_invalidates(answer: object, *expected: Invalidation) -> None:
    """Assert that a call made exactly these stale: `assert_invalidates(answer, Orders.of(customer_id=7))`.

    `answer`: what `engine.call` or `run` answered, the error that it raised, an HTTP response with `headers` (httpx,
    Starlette, requests), or the JSON of a call's body. Raises `AssertionError` with what is missing and what is more,
    and `TypeError` for anything else.
    """
    told = list(_told(answer))
    missing = [one for one in expected if one not in told]
    more = [one for one in told if one not in expected]
    if missing or more:
        lines = [*(f"not invalidated: {_shown(one)}" for one in missing), *(f"also: {_shown(one)}" for one in more)]
        raise AssertionError("\n".join(lines))


def _told(answer: Any) -> Iterable[Invalidation]:
    if isinstance(answer, BaseException):
        return invalidations_of(answer)
    if isinstance(answer, Mapping):
        return read_invalidations(answer.get("invalidate", ()))
    headers = getattr(answer, "headers", None)
    if headers is not None:
        return decode_header(headers.get("x-mizan-invalidate", ""))
    if not hasattr(answer, "invalidations"):
        raise TypeError(f"A {type(answer).__name__} says nothing of invalidations; pass an answer or a response.")
    told: Iterable[Invalidation] = answer.invalidations
    return told


def _shown(one: Invalidation) -> str:
    name = one.context if one.function is None else f"{one.context}/{one.function}"
    params = ", ".join(f"{key}={value!r}" for key, value in one.params.items())
    return f"{name}({params})" if params else f"{name} (whole)"
