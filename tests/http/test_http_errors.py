"""Exceptions of the host and of its libraries: their answers, and the outcome of a mutation that raised them."""

import asyncio
import pickle
import sqlite3
from collections.abc import Callable
from typing import Any

import fastapi
import httpx
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mizan_asgi import Mizan
from mizan_asgi.http.host_errors import HttpError
from mizan_core import CallError, Conflict, DeclarationError, NotFound, Unavailable, build, client, encode_header
from mizan_core import invalidations_of as carried_by
from tests.http.site import hosting, http, logged, refusal


@client(context="page")
async def page(number: int) -> int:
    return number


def failing(error: Exception | Callable[[], Any], **options: Any) -> list[Callable[..., Any]]:
    """Functions of every kind that raise this error."""

    def fail() -> Any:
        raise error if isinstance(error, Exception) else error()

    @client(affects="page", **options)
    async def mutate(number: int) -> None:
        fail()

    @client(affects="page")
    def mutate_in_thread(number: int) -> None:
        fail()

    @client
    async def act() -> None:
        fail()

    @client(context="reading")
    async def reading() -> None:
        fail()

    @client(affects="page", route="/view/{number}/")
    async def view(number: int) -> Response:
        fail()
        return Response()

    @client(context="reading", route="/page/")
    async def reading_page() -> Response:
        fail()
        return Response()

    return [page, mutate, mutate_in_thread, act, reading, view, reading_page]


async def answers(mizan: Mizan) -> list[httpx.Response]:
    async with http(hosting(mizan)) as web:
        return [
            await web.post("/api/mizan/call/mutate/", json={"number": 5}),
            await web.post("/api/mizan/call/mutate_in_thread/", json={"number": 5}),
            await web.post("/view/5/"),
            await web.post("/api/mizan/call/act/"),
            await web.post("/api/mizan/call/reading/"),
            await web.get("/api/mizan/ctx/reading/"),
            await web.get("/page/"),
        ]


def invalidated(answers: list[httpx.Response]) -> list[str | None]:
    """What the answers of the three mutations say."""
    assert not any("x-mizan-invalidate" in one.headers for one in answers[3:])
    return [one.headers.get("x-mizan-invalidate") for one in answers[:3]]


EXCEPTIONS = [HTTPException, fastapi.HTTPException]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", EXCEPTIONS)
async def test_an_http_exceptions_status_detail_and_headers_are_sent(kind: type[HTTPException]) -> None:
    error = kind(429, "Slow down.", {"Retry-After": "7"})
    found = await answers(Mizan(build(failing(error))))
    for one in found:
        assert refusal(one, 429, "too_many_requests")["detail"] == "Slow down."
        assert one.headers["retry-after"] == "7"
    assert invalidated(found) == [None] * 3


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "error",
    [
        HTTPException(503, "Later."),
        fastapi.HTTPException(503, "Later."),
        Unavailable("Later."),
        CallError("Later.", status=503, code="unavailable"),
        ExceptionGroup("one", [ExceptionGroup("and only", [HTTPException(503, "Later.")])]),
    ],
    ids=repr,
)
async def test_a_5xx_is_an_unknown_outcome_that_purges(error: Exception) -> None:
    found = await answers(Mizan(build(failing(error))))
    assert all(refusal(one, 503, "unavailable")["detail"] == "Later." for one in found)
    assert invalidated(found) == ["page;number=5"] * 3


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [Conflict("No."), HTTPException(409, "No.")])
async def test_an_exception_group_of_one_counts_as_itself(error: Exception) -> None:
    found = await answers(Mizan(build(failing(ExceptionGroup("one", [error])))))
    assert all(refusal(one, 409, "conflict")["detail"] == "No." for one in found)
    assert invalidated(found) == [None] * 3


@pytest.mark.asyncio
async def test_a_group_of_several_is_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    found = await answers(Mizan(build(failing(ExceptionGroup("two", [Conflict(), Conflict()])))))
    assert [one.status_code for one in found] == [500] * 7
    assert invalidated(found) == ["page;number=5"] * 3
    assert len(logged(caplog)) == 7


@pytest.mark.asyncio
@pytest.mark.parametrize("detail", [{"reason": ["a", 1]}, ["a"], None, ""])
async def test_fastapis_detail_may_be_any_json(detail: Any) -> None:
    error = fastapi.HTTPException(400, detail)
    async with http(hosting(Mizan(build(failing(error))))) as web:
        answer = await web.post("/api/mizan/call/act/")
    assert answer.json()["detail"] == error.detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "code"), [(402, "payment_required"), (422, "invalid_input"), (404, "not_found"), (499, "http_499")]
)
async def test_a_status_has_a_stable_code(status: int, code: str) -> None:
    async with http(hosting(Mizan(build(failing(HTTPException(status, "x")))))) as web:
        refusal(await web.post("/api/mizan/call/act/"), status, code)


@pytest.mark.asyncio
async def test_headers_that_break_ours_stay_behind() -> None:
    headers = {
        **dict.fromkeys(["Content-Length", "content-type", "Transfer-Encoding", "Cache-Control", "ETag"], "1"),
        **dict.fromkeys(["X-Mizan-Invalidate", "CDN-Cache-Control", "Acme-Cache-Control", "Surrogate-Key"], "page"),
        "bad name": "x",
        "X-Split": "a\r\nSet-Cookie: b",
        "X-Snowman": "\N{SNOWMAN}",
        "Set-Cookie": "session=; Max-Age=0",
        "WWW-Authenticate": 'Basic realm="x"',
    }
    async with http(hosting(Mizan(build(failing(HTTPException(401, "x", headers)))))) as web:
        answer = await web.post("/api/mizan/call/mutate/", json={"number": 5})
    refusal(answer, 401, "unauthorized")
    assert answer.headers["cache-control"] == "no-store"
    added = {"set-cookie", "www-authenticate"}
    ours = {"cache-control", "x-content-type-options", "content-type", "content-length"}
    assert set(answer.headers) == added | ours
    assert answer.headers.get_list("www-authenticate") == ['Basic realm="x"']


@pytest.mark.asyncio
async def test_a_redirect_says_where_to_and_purges() -> None:
    found = await answers(Mizan(build(failing(HTTPException(303, headers={"Location": "/login"})))))
    assert [(one.status_code, one.headers["location"]) for one in found] == [(303, "/login")] * 7
    assert invalidated(found) == ["page;number=5"] * 3


@pytest.mark.asyncio
async def test_an_http_exception_without_a_body_or_with_a_bad_status(caplog: pytest.LogCaptureFixture) -> None:
    found = await answers(Mizan(build(failing(HTTPException(304)))))
    assert [(one.status_code, one.content) for one in found] == [(304, b"")] * 7
    assert not logged(caplog)
    found = await answers(Mizan(build(failing(HTTPException(700, "x")))))
    assert [one.status_code for one in found] == [500] * 7


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", EXCEPTIONS)
async def test_a_guard_and_authenticate_may_raise_one(kind: type[HTTPException]) -> None:
    error = kind(402, "Pay.")

    def unpaid(*_: object) -> Any:
        raise error

    @client(context="guarded", auth=unpaid)
    async def guarded() -> int:
        return 1

    @client(affects="guarded", auth=unpaid)
    async def change() -> int:
        return 1

    for mizan in (Mizan(build([guarded, change])), Mizan(build([page, *failing(error)[1:]]), authenticate=unpaid)):
        name = "change" if "guarded" in mizan.graph.contexts else "mutate"
        async with http(hosting(mizan)) as web:
            called = await web.post(f"/api/mizan/call/{name}/", json={})
            viewed = await web.post("/view/5/")
            fetched = await web.get("/api/mizan/ctx/guarded/")
        refusal(called, 402, "payment_required")
        refusal(viewed if name == "mutate" else fetched, 402, "payment_required")


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [RequestValidationError([]), lambda: Model(number="x")])
async def test_a_validation_error_inside_a_body_is_no_422(error: Any) -> None:
    found = await answers(Mizan(build(failing(error))))
    assert [one.status_code for one in found] == [500] * 7
    assert invalidated(found) == ["page;number=5"] * 3


class Model(BaseModel):
    number: int


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "told",
    [Conflict, lambda: Conflict(), lambda error: Conflict(), Conflict("The request does not fit the present state.")],
)
@pytest.mark.parametrize("raised", [sqlite3.IntegrityError, sqlite3.DatabaseError])
async def test_errors_of_libraries_are_mapped(told: Any, raised: type[Exception]) -> None:
    mizan = Mizan(
        build(failing(raised("UNIQUE: secret"))), errors={sqlite3.Error: NotFound, sqlite3.DatabaseError: told}
    )
    found = await answers(mizan)
    assert all("secret" not in one.text for one in found)
    assert all(refusal(one, 409, "conflict") for one in found)
    assert invalidated(found) == [None] * 3


@pytest.mark.asyncio
async def test_an_error_mapped_to_a_5xx_purges() -> None:
    found = await answers(Mizan(build(failing(KeyError())), errors={LookupError: Unavailable}))
    assert [one.status_code for one in found] == [503] * 7
    assert invalidated(found) == ["page;number=5"] * 3


@pytest.mark.asyncio
async def test_http_exception_itself_may_be_mapped() -> None:
    found = await answers(Mizan(build(failing(HTTPException(404))), errors={HTTPException: Conflict}))
    assert [one.status_code for one in found] == [409] * 7


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [409, 503])
async def test_a_views_status_tells_the_outcome_of_a_mutation(status: int) -> None:
    @client(affects="page", route="/view/{number}/")
    async def view(number: int) -> Response:
        return Response(status_code=status)

    async with http(hosting(Mizan(build([page, view])))) as web:
        answer = await web.post("/view/5/")
    assert answer.headers.get("x-mizan-invalidate") == (None if status == 409 else "page;number=5")


@pytest.mark.asyncio
async def test_an_unexpected_error_is_logged_with_the_functions_name(caplog: pytest.LogCaptureFixture) -> None:
    await answers(Mizan(build(failing(lambda: {}["secret"]))))
    names = ["mutate", "mutate_in_thread", "view", "act", "reading", "reading", "reading_page"]
    said = [one.getMessage() for one in logged(caplog)]
    assert said == [f"{name} failed unexpectedly." for name in names]


@pytest.mark.asyncio
async def test_a_host_that_runs_a_function_can_send_the_header() -> None:
    mizan = Mizan(build(failing(HTTPException(503, "Later.", {"Retry-After": "7"}))))
    app = fastapi.FastAPI()

    @app.post("/run")
    async def run() -> None:
        await mizan.engine.run("mutate", {"number": 5})

    @app.post("/broken")
    async def broken() -> None:
        try:
            await mizan.engine.run("mutate", {"number": 5})
        except CallError as error:
            raise ValueError from error

    @app.exception_handler(ValueError)
    async def told(request: fastapi.Request, error: ValueError) -> Response:
        return Response(status_code=500, headers={"X-Mizan-Invalidate": encode_header(carried_by(error))})

    async with http(app) as web:
        answer = await web.post("/run")
        assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"detail": "Later."}, "7")
        assert (await web.post("/broken")).headers["x-mizan-invalidate"] == "page;number=5"


def test_an_http_error_survives_pickle() -> None:
    made = pickle.loads(pickle.dumps(HttpError(fastapi.HTTPException(404, {"a": 1}, {"b": "c"}))))
    assert (made.status, made.status_code, made.code) == (404, 404, "not_found")
    assert (made.detail, made.headers) == ({"a": 1}, {"b": "c"})


def test_a_mapping_that_is_wrong_is_refused() -> None:
    with pytest.raises(DeclarationError, match="errors"):
        Mizan(build([page]), errors=[KeyError])  # type: ignore[arg-type]  # as it says
    assert asyncio.iscoroutinefunction(page)
