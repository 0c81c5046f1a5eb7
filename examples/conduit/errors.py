"""Errors in the specification's words: by field or resource, a list of what is wrong."""

import logging

import fastapi
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

logger = logging.getLogger(__name__)


def refused(status: int, resource: str, reason: str) -> fastapi.HTTPException:
    return fastapi.HTTPException(status, {resource: [reason]})


def missing(resource: str) -> fastapi.HTTPException:
    return refused(404, resource, "not found")


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"errors": _listed(error.detail)}, error.status_code, error.headers)


async def _undone(_: Request, error: Exception) -> JSONResponse:
    """The database chose this transaction to end a deadlock, or is away. Nothing was written."""
    logger.warning("A request was given up: %s", error)
    return JSONResponse({"errors": {"database": ["is busy, try again"]}}, 503)


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
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OperationalError, _undone)
