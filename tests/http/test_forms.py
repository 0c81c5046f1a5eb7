"""Forms: decoded after the guards, in native steps, with blank fields as empty texts or nulls."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from mizan_asgi import Mizan
from mizan_asgi.http.bodies.forms import parse_multipart, parse_pairs
from mizan_core import Identity, build, client
from mizan_core.errors import BadRequest
from tests.counting import calls
from tests.http.site import Site, hosting, http, refusal

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"

# Bodies that are refused as soon as they are decoded.
UNREADABLE = {
    "JSON": ("application/json", b"{"),
    "a form": (URLENCODED, b"%ff"),
    "a multipart form": (MULTIPART, b"--c"),
    "another type": ("text/plain", b"x"),
}


@pytest.mark.parametrize(("media", "body"), UNREADABLE.values(), ids=UNREADABLE)
class TestGuardsFirst:
    @pytest.mark.asyncio
    async def test_no_body_is_decoded_before_the_function_is_found(self, site: Site, media: str, body: bytes) -> None:
        async with http(site.app(), content_type=media) as web:
            refusal(await web.post("/api/mizan/call/nothing/", content=body), 404, "not_found")
            refusal(await web.post("/api/mizan/call/profile_page/", content=body), 404, "not_found")
            refusal(await web.post("/api/mizan/call/import_users/", content=body), 403, "forbidden")

    @pytest.mark.asyncio
    async def test_no_body_is_decoded_before_the_guard_is_asked(self, site: Site, media: str, body: bytes) -> None:
        @client(auth="staff", route="/sack/", methods=["POST"])
        async def sack_view(user_id: int) -> PlainTextResponse:
            return PlainTextResponse("sacked")

        mizan = Mizan(build([*site.functions, sack_view]), authenticate=lambda request: Identity("bo"))
        async with http(hosting(mizan), content_type=media) as web:
            refusal(await web.post("/api/mizan/call/sack/", content=body), 403, "forbidden")
            refusal(await web.post("/sack/", content=body), 403, "forbidden")

    @pytest.mark.asyncio
    async def test_the_body_of_a_forbidden_call_is_not_read(self, site: Site, media: str, body: bytes) -> None:
        mizan = site.mizan()

        async def unread() -> Any:
            raise AssertionError("The body is read.")

        async def host(scope: Any, receive: Any, send: Any) -> None:
            await mizan(scope, unread, send)

        async with http(host, content_type=media) as web:
            refusal(await web.post("/api/mizan/call/sack/", content=body), 401, "unauthorized")
            refusal(await web.post("/api/mizan/call/nothing/", content=body), 404, "not_found")
            refusal(await web.post("/api/mizan/call/import_users/", content=body), 403, "forbidden")


class TestDecoding:
    @pytest.mark.parametrize("piece", [b"%", b"%4", b"%41", b"%41a", b"+", b"\\", b"%zz"])
    def test_percent_signs_cost_no_calls_each(self, piece: bytes) -> None:
        few, many = (calls(lambda count=count: parse_pairs(b"a=" + piece * count)) for count in (10, 100_000))
        assert few == many

    def test_separators_are_counted_before_fields_are_split(self) -> None:
        with pytest.raises(BadRequest):
            parse_pairs(b"&" * 1_000_000)
        assert parse_pairs(b"&a=1&&b=2&") == (("a", "1"), ("b", "2"))

    @pytest.mark.parametrize("filler", [b"x", b"\r\n", b";", b"x: y\r\n", b'"', b";a=", b"\\"])
    def test_long_part_headers_and_values_take_no_more_calls(self, filler: bytes) -> None:
        def parsing(times: int) -> Any:
            body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + filler * times + b"\r\n--b--"
            return lambda: parse_multipart(MULTIPART, body)

        assert calls(parsing(10)) == calls(parsing(50_000))


PARTS = {
    "as browsers write it": (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'),
    "a quoted boundary": (
        'Multipart/Form-Data; charset=utf-8; Boundary="b c"',
        b'--b c\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b c--',
    ),
    "names in another case, and no quotes": (
        MULTIPART,
        b"--b\r\ncontent-DISPOSITION:form-data;NAME=a\r\n\r\n1\r\n--b--",
    ),
    "other headers": (
        MULTIPART,
        b'--b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="a"\r\nX: y\r\n\r\n1\r\n--b--',
    ),
    "padding, a preamble and an epilogue": (
        MULTIPART,
        b'hello\r\n--b \t\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\ngoodbye',
    ),
}


@pytest.mark.parametrize(("media", "body"), PARTS.values(), ids=PARTS)
def test_every_spelling_of_a_part_is_read(media: str, body: bytes) -> None:
    assert parse_multipart(media, body) == (("a", "1"),)


def test_a_name_with_quotes_and_backslashes_is_read() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="a\\"\\\\b"\r\n\r\n1\r\n\r\n--c\r\n--b--'
    assert parse_multipart(MULTIPART, body) == (('a"\\b', "1\r\n\r\n--c"),)


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("multipart/form-data; boundary=", b"--\r\n"),
        (MULTIPART, b'--bb\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--bb--'),
        (MULTIPART, b'--b\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n--b--'),
        (MULTIPART, b"--b\r\nX: " + b"y" * 5000 + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--'),
    ],
)
def test_an_invalid_multipart_form_is_refused(media: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_multipart(media, body)


@pytest.mark.parametrize("multipart", [False, True])
class TestBlanks:
    async def filled_in(self, multipart: bool, **fields: str) -> Any:
        @client(route="/search/", methods=["POST"])
        async def search(
            word: str,
            page: int = 1,
            tag: str = "all",
            size: int | None = None,
            note: str | None = None,
            marks: tuple[int, ...] = (),
            *,
            limit: int | None,
        ) -> list[Any]:
            return [word, page, tag, size, note, marks, limit]

        sent: Any = (
            {"files": {name: (None, value) for name, value in fields.items()}} if multipart else {"data": fields}
        )
        async with http(hosting(Mizan(build([search])))) as web:
            by_name, by_route = await web.post("/api/mizan/call/search/", **sent), await web.post("/search/", **sent)
        assert by_name.status_code == by_route.status_code
        if by_name.status_code != 200:
            return refusal(by_route, 422, "invalid_input")["errors"][0]["loc"]
        assert by_name.json()["result"] == by_route.json()
        return by_route.json()

    @pytest.mark.asyncio
    async def test_a_blank_that_need_not_be_filled_in_is_not_sent(self, multipart: bool) -> None:
        blank = dict.fromkeys(["page", "tag", "size", "note", "marks"], "")
        assert await self.filled_in(multipart, word="x", limit="3", **blank) == ["x", 1, "all", None, None, [], 3]

    @pytest.mark.asyncio
    async def test_a_blank_text_is_blank_or_null_where_allowed(self, multipart: bool) -> None:
        assert await self.filled_in(multipart, word="", limit="", page="2") == ["", 2, "all", None, None, [], None]

    @pytest.mark.asyncio
    async def test_a_blank_of_a_name_that_the_function_lacks_is_refused(self, multipart: bool) -> None:
        assert await self.filled_in(multipart, word="x", limit="", other="") == ["args", "other"]


@pytest.mark.asyncio
async def test_a_blank_in_json_or_in_a_query_is_a_value() -> None:
    @client(context="finds")
    async def finds(page: int = 1) -> int:
        return page

    @client
    async def tagged(tag: str = "all") -> str:
        return tag

    async with http(hosting(Mizan(build([finds, tagged])))) as web:
        refusal(await web.get("/api/mizan/ctx/finds/?page="), 422, "invalid_input")
        assert (await web.post("/api/mizan/call/tagged/", json={"tag": ""})).json() == {"result": ""}
