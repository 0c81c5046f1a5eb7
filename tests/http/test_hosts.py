"""One ASGI callable in every host: FastAPI, Starlette, Litestar, beside Django, alone, at any path, behind a proxy."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from mizan_asgi import Mizan
from mizan_core import Context, DeclarationError, Invalidation, build, build_manifest, client, urls_to_purge
from tests.http.servers import lifespan, uvicorn_process
from tests.http.site import HOST, PUBLIC, Site, hosting, http, logged, raw, refusal


async def shows_all_of_it(
    web: httpx.AsyncClient, mount: str, pages: str = "", *, bundle: str = PUBLIC, page_control: str = PUBLIC
) -> None:
    """A call, a bundle with its canonical URL, an error, and a page where there are pages."""
    url = f"{mount}/ctx/user/?user_id=5"
    first = await web.get(url)
    assert (first.status_code, first.headers["cache-control"]) == (200, bundle)
    assert (await web.get(f"{mount}/ctx/user?user_id=5")).headers["cache-control"] == "no-store"
    answer = await web.post(f"{mount}/call/", json={"fn": "update_profile", "args": {"user_id": 5, "name": "Eve"}})
    assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
    assert (await web.get(url)).json()["user_profile"]["name"] == "Eve"
    refusal(await web.get(f"{mount}/nothing/"), 404, "not_found")
    refusal(await web.get(f"{mount}/call/"), 405, "method_not_allowed")
    page = await web.get(f"{pages}/profile/5/")
    assert (page.text, page.headers["cache-control"]) == ("<h1>Eve</h1>", page_control)
    renamed = await web.post(f"{pages}/rename/", data={"user_id": "5", "name": "Ada"})
    assert (renamed.status_code, renamed.headers["x-mizan-invalidate"]) == (303, "user;user_id=5")


def in_fastapi(mizan: Mizan, at: str) -> FastAPI:
    app = FastAPI(lifespan=mizan.lifespan)
    app.mount(at, mizan)
    app.router.routes.extend(mizan.routes)
    return app


def in_a_fastapi_in_a_fastapi(mizan: Mizan, at: str) -> FastAPI:
    outer, inner = FastAPI(), FastAPI()
    inner.mount("/v1", mizan)
    outer.mount(at.removesuffix("/v1"), inner)
    outer.router.routes.extend(mizan.routes)
    return outer


def in_nested_mounts(mizan: Mizan, at: str) -> Starlette:
    return Starlette(routes=[Mount(at, routes=[Mount("/{tenant}", mizan)]), *mizan.routes])


HOSTS: dict[str, tuple[Callable[[Mizan], Any], str]] = {
    "FastAPI at /api/mizan": (lambda mizan: in_fastapi(mizan, "/api/mizan"), "/api/mizan"),
    "FastAPI at /m": (lambda mizan: in_fastapi(mizan, "/m"), "/m"),
    "FastAPI at /call": (lambda mizan: in_fastapi(mizan, "/call"), "/call"),
    "Starlette at /api/mizan": (hosting, "/api/mizan"),
    "Starlette at /a/b/c": (lambda mizan: hosting(mizan, at="/a/b/c"), "/a/b/c"),
    "FastAPI in FastAPI": (lambda mizan: in_a_fastapi_in_a_fastapi(mizan, "/api/v1"), "/api/v1"),
    "nested mounts": (lambda mizan: in_nested_mounts(mizan, "/t"), "/t/acme"),
    "at the root of Starlette": (lambda mizan: Starlette(routes=[*mizan.routes, Mount("/", mizan)]), "/api/mizan"),
    "alone": (lambda mizan: mizan, "/api/mizan"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("host", "mount"), HOSTS.values(), ids=HOSTS)
async def test_it_is_served_by_any_host_at_any_path(site: Site, host: Callable[[Mizan], Any], mount: str) -> None:
    async with http(host(site.mizan(base_url=mount))) as web:
        await shows_all_of_it(web, mount)


@pytest.mark.asyncio
@pytest.mark.parametrize(("host", "mount"), HOSTS.values(), ids=HOSTS)
async def test_it_is_served_behind_a_proxy_with_uvicorns_root_path(
    site: Site, host: Callable[[Mizan], Any], mount: str
) -> None:
    app = host(site.mizan(base_url=f"/proxy{mount}"))
    transport = httpx.ASGITransport(app, root_path="/proxy")
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as web:
        await shows_all_of_it(web, f"/proxy{mount}", "/proxy", page_control="no-store")


# Starlette itself finds nothing below a mount in a mount there: its paths have to begin with the root path.
FLAT = {name: host for name, host in HOSTS.items() if name not in ("FastAPI in FastAPI", "nested mounts")}


@pytest.mark.asyncio
@pytest.mark.parametrize(("host", "mount"), FLAT.values(), ids=FLAT)
async def test_it_is_served_behind_a_proxy_that_takes_its_path_off(
    site: Site, host: Callable[[Mizan], Any], mount: str
) -> None:
    app = host(site.mizan(base_url=f"/proxy{mount}"))
    transport = httpx.ASGITransport(app, root_path="/proxy")
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as web:
        await shows_all_of_it(web, mount, page_control="no-store")


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", ["/proxy", ""])
@pytest.mark.parametrize("mount", ["/api/mizan", "/m"])
async def test_it_is_served_in_a_fastapi_that_knows_its_proxys_path(site: Site, mount: str, prefix: str) -> None:
    mizan = site.mizan(base_url=f"/proxy{mount}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions would have the server know it
        app = FastAPI(root_path="/proxy")
    app.mount(mount, mizan)
    app.router.routes.extend(mizan.routes)
    async with http(app) as web:
        await shows_all_of_it(web, prefix + mount, prefix, page_control="no-store")


@pytest.mark.asyncio
@pytest.mark.parametrize("base_url", ["/", "/deep/er/", "/call"])
async def test_alone_it_answers_below_its_base_url(site: Site, base_url: str) -> None:
    async with http(site.mizan(base_url=base_url)) as web:
        await shows_all_of_it(web, base_url.rstrip("/"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("outer", "base_url", "stripped"),
    [
        ("", "/api/mizan", True),
        ("", "/api/mizan", False),
        ("/outer", "/api/mizan", True),
        ("/outer", "/api/mizan", False),
        ("", "/call", False),
    ],
)
async def test_a_plain_dispatcher_may_set_root_path(site: Site, outer: str, base_url: str, stripped: bool) -> None:
    mount = outer + base_url
    mizan = site.mizan(base_url=mount)

    async def dispatcher(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith(f"{mount}/"):
            path = scope["path"].removeprefix(mount) if stripped else scope["path"]
            scope = scope | {"path": path, "root_path": mount}
            del scope["raw_path"]
        await mizan(scope, receive, send)

    async with http(dispatcher) as web:
        await shows_all_of_it(web, mount)
        if not stripped:
            refusal(await web.get(f"{mount}{base_url}/ctx/user/?user_id=5"), 404, "not_found")


ELSEWHERE: dict[str, tuple[Callable[[Mizan], Any], str, str]] = {
    "mounted at /m": (lambda mizan: hosting(mizan, at="/m"), "", "/m"),
    "mounted below a prefix": (lambda mizan: in_a_fastapi_in_a_fastapi(mizan, "/shop/v1"), "", "/shop/v1"),
    "mounted at the root": (lambda mizan: Starlette(routes=[Mount("/m", routes=[Mount("/", mizan)])]), "", "/m"),
    "mounted, with the proxy's path put back": (hosting, "/proxy", "/proxy/api/mizan"),
    "alone, with the proxy's path put back": (lambda mizan: mizan, "/proxy", "/proxy/api/mizan"),
}


class TestWrongBaseUrl:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(("host", "root", "mount"), ELSEWHERE.values(), ids=ELSEWHERE)
    async def test_a_bundle_is_public_only_where_a_purge_reaches_it(
        self, site: Site, caplog: pytest.LogCaptureFixture, host: Callable[[Mizan], Any], root: str, mount: str
    ) -> None:
        for base_url, control in (("/api/mizan", "no-store"), (mount, PUBLIC)):
            caplog.clear()
            mizan = site.mizan(base_url=base_url)
            purged = urls_to_purge(build_manifest(mizan.graph, base_url=base_url), [Invalidation("user")])
            transport = httpx.ASGITransport(host(mizan), root_path=root)
            async with httpx.AsyncClient(transport=transport, base_url=HOST) as web:
                for _ in range(3):
                    answer = await web.get(f"{mount}/ctx/user/?user_id=5")
                    assert (answer.status_code, answer.headers["cache-control"]) == (200, control)
            assert (f"{mount}/ctx/user/*" in purged) == (control == PUBLIC)
            told = [one.getMessage() for one in logged(caplog)]
            assert [f"base_url={mount!r}" in one for one in told] == [True] * (control != PUBLIC)

    @pytest.mark.asyncio
    async def test_a_page_is_public_only_where_its_route_says(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        mizan = site.mizan()
        router = APIRouter(prefix="/router", routes=mizan.routes)
        prefixed = FastAPI()
        prefixed.include_router(APIRouter(routes=mizan.routes), prefix="/shop")
        prefixed.mount("/mounted", Starlette(routes=mizan.routes))
        prefixed.include_router(router)
        async with http(prefixed) as web:
            for place in ("/shop", "/mounted"):
                answer = await web.get(f"{place}/profile/5/")
                assert (answer.text, answer.headers["cache-control"]) == ("<h1>Ada</h1>", "no-store")
        (told,) = logged(caplog)
        assert "'/shop'" in told.getMessage()

    @pytest.mark.asyncio
    async def test_another_spelling_of_the_mount_point_does_not_warn(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with http(site.app()) as web:
            for path in ("/%61pi/mizan/ctx/user/", "/api/mizan/ctx/%75ser/", "/api/mizan/ctx/user"):
                answer = await web.get(f"{path}?user_id=5")
                assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
            assert (await web.get("/profile/5")).status_code == 200
        assert not logged(caplog)


def of_lifespan(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "mizan.lifespan"]


class TestWithoutLifespan:
    @pytest.mark.asyncio
    async def test_the_first_mutation_warns_of_the_missing_lifespan(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with http(site.app()) as web:
            await web.get("/api/mizan/ctx/user/?user_id=5")
            await web.post("/api/mizan/call/echo/", json={"values": []})
            await web.get("/profile/5/")
            assert of_lifespan(caplog) == []
            for path in ("/api/mizan/call/update_profile/", "/rename/", "/api/mizan/call/"):
                await web.post(path, json={"user_id": 5, "name": "Eve"})
        (told,) = of_lifespan(caplog)
        assert "FastAPI(lifespan=mizan.lifespan)" in told

    @pytest.mark.asyncio
    async def test_a_view_tells_as_a_call_does(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        async with http(site.app()) as web:
            await web.post("/rename/", json={"user_id": 5, "name": "Eve"})
        assert len(of_lifespan(caplog)) == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize("host", [lambda mizan: mizan, lambda mizan: in_fastapi(mizan, "/api/mizan")])
    async def test_where_one_runs_nothing_is_told(
        self, site: Site, caplog: pytest.LogCaptureFixture, host: Callable[[Mizan], Any]
    ) -> None:
        app = host(site.mizan())
        async with lifespan(app), http(app) as web:
            await web.post("/api/mizan/call/update_profile/", json={"user_id": 5})
        assert of_lifespan(caplog) == []

    @pytest.mark.asyncio
    async def test_without_mutations_there_is_nothing_to_wait_for(self, caplog: pytest.LogCaptureFixture) -> None:
        @client
        async def ping() -> str:
            return "pong"

        async with http(hosting(Mizan(build([ping])))) as web:
            await web.post("/api/mizan/call/", json={"fn": "ping"})
        assert of_lifespan(caplog) == []


class TestWithoutAsyncio:
    """What a coroutine meets that trio runs: there is no event loop of asyncio's."""

    def test_every_entry_point_names_asyncio(self, site: Site) -> None:
        async def entered() -> None:
            async with mizan.lifespan():
                raise AssertionError("It started.")

        mizan = site.mizan()
        engine = mizan.engine
        for work in (
            engine.call("echo", {"values": []}),
            engine.run("echo", {"values": []}),
            engine.fetch("weather", {}),
            engine.invalidate("user"),
            engine.page("profile_page", {"user_id": 5}),
            entered(),
        ):
            with pytest.raises(DeclarationError, match="asyncio alone"):
                work.send(None)

    def test_a_server_is_told_that_it_cannot_start(self, site: Site) -> None:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        with pytest.raises(StopIteration):
            site.mizan()({"type": "lifespan"}, receive, send).send(None)
        assert [(one["type"], "asyncio alone" in one["message"]) for one in sent] == [("lifespan.startup.failed", True)]

    def test_a_request_is_answered_500_and_the_log_says_it(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        for path in ("/api/mizan/ctx/weather/", "/profile/5/"):
            with pytest.raises(StopIteration):
                raw(site.mizan(), "GET", path).send(None)
        told = [str(one.exc_info and one.exc_info[1]) for one in logged(caplog)]
        assert ["hypercorn --worker-class asyncio" in one for one in told] == [True, True]


@pytest.mark.asyncio
async def test_below_a_host_the_routes_are_the_hosts_to_serve(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(await web.get("/api/mizan/profile/5/"), 404, "not_found")
        assert (await web.get("/profile/5/")).status_code == 200


@pytest.mark.asyncio
async def test_it_is_served_inside_litestar(site: Site) -> None:
    from litestar import Litestar, asgi

    mizan = site.mizan()

    @asgi("/api/mizan", is_mount=True, copy_scope=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await mizan(scope, receive, send)

    @asgi(["/profile", "/rename"], is_mount=True, copy_scope=True)
    async def pages(scope: Any, receive: Any, send: Any) -> None:
        whole = {name: value for name, value in scope.items() if name != "app"}
        await mizan(whole | {"path": scope["raw_path"].decode()}, receive, send)

    async with http(Litestar([mounted, pages], logging_config=None)) as web:
        await shows_all_of_it(web, "/api/mizan")


@pytest.mark.asyncio
async def test_it_is_served_beside_a_django_application(site: Site) -> None:
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def hello(request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello from Django")

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["site.test"], SECRET_KEY="s" * 50, ROOT_URLCONF=(path("hello/", hello),))
        django.setup()
    with_django, mizan = get_asgi_application(), site.mizan()

    async def dispatcher(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["path"].startswith(("/api/mizan/", "/profile/", "/rename/"))
        await (mizan if ours else with_django)(scope, receive, send)

    async with http(dispatcher) as web:
        await shows_all_of_it(web, "/api/mizan")
        assert (await web.get("/hello/")).text == "hello from Django"


@pytest.mark.asyncio
async def test_a_websocket_is_closed(site: Site) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await site.mizan()({"type": "websocket", "path": "/api/mizan/call/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


LIFESPANS: dict[str, Callable[[Mizan], Any]] = {
    "alone": lambda mizan: mizan,
    "FastAPI": lambda mizan: in_fastapi(mizan, "/api/mizan"),
    "Starlette": lambda mizan: Starlette(routes=[Mount("/api/mizan", mizan)], lifespan=mizan.lifespan),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("host", LIFESPANS.values(), ids=LIFESPANS)
async def test_shutdown_waits_for_a_mutation_whose_caller_hung_up(
    host: Callable[[Mizan], Any],
) -> None:
    user = Context("user")
    begun, go_on = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    @client(context=user)
    async def name(user_id: int) -> str:
        return "new" if order else "old"

    @client(affects=user)
    async def rename(user_id: int) -> None:
        begun.set()
        await go_on.wait()
        order.append("renamed")

    mizan = Mizan(build([name, rename]))
    app = host(mizan)

    async def serve() -> None:
        async with lifespan(app), http(app) as web:
            calling = asyncio.create_task(web.post("/api/mizan/call/rename/", json={"user_id": 5}))
            await begun.wait()
            calling.cancel()
        order.append("shut down")

    serving = asyncio.create_task(serve())
    await begun.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not order
    go_on.set()
    await serving
    assert order == ["renamed", "shut down"]
    async with http(app) as web:  # it opens itself again
        assert (await web.get("/api/mizan/ctx/user/?user_id=5")).json() == {"name": "new"}


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [(), ("--root-path", "/proxy")])
@pytest.mark.parametrize("target", ["alone", "host"])
async def test_a_uvicorn_process_serves_it_alone_and_in_a_host(target: str, options: tuple[str, ...]) -> None:
    with uvicorn_process(f"tests.http.served:{target}", *options) as served:
        async with httpx.AsyncClient(base_url=served.url) as web:
            # uvicorn puts back what a proxy has taken off, and `base_url` says nothing of that.
            control = "no-store" if options else PUBLIC
            await shows_all_of_it(web, "/api/mizan", bundle=control, page_control=control)
        served.process.terminate()
        assert served.says("Application shutdown complete")
