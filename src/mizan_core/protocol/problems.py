"""Problem documents: the one error body (protocol, section 10; RFC 9457)."""

import json
from dataclasses import dataclass
from http import HTTPStatus

from ..errors import (
    BadRequest,
    CallError,
    Conflict,
    Forbidden,
    InternalError,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from .bodies import encode_json, parse_json
from .values import canonical_json


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as RFC 9457 has it: `application/problem+json`."""

    status: int
    body: bytes


def problem(error: CallError) -> Problem:
    """The only body an error ever has (protocol, section 10)."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": _title(error.status),
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
    }
    if isinstance(error, InvalidInput) and error.errors:
        document["errors"] = list(error.errors)
    try:
        body = encode_json(document)
    except (TypeError, ValueError):  # a detail or a message that a function made up and that has no UTF-8
        body = json.dumps(document, default=str).encode()
    return Problem(error.status, body)


# What a client may want to catch by its class.
_BY_CODE = {
    known.CODE: known
    for known in (
        *(BadRequest, Unauthorized, Forbidden, NotFound, Conflict),
        *(UnsupportedMediaType, InvalidInput, InternalError, Unavailable),
    )
}


def read_problem(status: int, body: bytes) -> CallError:
    """The error that an answer tells of. Its code is `http_error` where it is no problem document of this protocol."""
    try:
        document = parse_json(body)
    except BadRequest:
        document = None
    if not 400 <= status <= 599 or not isinstance(document, dict) or not isinstance(document.get("code"), str):
        told = f"The server answered {status} with something else than Mizan says."
        return CallError(told, status=status if 400 <= status <= 599 else 502, code="http_error")
    code, detail = document["code"], document.get("detail", "")
    if not isinstance(detail, str):  # a FastAPI exception may have any JSON here
        detail = canonical_json(detail)
    known = _BY_CODE.get(code)
    if known is None or status != known.STATUS:
        return CallError(detail, status=status, code=code)
    if known is InvalidInput:
        errors = document.get("errors")
        return InvalidInput(detail, errors if isinstance(errors, list) else ())
    return known(detail)


def no_such_function() -> NotFound:
    return NotFound("There is no function of this name.")


def no_such_context() -> NotFound:
    return NotFound("There is no context of this name.")


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
