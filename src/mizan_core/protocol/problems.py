"""Problem documents, the body of every error (protocol, section 10; RFC 9457)."""

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
    """An error as `application/problem+json` (RFC 9457)."""

    status: int
    body: bytes


def problem(error: CallError) -> Problem:
    """The problem document of an error."""
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
    except (TypeError, ValueError):  # a function may raise a detail that is no UTF-8, or errors that are no JSON
        body = json.dumps(document, default=str).encode()
    return Problem(error.status, body)


# Errors that a client may want to catch by their class.
_BY_CODE = {
    known.CODE: known
    for known in (
        *(BadRequest, Unauthorized, Forbidden, NotFound, Conflict),
        *(UnsupportedMediaType, InvalidInput, InternalError, Unavailable),
    )
}


def read_problem(status: int, body: bytes) -> CallError:
    """The error of an answer. Its code is `http_error` if the body is no problem document of this protocol."""
    try:
        document = parse_json(body)
    except BadRequest:
        document = None
    if not 400 <= status <= 599 or not isinstance(document, dict) or not isinstance(document.get("code"), str):
        told = f"The server answered {status} with something else than Mizan says."
        return CallError(told, status=status if 400 <= status <= 599 else 502, code="http_error")
    code, detail = document["code"], document.get("detail", "")
    if not isinstance(detail, str):  # the detail of a FastAPI exception may be any JSON
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
