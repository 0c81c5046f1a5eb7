"""A page for everyone whose route is wide: what other paths it matches is passed on, with everything of the caller."""

from typing import Annotated

import pytest
from starlette.responses import HTMLResponse

from mizan_core import Me, build, build_manifest, client
from mizan_core.edge import locate, read_manifest
from mizan_core.edge.surfaces import EdgeMap


@pytest.fixture(scope="module")
def tables() -> EdgeMap:
    @client(context="pages", route="/{slug:path}")
    async def page(slug: str) -> HTMLResponse:
        return HTMLResponse(slug)

    @client(context="news")
    async def news(day: int) -> int:
        return day

    @client(context="mine")
    async def mine(me: Annotated[str, Me]) -> str:
        return me

    @client(context="guarded", auth=True, route="/guarded/{item}/")
    async def guarded(item: int) -> int:
        return item

    @client(route="/export/{item}/", methods=["GET", "POST"])
    async def export(item: int, me: Annotated[str, Me]) -> str:
        return me

    @client(route="/upload/", methods=["POST"])
    async def upload() -> None:
        """Answers no GET, so that a page may."""

    manifest = build_manifest(build([page, news, mine, guarded, export, upload]))
    assert manifest["routes"] == ["/export/{item}/"]
    return read_manifest(manifest)


@pytest.mark.parametrize(
    "url",
    [
        *("/api/mizan/ctx/mine/", "/api/mizan/ctx/mine", "/api/mizan/ctx/guarded/", "/api/mizan/ctx/unheard/"),
        *("/api/mizan/ctx/newsy/", "/api/mizan/ctx/news/more", "/api/mizan/ctx", "/api/mizan/call/upload/"),
        *("/api/mizan/call", "/guarded/5/", "/guarded/x", "/export/5/", "/export/5"),
    ],
)
def test_paths_of_others_are_passed_on(tables: EdgeMap, url: str) -> None:
    assert locate(tables, url) is None


@pytest.mark.parametrize(
    "url", ["/", "/about", "/api/", "/upload/", "/guarded/5/6", "/api/mizan/call.html", "/export/"]
)
def test_all_else_is_the_pages(tables: EdgeMap, url: str) -> None:
    kept = locate(tables, url)
    assert kept is not None
    assert [match.context for match in kept.matches] == ["pages"]


@pytest.mark.parametrize("url", ["/api/mizan/ctx/news/?day=5", "/api/mizan/ctx/news?day=5"])
def test_a_bundle_for_everyone_is_found_below_a_wide_page(tables: EdgeMap, url: str) -> None:
    kept = locate(tables, url)
    assert kept is not None
    assert "news" in [match.context for match in kept.matches]
