"""`HTTPException` of Starlette and FastAPI, raised by a function, a guard or `authenticate=`, as a `CallError`.

Its status, detail and headers are sent as they are.
"""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from mizan_core import errors
from mizan_core.errors import CallError

# The codes of the protocol by status. Any other status has its phrase for a code, such as `too_many_requests`.
_KNOWN: list[Any] = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CallError)]
_CODES: dict[int, str] = {one.STATUS: one.CODE for one in _KNOWN if hasattr(one, "CODE")}


class HttpError(CallError, HTTPException):
    """A `CallError` that is an `HTTPException` too, so that code of the host that calls the engine may catch either.

    `detail` may be any JSON value, as FastAPI allows.
    """

    def __init__(self, error: HTTPException) -> None:
        Exception.__init__(self, error.detail)
        self.status = self.status_code = error.status_code
        self.code = _code_of(error.status_code)
        self.detail: Any = error.detail
        self.headers = None if error.headers is None else dict(error.headers)


def as_call_error(error: HTTPException) -> HttpError | None:
    """The exception as a `CallError`; None if its status cannot be a response's, which is a defect of the host."""
    return HttpError(error) if 200 <= error.status_code <= 599 else None


def _code_of(status: int) -> str:
    """The stable code of a status (protocol, section 10)."""
    if status in _CODES:
        return _CODES[status]
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return f"http_{status}"
