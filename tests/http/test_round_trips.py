"""Values are stored and sent as their canonical URL gives them, and not stored without one (protocol, section 2)."""

import datetime
import json
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import AfterValidator, Base64Str, StringConstraints
from starlette.responses import PlainTextResponse

from mizan_asgi import Mizan
from mizan_core import Graph, build, client
from tests.http.site import PUBLIC, hosting, http

Prefixed = Annotated[str, AfterValidator(lambda text: f"org-{text}")]
PrefixedOnce = Annotated[str, AfterValidator(lambda text: f"org-{text.removeprefix('org-')}")]
Lower = Annotated[str, StringConstraints(to_lower=True, strip_whitespace=True)]
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=14)))


class Color(StrEnum):
    RED = "red"


def showing(kind: Any) -> Graph:
    """A reader and a page that show their parameter and how often it was written, and what writes it."""
    written: list[Any] = []

    @client(context="c")
    async def shown(x: kind) -> str:
        return f"{x!r} {len(written)}"

    @client(context="c", route="/shown/{x}/")
    async def page(x: kind) -> PlainTextResponse:
        return PlainTextResponse(repr(x))

    @client(affects="c")
    async def write(x: kind) -> None:
        written.append(x)

    return build([shown, page, write])


def showing_default(kind: Any, default: Any) -> Graph:
    @client(context="c")
    async def shown(x: kind = default) -> str:
        return repr(x)

    return build([shown])


async def shown(web: httpx.AsyncClient, *texts: str) -> tuple[str, httpx.Response]:
    answer = await web.get("/api/mizan/ctx/c/", params=[("x", text) for text in texts])
    return answer.json()["shown"], answer


EQUAL_SPELLINGS = [
    (datetime.datetime, ["2026-01-01T00:00:00+14:00", "2025-12-31T10:00:00Z", "2025-12-31T05:00:00-05:00"]),
    (datetime.time, ["10:00+01:00", "09:00Z", "08:30-00:30"]),
    (datetime.time, ["00:30+01:00", "01:30+02:00", "00:00+00:30"]),
    (list[datetime.time], ["10:00+01:00", "09:00Z"]),
    (Decimal, ["1.50", "1.5", "15E-1"]),
    (float, ["-0.0", "0", "0.0"]),
    (complex, ["-0.0+1j", "1j"]),
    (datetime.timedelta, ["PT3600S", "PT1H"]),
    (Lower, [" RED ", "red"]),
    (PrefixedOnce, ["5", "org-5"]),
    (datetime.datetime | None, ["2026-01-01T00:00:00+14:00", "2025-12-31T10:00:00Z"]),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "spellings"), EQUAL_SPELLINGS, ids=lambda one: one[0] if isinstance(one, list) else ""
)
async def test_the_first_spelling_is_answered_as_the_canonical_one(kind: Any, spellings: list[str]) -> None:
    answers, locations = set(), set()
    for first in spellings:
        async with http(hosting(Mizan(showing(kind)))) as web:
            found = [(await shown(web, text))[1] for text in (first, *spellings)]
        assert [one.headers["cache-status"] for one in found[1:]] == ["mizan; hit"] * len(spellings)
        answers |= {one.text for one in found}
        locations |= {one.headers.get("content-location", f"?{one.request.url.query.decode()}") for one in found}
    assert (len(answers), len(locations)) == (1, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "spellings"), EQUAL_SPELLINGS, ids=lambda one: one[0] if isinstance(one, list) else ""
)
async def test_a_purge_by_one_spelling_purges_all(kind: Any, spellings: list[str]) -> None:
    async with http(hosting(Mizan(showing(kind)))) as web:
        for text in spellings:
            before, _ = await shown(web, spellings[0])
            args = {"x": [text] if kind == list[datetime.time] else text}
            assert (await web.post("/api/mizan/call/", json={"fn": "write", "args": args})).status_code == 200
            after, _ = await shown(web, spellings[0])
            assert before != after


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "text", "sent"),
    [(Prefixed, "5", "5"), (Base64Str, "aGVsbG8=", "aGVsbG8="), (list[Prefixed], "5", ["5"])],
    ids=["prefixed", "encoded", "list"],
)
async def test_a_value_that_is_not_read_back_is_not_stored(kind: Any, text: str, sent: Any) -> None:
    async with http(hosting(Mizan(showing(kind)))) as web:
        before, answer = await shown(web, text)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=no-canonical-url"
        assert "content-location" not in answer.headers
        called = await web.post("/api/mizan/call/", json={"fn": "write", "args": {"x": sent}})
        assert called.json()["invalidate"] == ["c"]
        assert (await shown(web, text))[0] != before


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [datetime.datetime | int, int | str, float | int, bool | int], ids=str)
async def test_a_text_read_differently_in_urls_does_not_narrow(kind: Any) -> None:
    async with http(hosting(Mizan(showing(kind)))) as web:
        before, _ = await shown(web, "1")
        called = await web.post("/api/mizan/call/", json={"fn": "write", "args": {"x": 1}})
        assert called.json()["invalidate"] == ["c"]
        assert (await shown(web, "1"))[0] != before


@pytest.mark.asyncio
async def test_a_page_gets_the_values_of_its_canonical_path() -> None:
    async with http(hosting(Mizan(showing(datetime.datetime)))) as web:
        other = await web.get(f"/shown/{quote('2026-01-01T00:00:00+14:00')}/")
        same = await web.get("/shown/2025-12-31T10%3A00%3A00Z/")
        assert other.text == same.text == "datetime.datetime(2025, 12, 31, 10, 0, tzinfo=TzInfo(0))"
        assert [answer.headers["cache-control"] for answer in (other, same)] == ["no-store", PUBLIC]


@pytest.mark.asyncio
async def test_a_page_without_a_canonical_path_is_not_public() -> None:
    async with http(hosting(Mizan(showing(Prefixed)))) as web:
        answer = await web.get("/shown/5/")
        assert (answer.text, answer.headers["cache-control"]) == ("'org-5'", "no-store")


@pytest.mark.asyncio
async def test_a_reader_called_alone_gets_its_bundles_values() -> None:
    async with http(hosting(Mizan(showing(datetime.time)))) as web:
        call = {"fn": "shown", "args": {"x": "10:00+01:00"}}
        alone = (await web.post("/api/mizan/call/", json=call)).json()["result"]
        assert alone == (await shown(web, "10:00+01:00"))[0]
    async with http(hosting(Mizan(showing(Prefixed)))) as web:
        assert (await web.post("/api/mizan/call/shown/", json={"x": "5"})).json()["result"] == "'org-5' 0"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "default", "text"),
    [(float, 1, "1"), (str, Color.RED, "red"), (datetime.datetime, DAY, "2025-12-31T10:00:00Z"), (Prefixed, "5", "5")],
    ids=["float", "enum", "moment", "prefixed"],
)
async def test_a_default_that_is_sent_is_answered_as_the_default(kind: Any, default: Any, text: str) -> None:
    for texts in ([(), (text,)], [(text,), ()]):
        async with http(hosting(Mizan(showing_default(kind, default)))) as web:
            found = [await shown(web, *one) for one in texts]
            assert [value for value, _ in found] == [repr(default)] * 2
            assert found[1][1].headers["cache-status"] == "mizan; hit"


@pytest.mark.asyncio
async def test_a_mounted_bundle_without_a_canonical_url_is_not_sent() -> None:
    async with http(hosting(Mizan(showing(Prefixed)))) as web:
        answer = await web.post(
            "/api/mizan/call/", json={"fn": "write", "args": {"x": "5"}}, headers={"X-Mizan-Mounted": "c?x=5"}
        )
        assert json.loads(answer.content) == {"invalidate": ["c"], "refreshed": [], "result": None}
