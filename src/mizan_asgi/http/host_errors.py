"""`HTTPException` of Starlette and FastAPI, raised by a function, a guard or `authenticate=`: told as it stands."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from mizan_core import errors
from mizan_core.errors import CallError

# The codes of this protocol; another status has its phrase for a code, such as `too_many_requests`.
_KNOWN: list[Any] = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CallError)]
_CODES: dict[int, str] = {one.STATUS: one.CODE for one in _KNOWN if hasattr(one, "CODE")}


class HttpError(CallError, HTTPException):
    """An `HTTPException` as a `CallError`: an engine's caller, such as a host's endpoint, may catch it as either.

    `detail` may be any JSON, as FastAPI allows.
    """

    def __init__(self, error: HTTPException) -> None:
        Exception.__init__(self, error.detail)
        self.status = self.status_code = error.status_code
        self.code = code_of(error.status_code)
        self.detail: Any = error.detail
        self.headers = None if error.headers is None else dict(error.headers)


def told(error: HTTPException) -> HttpError | None:
    """The error as it is told. None where its status is none that an answer ends with: that is a defect."""
    return HttpError(error) if 200 <= error.status_code <= 599 else None


def code_of(status: int) -> str:
    """The stable code of a status (protocol, section 10)."""
    if status in _CODES:
        return _CODES[status]
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return f"http_{status}"
