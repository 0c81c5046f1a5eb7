"""Functions at their own URLs: pages, forms that redirect, webhooks, data behind a route (protocol, section 9)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import Conflict, Context, Identity, NotFound, build, client
from tests.http.site import KEPT, KEYS, PUBLIC, VARY, Clock, Site, hosting, http, logged, raw, refusal, token

user = Context("user")


def page(answer: Any, *, edge: Any = (), **declared: Any) -> Starlette:
    """A host with one page at `/page/`, which answers the result of `answer`."""

    @client(context="pages", route="/page/", **declared)
    async def the_page() -> Response:
        return answer()

    return hosting(Mizan(build([the_page]), mwt_keys=KEYS, clock=Clock(), edge=edge))


async def control_of(app: Starlette, url: str = "/page/", **headers: str) -> str:
    async with http(app, **headers) as web:
        return (await web.get(url)).headers["cache-control"]


@pytest.mark.asyncio
async def test_a_page_at_its_canonical_path_is_kept_at_an_edge(site: Site) -> None:
    async with http(site.app(edge=HeaderOnly())) as web:
        answer = await web.get("/profile/5/")
    assert (answer.status_code, answer.text) == (200, "<h1>Ada</h1>")
    assert answer.headers["cache-control"] == KEPT
    assert answer.headers["content-type"].startswith("text/html")
    assert "vary" not in answer.headers


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("declared", "control", "vary"),
    [
        ({}, KEPT, None),
        ({"cache": 60}, KEPT.replace("31536000", "60"), None),
        ({"cache": False}, "no-store", None),
        ({"auth": True}, "private, no-cache", VARY),
        ({"auth": True, "per": "all"}, "private, no-cache", VARY),
        ({"per": "permissions"}, "private, no-cache", VARY),
        ({"per": "user"}, "private, no-cache", VARY),
    ],
)
async def test_a_page_has_the_policy_of_its_context(declared: dict[str, Any], control: str, vary: str | None) -> None:
    async with http(page(lambda: HTMLResponse("x"), edge=HeaderOnly(), **declared), x_mizan_token=token("ada")) as web:
        answer = await web.get("/page/")
    assert (answer.headers["cache-control"], answer.headers.get("vary")) == (control, vary)


@pytest.mark.asyncio
async def test_caches_that_no_purge_reaches_have_to_ask(site: Site) -> None:
    lasting = hosting(site.mizan())
    async with http(lasting) as web, http(page(lambda: HTMLResponse("x"), cache=60)) as brief:
        pages = [await web.get("/profile/5/") for _ in range(2)]
        pages += [
            await brief.get("/page/"),
            await web.get("/profile/5/", headers={"if-none-match": pages[1].headers["etag"]}),
        ]
    assert [one.status_code for one in pages] == [200, 200, 200, 304]
    assert {one.headers["cache-control"] for one in pages} == {PUBLIC}


@pytest.mark.asyncio
async def test_a_per_user_page_is_private_for_a_visitor_too() -> None:
    assert await control_of(page(lambda: HTMLResponse("x"), per="user")) == "private, no-cache"


@pytest.mark.asyncio
async def test_a_page_beside_a_private_bundle_is_as_private_as_that() -> None:
    @client(context="inbox")
    async def messages(me: Identity) -> list[str]:
        return []

    @client(context="inbox", route="/inbox/")
    async def inbox_page() -> HTMLResponse:
        return HTMLResponse("x")

    app = hosting(Mizan(build([messages, inbox_page]), mwt_keys=KEYS, clock=Clock()))
    assert await control_of(app, "/inbox/", x_mizan_token=token("ada")) == "private, no-cache"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        "/profile/5",
        "/profile/05/",
        "/profile/%35/",
        "/profil%65/5/",
        "/profile/5/?",
        "/profile/5/?utm=x",
        "/profile/+5/",
    ],
)
async def test_a_page_by_another_spelling_is_not_kept(site: Site, url: str) -> None:
    path, _, query = url.partition("?")
    answer = await raw(site.app(), "GET", path, query=query.encode())
    assert (answer.status_code, answer.text) == (200, "<h1>Ada</h1>")
    assert answer.headers["cache-control"] == ("no-store" if url != "/profile/5/?" else PUBLIC)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "control"),
    [
        ({"cache-control": "no-store"}, "no-store"),
        ({"cache-control": "private, max-age=60"}, "private, max-age=60"),
        ({"cache-control": "No-Cache"}, "No-Cache"),
        ({"cache-control": 'private="x-who"'}, 'private="x-who"'),
        ({"cache-control": "max-age=60"}, KEPT.replace("31536000", "60")),
        ({"cache-control": 'public, s-maxage="10", max-age=60'}, KEPT.replace("31536000", "10")),
        ({"cache-control": "max-age=0"}, KEPT.replace("31536000", "0")),
        ({"cache-control": "public, max-age=99999999999"}, KEPT),
        ({"cache-control": "public, immutable"}, KEPT),
        ({"cache-control": ""}, KEPT),
        ({"vary": "Accept-Language"}, "private, no-cache"),
        ({"set-cookie": "a=b"}, "private, no-cache"),
        ({"set-cookie": "a=b", "cache-control": "public, max-age=60"}, "private, no-cache"),
    ],
)
async def test_a_page_may_ask_for_less_and_never_gets_more(headers: dict[str, str], control: str) -> None:
    async with http(page(lambda: HTMLResponse("x", headers=headers), edge=HeaderOnly())) as web:
        answer = await web.get("/page/")
    assert answer.headers["cache-control"] == control
    assert {name: answer.headers[name] for name in headers if name != "cache-control"} == {
        name: value for name, value in headers.items() if name != "cache-control"
    }


@pytest.mark.asyncio
async def test_repeated_cache_control_lines_of_a_page_are_joined() -> None:
    def answer() -> Response:
        response = HTMLResponse("x")
        response.headers.append("cache-control", "no-store")
        response.headers.append("cache-control", "public")
        return response

    assert await control_of(page(answer)) == "no-store, public"


@pytest.mark.asyncio
async def test_a_private_pages_own_vary_gets_the_identity_headers() -> None:
    app = page(lambda: HTMLResponse("x", headers={"vary": "Accept"}), auth=True)
    async with http(app, x_mizan_token=token("ada")) as web:
        answer = await web.get("/page/")
    assert answer.headers["vary"] == f"Accept, {VARY}"
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [201, 203, 302, 404, 410, 500])
async def test_a_page_with_another_status_is_not_kept(status: int) -> None:
    assert await control_of(page(lambda: HTMLResponse("x", status))) == "no-store"


@pytest.mark.asyncio
async def test_a_streamed_page_is_not_kept() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    app = page(lambda: StreamingResponse(pieces()))
    answer, head = await raw(app, "GET", "/page/"), await raw(app, "HEAD", "/page/")
    assert (answer.text, answer.headers["cache-control"]) == ("ab", "no-store")
    assert (head.content, head.headers["cache-control"]) == (b"", "no-store")


@pytest.mark.asyncio
async def test_a_page_held_or_purged_meanwhile_is_not_kept() -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    @client(context=user, route="/name/{user_id}/")
    async def name_page(user_id: int, slow: str = "") -> HTMLResponse:
        reading.set()
        await go_on.wait()
        return HTMLResponse("x")

    @client(affects=user)
    async def rename(user_id: int) -> None:
        go_on.set()
        await held.wait()

    held = asyncio.Event()
    mizan = Mizan(build([name_page, rename]))
    async with http(hosting(mizan)) as web:
        slow = asyncio.create_task(web.get("/name/5/"))
        await reading.wait()
        await mizan.engine.invalidate(user, user_id=5)
        go_on.set()
        assert (await slow).headers["cache-control"] == "no-store"
        assert (await web.get("/name/5/")).headers["cache-control"] == PUBLIC
        renaming = asyncio.create_task(web.post("/api/mizan/call/rename/", json={"user_id": 5}))
        go_on.clear()
        await go_on.wait()
        controls = [(await web.get(url)).headers["cache-control"] for url in ("/name/5/", "/name/7/")]
        held.set()
        await renaming
        assert controls == ["no-store", PUBLIC]
        assert (await web.get("/name/5/")).headers["cache-control"] == PUBLIC


@pytest.mark.asyncio
async def test_a_page_broader_than_a_scope_is_purged_with_it() -> None:
    @client(context=user)
    async def name(user_id: int) -> str:
        return ""

    @client(context=user, route="/everybody/")
    async def everybody() -> HTMLResponse:
        return HTMLResponse("x")

    @client(affects=user)
    async def rename(user_id: int) -> None:
        pass

    async with http(hosting(Mizan(build([name, everybody, rename])))) as web:
        for told in ("fwd=uri-miss; stored", "hit"):
            answer = await web.get("/everybody/")
            assert (answer.headers["cache-status"], answer.headers["cache-control"]) == (f"mizan; {told}", PUBLIC)
        await web.post("/api/mizan/call/", json={"fn": "rename", "args": {"user_id": 5}})
        assert "hit" not in (await web.get("/everybody/")).headers["cache-status"]


@pytest.mark.asyncio
async def test_a_mutation_view_redirects_purges_and_carries_the_header(site: Site) -> None:
    async with http(site.app()) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        await web.get(bundle)
        answer = await web.post("/rename/", data={"user_id": "5", "name": "Eve"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/profile/5/")
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        assert answer.headers["cache-control"] == "no-store"
        assert (await web.get(bundle)).json()["user_profile"]["name"] == "Eve"


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["json", "data", "files", "query"])
async def test_a_views_arguments_come_from_path_query_form_and_json(kind: str) -> None:
    @client(affects=user, route="/team/{team}/rename", methods=["POST", "PATCH"])
    async def rename(team: str, user_id: int, tags: list[str]) -> JSONResponse:
        return JSONResponse([team, user_id, tags])

    @client(context=user)
    async def name(user_id: int) -> str:
        return ""

    sent: dict[str, Any] = {
        "json": {"json": {"user_id": 5, "tags": ["a", "b"]}},
        "data": {"data": {"user_id": "5", "tags": ["a", "b"]}},
        "files": {"files": [("user_id", (None, "5")), ("tags", (None, "a")), ("tags", (None, "b"))]},
        "query": {"params": {"user_id": "5", "tags": ["a", "b"]}},
    }[kind]
    async with http(hosting(Mizan(build([rename, name])))) as web:
        for method, path in (("POST", "/team/x/rename"), ("PATCH", "/team/x/rename/")):
            answer = await web.request(method, path, **sent)
            assert answer.json() == ["x", 5, ["a", "b"]]
            assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/rename/?user_id=5", {"json": {"user_id": 5, "name": "x"}}),
        ("/rename/?user_id=5", {"data": {"user_id": "5", "name": "x"}}),
        ("/rename/?user_id=5&user_id=5", {"json": {"name": "x"}}),
        ("/rename/?name=a", {"data": {"user_id": "5", "name": "x"}}),
    ],
)
async def test_an_argument_given_in_two_places_is_refused(site: Site, url: str, body: dict[str, Any]) -> None:
    async with http(site.app()) as web:
        problem = refusal(await web.post(url, **body), 422, "invalid_input")
    assert len(problem["errors"]) == 1
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 404, 409, 499])
async def test_a_4xx_response_purges_nothing_and_carries_no_header(status: int) -> None:
    @client(context=user)
    async def name(user_id: int) -> str:
        return "name"

    @client(affects=user.by_body(), route="/rename/")
    async def rename(user_id: int) -> HTMLResponse:
        return HTMLResponse("no", status)

    async with http(hosting(Mizan(build([name, rename])))) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        await web.get(bundle)
        answer = await web.post("/rename/", data={"user_id": "5"})
        assert (answer.status_code, answer.text) == (status, "no")
        assert "x-mizan-invalidate" not in answer.headers
        assert (await web.get(bundle)).headers["cache-status"] == "mizan; hit"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 204, 303, 500, 503])
async def test_any_other_response_purges_and_carries_the_header(status: int) -> None:
    @client(context=user)
    async def name(user_id: int) -> str:
        return "name"

    @client(affects=user.by_body(), route="/rename/")
    async def rename(user_id: int) -> Response:
        return Response(status_code=status, headers={"cache-control": "public, max-age=60"})

    async with http(hosting(Mizan(build([name, rename])))) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        await web.get(bundle)
        answer = await web.post("/rename/", data={"user_id": "5"})
        assert answer.status_code == status
        assert answer.headers["x-mizan-invalidate"] == "user"
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert "stored" in (await web.get(bundle)).headers["cache-status"]


def failing_after(work: str) -> Any:
    if work == "refuse":
        raise Conflict("taken")
    if work == "raise":
        raise RuntimeError("the password is hunter2")
    if work == "file":
        return FileResponse("/nowhere/at/all")
    return None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("work", "status", "told"),
    [
        ("refuse", 409, None),
        ("raise", 500, "user;user_id=5"),
        ("nothing", 500, "user;user_id=5"),
        ("file", 500, "user;user_id=5"),
    ],
)
async def test_a_failed_mutation_view_is_a_problem_with_the_header(work: str, status: int, told: str | None) -> None:
    @client(context=user)
    async def name(user_id: int) -> str:
        return "name"

    @client(affects=user, route="/rename/")
    async def rename(user_id: int) -> Response:
        return failing_after(work)

    async with http(hosting(Mizan(build([name, rename])))) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        await web.get(bundle)
        answer = await web.post("/rename/", data={"user_id": "5"})
        refusal(answer, status, "conflict" if status == 409 else "internal_error")
        assert "hunter2" not in answer.text
        assert answer.headers.get("x-mizan-invalidate") == told
        # A refusal gives back what it held.
        assert ("hit" if status == 409 else "stored") in (await web.get(bundle)).headers["cache-status"]


@pytest.mark.asyncio
@pytest.mark.parametrize("work", ["raise", "nothing", "file"])
async def test_a_page_that_fails_is_a_problem(work: str, caplog: pytest.LogCaptureFixture) -> None:
    app = page(lambda: failing_after(work))
    refusal(await raw(app, "GET", "/page/"), 500, "internal_error")
    head = await raw(app, "HEAD", "/page/")
    assert (head.status_code, head.content) == (500, b"")
    assert [one.levelno for one in logged(caplog)] == [logging.ERROR] * 2


@pytest.mark.asyncio
async def test_a_response_that_breaks_off_is_the_servers_to_see() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "a"
        raise RuntimeError("broken off")

    async with http(page(lambda: StreamingResponse(pieces()))) as web:
        with pytest.raises(RuntimeError, match="broken off"):
            await web.get("/page/")


@pytest.mark.asyncio
async def test_a_background_task_of_a_response_runs_after_it() -> None:
    ran = asyncio.Event()

    async def later() -> None:
        ran.set()

    async with http(page(lambda: HTMLResponse("x", background=BackgroundTask(later)))) as web:
        await web.get("/page/")
    assert ran.is_set()


@pytest.mark.asyncio
async def test_a_private_webhook_reads_its_raw_body_and_takes_no_calls() -> None:
    @client(context="plan")
    async def plan() -> str:
        return "free"

    received: list[tuple[bytes, str]] = []

    @client(affects="plan", private=True, route="/webhooks/stripe/")
    async def stripe(request: Request) -> Response:
        received.append((await request.body(), request.headers["stripe-signature"]))
        return Response(status_code=204)

    async with http(hosting(Mizan(build([plan, stripe])))) as web:
        refusal(await web.post("/api/mizan/call/stripe/"), 404, "not_found")
        answer = await web.post("/webhooks/stripe/", content=b"\xff raw", headers={"stripe-signature": "s"})
    assert received == [(b"\xff raw", "s")]
    assert (answer.status_code, answer.headers["x-mizan-invalidate"]) == (204, "plan")


@pytest.mark.asyncio
async def test_the_body_limit_holds_for_a_view_that_reads_itself() -> None:
    read = 0

    @client(affects="plan", private=True, route="/webhooks/stripe/")
    async def stripe(request: Request) -> Response:
        nonlocal read
        async for chunk in request.stream():
            read += len(chunk)
        return Response(status_code=204)

    @client(context="plan")
    async def plan() -> str:
        return "free"

    app = hosting(Mizan(build([plan, stripe]), max_body_bytes=1000))
    fits = await raw(app, "POST", "/webhooks/stripe/", chunks=[b"x" * 100] * 10)
    assert (fits.status_code, read) == (204, 1000)
    answer = await raw(app, "POST", "/webhooks/stripe/", chunks=[b"x" * 100] * 20)
    refusal(answer, 413, "payload_too_large")
    assert "x-mizan-invalidate" not in answer.headers
    assert read == 2000


@pytest.mark.asyncio
async def test_a_view_reads_the_form_that_fed_its_arguments_again() -> None:
    @client(affects=user, route="/rename/")
    async def rename(request: Request, user_id: int) -> JSONResponse:
        form = await request.form()
        return JSONResponse([user_id, form["user_id"]])

    @client(context=user)
    async def name(user_id: int) -> str:
        return ""

    async with http(hosting(Mizan(build([rename, name])))) as web:
        assert (await web.post("/rename/", data={"user_id": "5"})).json() == [5, "5"]


@pytest.mark.asyncio
async def test_a_readers_route_answers_json_with_its_contexts_policy(site: Site) -> None:
    @client(context=user, route="/data/{user_id}/")
    async def data(user_id: int) -> dict[str, int]:
        return {"user_id": user_id, "age": 7}

    async with http(hosting(Mizan(build([data])))) as web:
        answer, head = await web.get("/data/5/"), await web.head("/data/5/")
        other = await web.get("/data/05/")
        refusal(await web.get("/data/x/"), 422, "invalid_input")
        bundle = await web.get("/api/mizan/ctx/user/?user_id=5")
    assert answer.content == b'{"age":7,"user_id":5}'
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", PUBLIC)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (head.headers["cache-status"], head.content) == ("mizan; hit", b"")
    assert {**head.headers, "cache-status": answer.headers["cache-status"]} == dict(answer.headers)
    assert other.headers["cache-control"] == "no-store"
    assert bundle.json() == {"data": {"user_id": 5, "age": 7}}


@pytest.mark.asyncio
async def test_a_mutations_route_answers_json_with_the_header() -> None:
    @client(context=user)
    async def name(user_id: int) -> str:
        return ""

    @client(affects=user, route="/users/{user_id}/", methods=["DELETE"])
    async def remove(user_id: int) -> list[int]:
        return [user_id]

    async with http(hosting(Mizan(build([name, remove])))) as web:
        answer = await web.delete("/users/5/")
    assert answer.content == b"[5]"
    assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.asyncio
async def test_two_functions_share_a_path_and_405_allows_both() -> None:
    @client(context=user, route="/users/{user_id}")
    async def show(user_id: int) -> str:
        return "shown"

    @client(affects=user, route="/users/{user_id}/", methods=["DELETE", "PUT"])
    async def change(user_id: int) -> str:
        return "changed"

    async with http(hosting(Mizan(build([show, change])))) as web:
        for path in ("/users/5", "/users/5/"):
            assert (await web.get(path)).json() == "shown"
            assert (await web.delete(path)).json() == "changed"
            answer = await web.post(path)
            refusal(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"


@pytest.mark.asyncio
async def test_path_convertors_make_arguments() -> None:
    @client(context="files", route="/files/{name:path}")
    async def file(name: str) -> HTMLResponse:
        return HTMLResponse(name)

    @client(context="things", route="/things/{thing_id:uuid}/")
    async def thing(thing_id: UUID) -> HTMLResponse:
        return HTMLResponse(str(thing_id))

    @client(context="numbers", route="/numbers/{number:int}/")
    async def number(number: int) -> HTMLResponse:
        return HTMLResponse(str(number))

    uuid = "12345678-1234-5678-1234-567812345678"
    async with http(hosting(Mizan(build([file, thing, number])))) as web:
        answers = {
            url: await web.get(url)
            for url in (
                "/files/a/b.txt",
                "/files/a%20b/",
                "/files/a%2Fb",
                f"/things/{uuid}/",
                "/numbers/7/",
                "/numbers/07/",
            )
        }
        assert (await web.get("/numbers/x/")).status_code == 404
    assert [answer.text for answer in answers.values()] == ["a/b.txt", "a b/", "a/b", uuid, "7", "7"]
    assert [answer.headers["cache-control"] == PUBLIC for answer in answers.values()] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.asyncio
async def test_a_page_does_not_see_the_body_of_a_get() -> None:
    @client(context="pages", route="/page/")
    async def echoing(request: Request) -> HTMLResponse:
        return HTMLResponse(await request.body())

    async with http(hosting(Mizan(build([echoing])))) as web:
        answer = await web.request("GET", "/page/", content=b"poison")
    assert (answer.text, answer.headers["cache-control"]) == ("", PUBLIC)


@pytest.mark.asyncio
async def test_a_reader_by_post_takes_a_form_and_is_not_kept() -> None:
    @client(context="search", route="/search/", methods=["GET", "POST"])
    async def search(words: str = "") -> HTMLResponse:
        return HTMLResponse(words)

    async with http(hosting(Mizan(build([search])))) as web:
        got, posted = await web.get("/search/"), await web.post("/search/", data={"words": "a b"})
        asked = await web.get("/search/?words=a")
    assert [one.text for one in (got, posted, asked)] == ["", "a b", "a"]
    assert [one.headers["cache-control"] for one in (got, posted, asked)] == [PUBLIC, "no-store", "no-store"]


@pytest.mark.asyncio
async def test_a_pages_call_error_is_told_to_the_caller() -> None:
    def gone() -> Response:
        raise NotFound("There is no such page.")

    async with http(page(gone)) as web:
        assert refusal(await web.get("/page/"), 404, "not_found")["detail"] == "There is no such page."


@pytest.mark.asyncio
async def test_a_guard_stands_before_a_page_and_before_a_mutation_view() -> None:
    @client(affects="pages", auth="staff", route="/change/")
    async def change() -> Response:
        return Response()

    @client(context="pages", auth="staff", route="/page/")
    async def show() -> Response:
        return Response()

    async with http(hosting(Mizan(build([change, show]), mwt_keys=KEYS, clock=Clock()))) as web:
        for method, path in (("GET", "/page/"), ("POST", "/change/")):
            refusal(await web.request(method, path), 401, "unauthorized")
            known = {"x-mizan-token": token("ada")}
            refusal(await web.request(method, path, headers=known), 403, "forbidden")
            staff = {"x-mizan-token": token("ada", staff=True)}
            assert (await web.request(method, path, headers=staff)).status_code == 200


@pytest.mark.asyncio
async def test_a_plain_view_is_not_kept() -> None:
    @client(route="/logout/")
    async def logout() -> RedirectResponse:
        return RedirectResponse("/", 303, headers={"set-cookie": "session="})

    async with http(hosting(Mizan(build([logout])))) as web:
        answer = await web.post("/logout/")
    assert (answer.status_code, answer.headers["set-cookie"]) == (303, "session=")
    assert answer.headers["cache-control"] == "no-store"
    assert "x-mizan-invalidate" not in answer.headers


@pytest.mark.asyncio
async def test_a_client_that_hangs_up_while_sending_is_no_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    headers = [(b"host", b"site.test"), (b"content-type", b"application/json")]
    for path in ("/rename/", "/api/mizan/call/", "/api/mizan/call/update_profile/"):
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
        await site.app()(scope, receive, send)
    assert not sent
    assert not logged(caplog)
    assert not site.ran
