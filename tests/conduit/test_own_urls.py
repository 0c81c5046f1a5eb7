"""What clients of the published URLs get of the cache, and many of them at once."""

import asyncio

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from .town import Town


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/articles/one", "/articles", "/articles/feed", "/profiles/bob", "/tags"])
async def test_an_answer_that_has_not_changed_is_304(town: Town, path: str) -> None:
    first = await town.conduit.web.get(path, headers=town.users["ada"])
    asked = town.users["ada"] | {"if-none-match": first.headers["etag"]}
    again = await town.conduit.web.get(path, headers=asked)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-status"].startswith("mizan; hit")
    await town.send("POST", "/articles", article={"title": "Three", "description": "d", "body": "b", "tagList": ["x"]})
    await town.send("PUT", "/user", user={"bio": "Writes"})
    await town.send("POST", "/articles/one/favorite")
    assert (await town.conduit.web.get(path, headers=asked)).status_code == 200


@pytest.mark.asyncio
async def test_a_favorite_tells_what_it_made_stale(town: Town) -> None:
    answer = await town.conduit.web.post("/articles/two/favorite", headers=town.users["ada"])
    assert answer.headers["x-mizan-invalidate"] == "article;slug=two, articles, feed"


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_400_requests_at_once_share_a_pool_of_15(town: Town) -> None:
    asks = [("GET", "/articles/feed"), ("GET", "/articles/one"), ("GET", "/articles?limit=1"), ("GET", "/user")]
    asks += [("POST", "/articles/one/favorite"), ("DELETE", "/articles/two/favorite"), ("POST", "/profiles/bob/follow")]
    sent = [
        town.conduit.web.request(method, path, headers=town.users[("ada", "bob", "eve")[number % 3]])
        for number in range(400)
        for method, path in asks[number % len(asks) : number % len(asks) + 1]
    ]
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {200}
    await town.check()


@pytest.mark.asyncio
async def test_the_docs_show_own_urls_and_functions(town: Town) -> None:
    described = town.conduit.app.openapi()
    OpenAPIV31SpecValidator(described).validate()
    assert set(described["paths"]["/api/articles/{slug}"]) == {"get", "put", "delete"}
    assert {"/api/mizan/call/favorite/", "/api/mizan/ctx/article/"} <= described["paths"].keys()
