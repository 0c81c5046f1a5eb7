"""A GET may not invalidate, and a view's own headers may not loosen its policy."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse, Response

import mizan_core
from mizan_asgi import Mizan
from mizan_core import Context, DeclarationError, build, client, invalidate
from tests.http.site import PUBLIC, hosting, http, logged, refusal

USER = Context("user")


@client(context=USER)
async def name(user_id: int) -> str:
    return str(user_id)


@client(affects=USER)
async def rename(user_id: int) -> None: ...


def naming(user_id: int) -> None:
    """A helper, by which a body names scopes without showing it."""
    invalidate(USER, user_id=user_id)


async def plainly(user_id: int) -> int:
    invalidate(USER, user_id=user_id)
    return user_id


def by_the_module(user_id: int) -> int:
    mizan_core.invalidate(USER, user_id=user_id)
    return user_id


def in_a_lambda(user_id: int) -> list[None]:
    return [invalidate(USER, user_id=one) for one in [user_id]]


def closed_over() -> Callable[..., Any]:
    say = invalidate

    async def body(user_id: int) -> int:
        say(USER, user_id=user_id)
        later()
        return user_id

    def made() -> Callable[..., Any]:
        return body

    found = made()
    if found is None:
        later = say  # never defined, so that the body has an empty cell
    return found


def wrapped(user_id: int) -> int:
    return user_id


@functools.wraps(len)
def around_what_is_built_in(user_id: int) -> int:
    return user_id


@functools.wraps(plainly)
async def wrapping(*args: int) -> int:
    return await plainly(*args)


BODIES = [plainly, by_the_module, in_a_lambda, closed_over(), wrapping]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("options", "what"), [({"context": USER}, "a reader"), ({"route": "/x/{user_id}", "methods": ["GET"]}, "a route")]
)
def test_a_get_whose_body_calls_invalidate_is_refused(
    body: Callable[..., Any], options: dict[str, Any], what: str
) -> None:
    with pytest.raises(DeclarationError, match=rf"it calls invalidate\(\), and {what}.*methods=\['POST'\]"):
        client(**options)(functools.partial(body))


@pytest.mark.parametrize("body", [*BODIES, wrapped])
def test_other_functions_may_call_invalidate(body: Callable[..., Any]) -> None:
    for options in (
        {"affects": USER},
        {},
        {"route": "/x/{user_id}"},
        {"route": "/x/{user_id}", "methods": ["GET", "PUT"]},
    ):
        client(**options)(functools.partial(body))
    for harmless in (wrapped, around_what_is_built_in):
        harmless.__signature__ = inspect.signature(wrapped)  # type: ignore[attr-defined]  # it wraps another's
        client(context=USER)(functools.partial(harmless))


@pytest.mark.asyncio
@pytest.mark.parametrize("act", [naming, lambda user_id: rename(user_id)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_get_that_calls_invalidate_fails_at_run_time(
    act: Callable[[int], Any], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    @client(route="/x/{user_id}", methods=["GET", "POST"])
    async def x(user_id: int) -> int:
        result = act(user_id)
        if result is not None:
            await result
        return user_id

    async with http(hosting(Mizan(build([name, rename, x])))) as web:
        answer = await web.request(method, "/x/5")
        assert answer.status_code == 500
        assert "x-mizan-invalidate" not in answer.headers
        assert (await web.post("/x/5")).headers["x-mizan-invalidate"] == "user;user_id=5"
        assert (await web.post("/api/mizan/call/x/", json={"user_id": 5})).status_code == 200
    assert [one.getMessage() for one in logged(caplog)] == ["x failed unexpectedly."]


@pytest.mark.asyncio
@pytest.mark.parametrize("act", [naming, lambda user_id: rename(user_id), "engine"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_reader_that_calls_invalidate_fails_at_run_time(act: Any, is_async: bool) -> None:
    ran: list[int] = []

    @client(affects=USER)
    def rename_in_thread(user_id: int) -> None:
        ran.append(user_id)

    @client(context="page", route="/page/{user_id}/")
    async def page(user_id: int) -> int:
        result = mizan.engine.run("rename", {"user_id": user_id}) if act == "engine" else act(user_id)
        if result is not None:
            await result
        return user_id

    @client(context="page", route="/page/{user_id}/")
    def page_in_thread(user_id: int) -> int:
        naming(user_id) if act is naming else rename_in_thread(user_id)
        return user_id

    reader = page if is_async else page_in_thread
    mizan = Mizan(build([name, rename, rename_in_thread, reader]))
    async with http(hosting(mizan)) as web:
        for answer in (
            await web.get("/api/mizan/ctx/page/?user_id=5"),
            await web.get("/page/5/"),
            await web.post(f"/api/mizan/call/{reader.__name__}/", json={"user_id": 5}),
        ):
            refusal(answer, 500, "internal_error")
    assert not ran


OWN = {
    "X-Mizan-Invalidate": "user",
    "CDN-Cache-Control": "max-age=60",
    "Cloudflare-CDN-Cache-Control": "max-age=60",
    "Acme-Cache-Control": "max-age=60",
    "Surrogate-Control": "max-age=60",
    "Surrogate-Key": "user",
    "Cache-Tag": "user",
    "X-Accel-Expires": "60",
    "Edge-Control": "max-age=60",
}


def named(headers: Any) -> set[str]:
    return {one.lower() for one in OWN} & {one.lower() for one in headers}


@pytest.mark.asyncio
async def test_a_views_own_headers_for_edges_are_dropped() -> None:
    @client(context=USER, route="/profile/{user_id}/")
    async def profile(user_id: int) -> HTMLResponse:
        return HTMLResponse("x", headers={**OWN, "X-Other": "1"})

    async with http(hosting(Mizan(build([name, profile])))) as web:
        answer = await web.get("/profile/5/")
    assert (answer.headers["cache-control"], answer.headers["x-other"]) == (PUBLIC, "1")
    assert named(answer.headers) == set()


@pytest.mark.asyncio
@pytest.mark.parametrize("affects", [USER, None])
async def test_the_header_of_a_mutations_view_is_ours_alone(affects: Any) -> None:
    @client(affects=affects, route="/rename/{user_id}/")
    async def view(user_id: int) -> Response:
        return PlainTextResponse("x", headers={**OWN, "X-Mizan-Invalidate": "other"})

    async with http(hosting(Mizan(build([name, view])))) as web:
        answer = await web.post("/rename/5/")
    assert answer.headers.get_list("x-mizan-invalidate") == (["user;user_id=5"] if affects else [])
    assert named(answer.headers) == ({"x-mizan-invalidate"} if affects else set())
    assert answer.headers["cache-control"] == "no-store"
