"""Calls over HTTP: as JSON, as forms, by name (protocol, section 3)."""

import json

import pytest

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.site import Site, hosting, http, refusal

UPDATED = {"result": {"user_id": 5, "name": "Eve"}, "invalidate": [{"context": "user", "params": {"user_id": 5}}]}


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/call/", "/call", "/call/update_profile/", "/call/update_profile"])
@pytest.mark.parametrize("media", ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.x+json"])
async def test_a_call_is_made_as_json_with_and_without_its_final_slash(site: Site, path: str, media: str) -> None:
    args = {"user_id": 5, "name": "Eve"}
    body = args if "update" in path else {"fn": "update_profile", "args": args}
    async with http(site.app(), content_type=media) as web:
        answer = await web.post(f"/api/mizan{path}", content=json.dumps(body))
    assert (answer.status_code, answer.json()) == (200, UPDATED)
    assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.asyncio
@pytest.mark.parametrize("slash", ["/", ""])
async def test_a_call_is_made_as_an_urlencoded_form(site: Site, slash: str) -> None:
    async with http(site.app()) as web:
        answer = await web.post(f"/api/mizan/call/update_profile{slash}", data={"user_id": "5", "name": "Eve"})
    assert answer.json() == UPDATED
    assert site.names[5] == "Eve"


@pytest.mark.asyncio
@pytest.mark.parametrize("slash", ["/", ""])
async def test_a_call_is_made_as_a_multipart_form(site: Site, slash: str) -> None:
    fields = {"user_id": (None, "5"), "name": (None, "Eve")}
    async with http(site.app()) as web:
        answer = await web.post(f"/api/mizan/call/update_profile{slash}", files=fields)
    assert answer.json() == UPDATED


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["Zoë & Söhne = 100 % +1", "", "a\r\nb\0c", "日本 ☃ 🙂", "x" * 5000])
async def test_both_kinds_of_form_carry_every_text(site: Site, name: str) -> None:
    async with http(site.app()) as web:
        for body in (
            {"data": {"user_id": "5", "name": name}},
            {"files": {"user_id": (None, "5"), "name": (None, name)}},
        ):
            answer = await web.post("/api/mizan/call/update_profile/", **body)
            assert answer.json()["result"]["name"] == name


@pytest.mark.asyncio
async def test_a_list_in_a_form_is_given_by_repeating_its_name(site: Site) -> None:
    async with http(site.app()) as web:
        sent = await web.post("/api/mizan/call/echo/", data={"values": ["a", "b"]})
        parts = await web.post("/api/mizan/call/echo/", files=[("values", (None, "a")), ("values", (None, "b"))])
        one = await web.post("/api/mizan/call/echo/", data={"values": "a"})
    assert [sent.json(), parts.json(), one.json()] == [
        {"result": ["a", "b"]},
        {"result": ["a", "b"]},
        {"result": ["a"]},
    ]


@pytest.mark.asyncio
async def test_a_scalar_given_twice_in_a_form_is_refused(site: Site) -> None:
    async with http(site.app()) as web:
        problem = refusal(
            await web.post("/api/mizan/call/update_profile/", data={"user_id": ["5", "6"]}), 422, "invalid_input"
        )
    assert problem["errors"][0]["loc"] == ["args", "user_id"]
    assert not site.ran


@pytest.mark.asyncio
async def test_a_file_in_a_form_is_no_argument(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(
            await web.post("/api/mizan/call/update_profile/", files={"name": ("a.txt", b"Eve")}),
            415,
            "unsupported_media_type",
        )


@pytest.mark.asyncio
async def test_a_form_has_to_name_its_function_in_the_path(site: Site) -> None:
    async with http(site.app()) as web:
        problem = refusal(
            await web.post("/api/mizan/call/", data={"fn": "update_profile"}), 415, "unsupported_media_type"
        )
    assert "/call/{name}/" in problem["detail"]


@pytest.mark.asyncio
async def test_arguments_may_be_left_out_when_nothing_is_required() -> None:
    @client
    async def ping(word: str = "pong") -> str:
        return word

    async with http(hosting(Mizan(build([ping])))) as web:
        answers = [
            await web.post("/api/mizan/call/", json={"fn": "ping"}),
            await web.post("/api/mizan/call/ping/"),
            await web.post("/api/mizan/call/ping/", json={}),
            await web.post(
                "/api/mizan/call/ping/", data={}, headers={"content-type": "application/x-www-form-urlencoded"}
            ),
        ]
    assert [answer.json() for answer in answers] == [{"result": "pong"}] * 4


@pytest.mark.asyncio
async def test_a_reader_called_alone_is_computed_each_time(site: Site) -> None:
    async with http(site.app()) as web:
        for _ in range(2):
            answer = await web.post("/api/mizan/call/user_badges/", json={"user_id": 5, "page": 2})
            assert answer.json() == {"result": ["Ada-2"]}
            assert "x-mizan-invalidate" not in answer.headers
            assert answer.headers["cache-control"] == "no-store"
    assert site.ran["user_badges"] == 2


@pytest.mark.asyncio
async def test_integers_of_any_size_come_back_with_every_digit(site: Site) -> None:
    user_id = 2**70 + 1
    async with http(site.app()) as web:
        answer = await web.post("/api/mizan/call/update_profile/", json={"user_id": user_id, "name": "x"})
    assert answer.json()["result"]["user_id"] == user_id
    assert answer.headers["x-mizan-invalidate"] == f"user;user_id={user_id}"


@pytest.mark.asyncio
async def test_every_byte_of_an_argument_survives_in_the_header() -> None:
    @client(context="tag")
    async def tagged(tag: str) -> str:
        return tag

    @client(affects="tag")
    async def retag(tag: str) -> None:
        pass

    tag = "a;b,c=d/e%f\r\nSet-Cookie: x\0é☃*["
    async with http(hosting(Mizan(build([tagged, retag])))) as web:
        answer = await web.post("/api/mizan/call/retag/", json={"tag": tag})
    assert answer.headers["x-mizan-invalidate"] == (
        "tag;tag=a%3Bb%2Cc%3Dd%2Fe%25f%0D%0ASet-Cookie%3A%20x%00%C3%A9%E2%98%83%2A%5B"
    )
    assert answer.json()["invalidate"] == [{"context": "tag", "params": {"tag": tag}}]


@pytest.mark.asyncio
async def test_a_500_purges_and_carries_the_header(site: Site) -> None:
    async with http(site.app()) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        assert (await web.get(bundle)).json()["user_profile"]["name"] == "Ada"
        answer = await web.post("/api/mizan/call/explode/", json={"user_id": 5})
        assert "hunter2" not in refusal(answer, 500, "internal_error")["detail"] + answer.text
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        assert (await web.get(bundle)).json()["user_profile"]["name"] == "half done"


@pytest.mark.asyncio
async def test_an_invalid_result_is_a_500_that_purges(site: Site) -> None:
    async with http(site.app()) as web:
        bundle = "/api/mizan/ctx/user/?user_id=5"
        await web.get(bundle)
        answer = await web.post("/api/mizan/call/misfit/", json={"user_id": 5})
        refusal(answer, 500, "internal_error")
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        assert (await web.get(bundle)).json()["user_profile"]["name"] == "unserialisable"


@pytest.mark.asyncio
async def test_a_result_without_json_is_a_500_with_the_header() -> None:
    @client(context="tag")
    async def tagged(tag: str) -> str:
        return tag

    @client(affects="tag")
    async def surrogate(tag: str) -> str:
        return "\ud800"

    async with http(hosting(Mizan(build([tagged, surrogate])))) as web:
        answer = await web.post("/api/mizan/call/surrogate/", json={"tag": "a"})
    refusal(answer, 500, "internal_error")
    assert answer.headers["x-mizan-invalidate"] == "tag;tag=a"


@pytest.mark.asyncio
async def test_a_function_may_read_its_calls_body_again() -> None:
    @client
    async def raw(request, word: str) -> str:
        return (await request.body()).decode()

    async with http(hosting(Mizan(build([raw])))) as web:
        answer = await web.post("/api/mizan/call/raw/", data={"word": "a"})
    assert answer.json() == {"result": "word=a"}
