"""Errors in the specification's words: by field or resource, a list of what is wrong."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from mizan_core import CallError


def refused(status: int, resource: str, reason: str) -> HTTPException:
    return HTTPException(status, {resource: [reason]})


def missing(resource: str) -> HTTPException:
    return refused(404, resource, "not found")


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"errors": _listed(error.detail)}, error.status_code, error.headers)


async def _called(_: Request, error: Exception) -> JSONResponse:
    """An error of Mizan's own, such as of a visitor who asks for a feed. An `HTTPException` arrives as it was."""
    assert isinstance(error, CallError)
    return JSONResponse({"errors": _listed(error.detail)}, error.status)


def _listed(detail: object) -> object:
    return detail if isinstance(detail, dict) else {"body": [str(detail)]}


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors: dict[str, list[str]] = {}
    for one in error.errors():
        blank = one["type"] in {"string_too_short", "missing"}
        errors.setdefault(str(one["loc"][-1]), []).append("can't be blank" if blank else one["msg"])
    return JSONResponse({"errors": errors}, 422)


def add_to(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(CallError, _called)
    app.add_exception_handler(RequestValidationError, _invalid)
