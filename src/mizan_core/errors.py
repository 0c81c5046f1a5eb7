"""Every error of Mizan.

    MizanError
    ├── DeclarationError      the developer's: a function, a secret or a setting, refused where it stands
    ├── GraphError            the developer's: every defect of the functions taken together
    ├── InvalidValue          a value that has no canonical text (also a ValueError)
    ├── HeaderError           a text that is not an X-Mizan-Invalidate header
    ├── TokenError            a token that is not to be believed
    ├── CacheUnavailable      the cache failed or took too long; seen where "refuse" insists on a purge
    └── CallError             the caller's; a function may raise any of them
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

What a CallError says goes to the client as it stands (protocol, section 10). Nothing else ever does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar


class MizanError(Exception):
    """The root of them all. Every error survives `pickle` and `copy`, a subclass with its own `__init__` too."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with `args`, which is seldom what its `__init__` takes.
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
    """The cache failed, or did not answer within its deadline. What failed is its cause."""


class CallError(MizanError):
    """An error that the caller is told: an HTTP status, a stable `code`, and a `detail` to read.

    Raised by a function, one below 500 is a refusal: nothing happened but what the body had named. `invalidations` is
    what the call made stale that an engine raised it for. `headers` go along with the answer.
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
    """400: the request cannot be understood."""

    STATUS, CODE, DETAIL = 400, "bad_request", "The request cannot be understood."


class Unauthorized(_KnownCallError):
    """401: an identity is required, or the token that was sent is not valid."""

    STATUS, CODE, DETAIL = 401, "unauthorized", "This needs an identity: sign in or send a valid token."


class Forbidden(_KnownCallError):
    """403: the identity is known and may not do this."""

    STATUS, CODE, DETAIL = 403, "forbidden", "This identity may not do that."


class NotFound(_KnownCallError):
    """404: there is no such thing."""

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
    """422: arguments or parameters do not fit; `errors` has `loc`, `msg` and `type` for each."""

    STATUS, CODE, DETAIL = 422, "invalid_input", "The input does not fit what is asked for."

    def __init__(self, detail: str | None = None, errors: Iterable[Mapping[str, object]] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class InternalError(_KnownCallError):
    """500: something unexpected. It says nothing of what: that is for the log."""

    STATUS, CODE, DETAIL = 500, "internal_error", "Something went wrong on the server."


class Unavailable(_KnownCallError):
    """503: the cache cannot be reached, and the deployment refuses to risk stale data; or all threads are taken."""

    STATUS, CODE, DETAIL = 503, "unavailable", "The cache cannot be reached. Try again shortly."


class TimedOut(_KnownCallError):
    """504: the readers did not answer in time."""

    STATUS, CODE, DETAIL = 504, "timed_out", "This took too long to compute. Try again shortly."


def _remade(kind: type[MizanError], args: tuple[object, ...], state: object) -> MizanError:
    """An error as it was when it was pickled or copied; `state` is what `object.__getstate__` gives."""
    error = kind.__new__(kind, *args)
    for values in state if isinstance(state, tuple) else (state,):
        for name, value in (values or {}).items():
            object.__setattr__(error, name, value)
    return error
