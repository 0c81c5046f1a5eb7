"""Every error of Mizan.

    MizanError
    ├── DeclarationError      the developer's: one function, secret or setting
    ├── GraphError            the developer's: the functions taken together
    ├── InvalidValue          a value that has no canonical text (also a ValueError)
    ├── HeaderError           a text that is not an X-Mizan-Invalidate header
    ├── TokenError            a token that is refused
    ├── CacheUnavailable      the cache failed or did not answer in time; raised by purges under "refuse"
    └── CallError             for the caller; functions may raise any of them
        ├── BadRequest            400
        ├── Unauthorized          401
        ├── Forbidden             403
        ├── NotFound              404
        ├── MethodNotAllowed      405
        ├── Conflict              409
        ├── PayloadTooLarge       413
        ├── UnsupportedMediaType  415
        ├── InvalidInput          422
        ├── InternalError         500
        ├── Unavailable           503
        └── TimedOut              504

The text of a CallError goes to the client unchanged (protocol, section 10); the text of any other error never does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar


class MizanError(Exception):
    """The base class. Every error survives `pickle` and `copy`, even if a subclass has an `__init__` of its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own `__reduce__` calls the class with `args`, which a subclass's `__init__` may not take.
        return _remade, (type(self), self.args, self.__getstate__())


class DeclarationError(MizanError):
    """A function, secret or setting was refused; the text names it, the reason and the remedy."""


class GraphError(MizanError):
    """The functions do not fit together; `defects` has one sentence for each reason."""

    def __init__(self, defects: Iterable[str]) -> None:
        self.defects = tuple(defects)
        lines = "".join(f"\n  - {defect}" for defect in self.defects)
        count = len(self.defects)
        super().__init__(f"{count} {'defect' if count == 1 else 'defects'} in the graph:{lines}")


class InvalidValue(MizanError, ValueError):
    """The value has no canonical text (protocol, section 2)."""


class HeaderError(MizanError, ValueError):
    """The text does not follow the grammar of protocol section 5; the message names the offending piece."""


class TokenError(MizanError):
    """The token is refused. The message is for the log; a client learns only that it was."""


class CacheUnavailable(MizanError):
    """The cache failed, or did not answer within its deadline. `__cause__` is the failure."""


class CallError(MizanError):
    """An error for the caller: an HTTP status, a stable `code`, and a `detail` to read.

    A function that raises one below 500 refuses: it has made nothing stale but what its body named before.
    `invalidations`: what the failed call made stale, set by the engine. `headers`: sent with the answer.
    """

    invalidations: Sequence[Any] = ()
    headers: Mapping[str, str] | None = None

    def __init__(self, detail: str, *, status: int, code: str) -> None:
        if not 400 <= status <= 599:
            raise DeclarationError(f"CallError takes a status from 400 to 599, not {status}.")
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code


class _KnownCallError(CallError):
    STATUS: ClassVar[int]
    CODE: ClassVar[str]
    DETAIL: ClassVar[str]

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(self.DETAIL if detail is None else detail, status=self.STATUS, code=self.CODE)


class BadRequest(_KnownCallError):
    """400: the request is malformed."""

    STATUS, CODE, DETAIL = 400, "bad_request", "The request cannot be understood."


class Unauthorized(_KnownCallError):
    """401: an identity is required, or the token that was sent is not valid."""

    STATUS, CODE, DETAIL = 401, "unauthorized", "This needs an identity: sign in or send a valid token."


class Forbidden(_KnownCallError):
    """403: the identity is known and may not do this."""

    STATUS, CODE, DETAIL = 403, "forbidden", "This identity may not do that."


class NotFound(_KnownCallError):
    """404: the function, the context or the thing that is asked for does not exist."""

    STATUS, CODE, DETAIL = 404, "not_found", "There is nothing here."


class MethodNotAllowed(_KnownCallError):
    """405: another method is needed; `allow` lists those that work."""

    STATUS, CODE, DETAIL = 405, "method_not_allowed", "This method does not work here."

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__(f"This method does not work here. Use {' or '.join(allow)}.")
        self.allow = tuple(allow)


class Conflict(_KnownCallError):
    """409: the request does not fit the present state."""

    STATUS, CODE, DETAIL = 409, "conflict", "The request does not fit the present state."


class PayloadTooLarge(_KnownCallError):
    """413: the body is over the limit."""

    STATUS, CODE, DETAIL = 413, "payload_too_large", "The body is too large."

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is over the limit of {limit} bytes.")


class UnsupportedMediaType(_KnownCallError):
    """415: the body is neither JSON nor a form."""

    STATUS, CODE = 415, "unsupported_media_type"
    DETAIL = "The body has to be JSON or a form, and its Content-Type has to say which."


class InvalidInput(_KnownCallError):
    """422: arguments or parameters are invalid; `errors` has `loc`, `msg` and `type` for each."""

    STATUS, CODE, DETAIL = 422, "invalid_input", "The input does not fit what is asked for."

    def __init__(self, detail: str | None = None, errors: Iterable[Mapping[str, object]] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class InternalError(_KnownCallError):
    """500: an unexpected error. Its cause is logged and never sent."""

    STATUS, CODE, DETAIL = 500, "internal_error", "Something went wrong on the server."


class Unavailable(_KnownCallError):
    """503: the cache cannot be reached and the deployment refuses to risk stale data, or all threads are busy."""

    STATUS, CODE, DETAIL = 503, "unavailable", "The cache cannot be reached. Try again shortly."


class TimedOut(_KnownCallError):
    """504: the readers took too long."""

    STATUS, CODE, DETAIL = 504, "timed_out", "This took too long to compute. Try again shortly."


def _remade(kind: type[MizanError], args: tuple[object, ...], state: object) -> MizanError:
    """The error that was pickled or copied. `state` is the result of `object.__getstate__`."""
    error = kind.__new__(kind, *args)
    for values in state if isinstance(state, tuple) else (state,):
        for name, value in (values or {}).items():
            object.__setattr__(error, name, value)
    return error
