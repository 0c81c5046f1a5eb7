"""Malformed requests: each is a problem document with a 4xx, and no function runs."""

import datetime
import json
import re

import pytest

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.site import Site, hosting, http, raw, refusal

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def call_of(user_id: str) -> bytes:
    return b'{"fn":"update_profile","args":{"user_id":%b,"name":"x"}}' % user_id.encode()


BODIES = {
    "nothing at all": b"",
    "white space": b"  ",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "a number": b"5",
    "half an object": b'{"fn":"update_profile"',
    "two objects": call_of("5") * 2,
    "a trailing comma": b'{"fn":"update_profile","args":{"user_id":5,}}',
    "bad UTF-8": call_of('"\xff"').replace(b"\xc3\xbf", b"\xff"),
    "overlong UTF-8": call_of('"X"').replace(b"X", b"\xc0\xaf"),
    "a surrogate in UTF-8": call_of('"X"').replace(b"X", b"\xed\xa0\x80"),
    "a byte order mark": b"\xef\xbb\xbf" + call_of("5"),
    "UTF-16": call_of("5").decode().encode("utf-16"),
    "5,000 digits": call_of("9" * 5000),
    "5,000 digits in a text": call_of('"' + "9" * 5000 + '"'),
    "5,000 digits beside the call": b'{"fn":"update_profile","x":' + b"9" * 5000 + b"}",
    "nesting 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "arguments nested 100,000 deep": call_of("[" * 100_000 + "]" * 100_000),
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a list for a name": b'{"fn":[]}',
    "null for a name": b'{"fn":null,"args":{"user_id":5}}',
    "an object for a name": b'{"fn":{"a":1}}',
    "a list of arguments": b'{"fn":"update_profile","args":[1]}',
    "null for arguments": b'{"fn":"update_profile","args":null}',
    "a text for arguments": b'{"fn":"update_profile","args":"user_id"}',
    "another member": b'{"fn":"update_profile","args":{"user_id":5},"extra":1}',
    "an unknown argument": b'{"fn":"update_profile","args":{"user_id":5,"page":1}}',
    "no argument": b'{"fn":"update_profile"}',
    "NaN": call_of("NaN"),
    "Infinity": call_of("Infinity"),
    "minus Infinity": call_of("-Infinity"),
    "a number beyond floats": call_of("1e400"),
    "half a number": call_of("1.5"),
    "a lone high surrogate": call_of('"\\ud800"'),
    "a lone low surrogate": call_of('"\\udc00"'),
    "a lone surrogate in a name": b'{"fn":"\\ud800"}',
    "a control character": call_of('"\x01"'),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_malformed_call_is_refused(site: Site, body: bytes) -> None:
    async with http(site.app(), content_type=JSON) as web:
        answer = await web.post("/api/mizan/call/", content=body)
    assert answer.status_code in (400, 422)
    refusal(answer, answer.status_code, {400: "bad_request", 422: "invalid_input"}[answer.status_code])
    assert not site.ran


ARGUMENTS = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "bad UTF-8": b'{"user_id":"\xff"}',
    "5,000 digits": b'{"user_id":' + b"9" * 5000 + b"}",
    "nesting 100,000 deep": b'{"user_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"user_id":NaN}',
}


@pytest.mark.asyncio
@pytest.mark.parametrize("body", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("path", ["/api/mizan/call/update_profile/", "/rename/"])
async def test_malformed_arguments_are_refused_in_calls_and_by_views(site: Site, path: str, body: bytes) -> None:
    async with http(site.app(), content_type=JSON) as web:
        answer = await web.post(path, content=body)
    assert answer.status_code in (400, 422)
    refusal(answer, answer.status_code, {400: "bad_request", 422: "invalid_input"}[answer.status_code])
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "types",
    [
        [],
        [""],
        ["text/plain"],
        ["text/json"],
        ["application/javascript"],
        ["application/xml"],
        ["application/json-seq"],
        ["json"],
        ["\xff"],
        [JSON, JSON],
        [JSON, FORM],
        [JSON, ""],
        [JSON, "; charset=utf-8"],
        ["application/json, text/plain"],
        [f"{JSON}; charset=klingon"],
        [f"{JSON}; charset=utf-16"],
        [f'{JSON}; a=b; CharSet = "ISO-8859-1"'],
    ],
)
@pytest.mark.parametrize("path", ["/api/mizan/call/", "/api/mizan/call/update_profile/", "/rename/"])
async def test_another_content_type_is_unsupported(site: Site, path: str, types: list[str]) -> None:
    body = call_of("5") if path.endswith("call/") else b'{"user_id":5,"name":"x"}'
    headers = [(b"content-type", one.encode("latin-1")) for one in types]
    async with http(site.app()) as web:
        refusal(await web.post(path, content=body, headers=headers), 415, "unsupported_media_type")
    assert not site.ran


FORMS = {
    "bad UTF-8": (FORM, b"user_id=5&name=%ff", 400),
    "raw bytes that are not UTF-8": (FORM, b"user_id=5&name=\xff", 400),
    "a surrogate": (FORM, b"user_id=5&name=%ed%a0%80", 400),
    "a name that is not UTF-8": (FORM, b"user_id=5&%ff=1", 400),
    "an argument twice": (FORM, b"user_id=5&user_id=5", 422),
    "an unknown argument": (FORM, b"user_id=5&page=1", 422),
    "JSON": (FORM, b'{"user_id":5}', 422),
    "1,001 fields": (FORM, b"&".join([b"user_id=5"] * 1001), 400),
    "an unknown charset": (f"{FORM}; charset=klingon", b"user_id=5", 415),
    "another charset": (f"{FORM}; charset=latin-1", b"user_id=5", 415),
    "5,000 digits": (FORM, b"user_id=" + b"9" * 5000, 422),
}


def part(value: bytes, disposition: bytes = b'form-data; name="user_id"') -> bytes:
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + value + b"\r\n"


MULTIPARTS = {
    "no boundary": ("multipart/form-data", part(b"5") + b"--b--\r\n", 400),
    "another boundary": ("multipart/form-data; boundary=c", part(b"5") + b"--b--\r\n", 400),
    "a boundary too long": (f"multipart/form-data; boundary={'b' * 300}", b"--" + b"b" * 300 + b"--\r\n", 400),
    "no end": (MULTIPART, part(b"5"), 400),
    "no end within a part": (MULTIPART, part(b"5") + part(b"7")[:-4], 400),
    "no end within a header": (MULTIPART, part(b"5") + b"--b\r\nContent-Dispo", 400),
    "nothing": (MULTIPART, b"", 400),
    "no parts": (MULTIPART, b"--b--\r\n", 422),
    "a part without a name": (MULTIPART, part(b"5", b"form-data") + b"--b--\r\n", 400),
    "a part without headers": (MULTIPART, b"--b\r\n\r\n5\r\n--b--\r\n", 400),
    "a broken header": (MULTIPART, b"--b\r\nContent Disposition\r\n\r\n5\r\n--b--\r\n", 400),
    "bad UTF-8": (MULTIPART, part(b"\xff") + b"--b--\r\n", 400),
    "a name that is not UTF-8": (MULTIPART, part(b"5", b'form-data; name="\xff"') + b"--b--\r\n", 400),
    "an unknown charset": (f"{MULTIPART}; charset=klingon", part(b"5") + b"--b--\r\n", 415),
    "a file": (MULTIPART, part(b"5", b'form-data; name="user_id"; filename="a"') + b"--b--\r\n", 415),
    "a file after its text": (
        MULTIPART,
        part(b"5")
        + part(b"5", b'form-data; name="name"; filename="a"')
        + part(b"x", b'form-data; name="name"')
        + b"--b--",
        415,
    ),
    "an argument twice": (MULTIPART, part(b"5") + part(b"5") + b"--b--\r\n", 422),
    "1,001 parts": (MULTIPART, part(b"5") * 1001 + b"--b--\r\n", 400),
    "JSON": (MULTIPART, b'{"user_id":5}', 400),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("media", "body", "status"), [*FORMS.values(), *MULTIPARTS.values()], ids=[*FORMS, *MULTIPARTS]
)
async def test_a_malformed_form_is_refused(site: Site, media: str, body: bytes, status: int) -> None:
    code = {400: "bad_request", 415: "unsupported_media_type", 422: "invalid_input"}[status]
    async with http(site.app(), content_type=media) as web:
        for path in ("/api/mizan/call/update_profile/", "/rename/"):
            refusal(await web.post(path, content=body), status, code)
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("user_id=", 422),
        ("user_id", 422),
        ("user_id=5&user_id=5", 422),
        ("user_id=5&user_id=7", 422),
        ("user_id=5&other=1", 422),
        ("user_id=5&page=1&page=", 422),
        ("user_id=null", 422),
        ("user_id=NaN", 422),
        ("user_id=[5]", 422),
        ("user_id=5;page=2", 422),
        ("=5&user_id=5", 422),
        ("user_id=%ff", 400),
        ("user_id=\xff", 400),
        ("user_id=5&%c0%af=1", 400),
        ("user_id=%ed%a0%80", 400),
        ("user_id=" + "9" * 5000, 422),
        ("&".join(["user_id=5"] * 1001), 400),
        ("x=1&" * 1000 + "user_id=5", 400),
    ],
)
async def test_a_malformed_query_is_refused(site: Site, query: str, status: int) -> None:
    answer = await raw(site.app(), "GET", "/api/mizan/ctx/user/", query=query.encode("latin-1"))
    refusal(answer, status, {400: "bad_request", 422: "invalid_input"}[status])
    assert not site.ran


@pytest.mark.asyncio
async def test_a_page_refuses_bad_utf8_and_repeated_parameters(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(await web.get("/profile/5/?utm=%ff"), 400, "bad_request")
        problem = refusal(await web.get("/profile/5/?user_id=5"), 422, "invalid_input")
        refusal(await web.get("/profile/x/"), 422, "invalid_input")
    assert problem["errors"][0]["loc"] == ["args", "user_id"]
    assert not site.ran


@pytest.mark.asyncio
async def test_many_unknown_members_are_refused_in_few_words(site: Site) -> None:
    body = json.dumps({"user_id": 5, "name": "x"} | {f"m{number}": 0 for number in range(70_000)})
    async with http(site.app(), content_type=JSON) as web:
        for path in ("/api/mizan/call/update_profile/", "/rename/"):
            answer = await web.post(path, content=body)
            assert len(refusal(answer, 422, "invalid_input")["errors"]) <= 100
    assert not site.ran


@pytest.mark.asyncio
async def test_any_error_of_pydantic_is_invalid_input() -> None:
    ran: list[datetime.timedelta] = []

    @client(context="spans")
    async def wait(span: datetime.timedelta) -> None:
        ran.append(span)

    beyond_timedelta = "-P999999999DT1S"
    async with http(hosting(Mizan(build([wait])))) as web:
        refusal(await web.post("/api/mizan/call/wait/", json={"span": beyond_timedelta}), 422, "invalid_input")
        refusal(await web.get(f"/api/mizan/ctx/spans/?span={beyond_timedelta}"), 422, "invalid_input")
    assert not ran


@pytest.mark.asyncio
async def test_a_pattern_too_deep_to_be_read_is_invalid_input() -> None:
    @client
    async def find(pattern: re.Pattern[str]) -> None: ...

    async with http(hosting(Mizan(build([find])))) as web:
        refusal(await web.post("/api/mizan/call/find/", json={"pattern": "(" * 50_000}), 422, "invalid_input")


@pytest.mark.asyncio
@pytest.mark.parametrize("chunks", [[b"x" * 101], [b"x" * 60, b"x" * 41], [b"", b"x" * 101]], ids=len)
async def test_a_body_without_length_is_refused_at_the_limit(site: Site, chunks: list[bytes]) -> None:
    answer = await raw(site.mizan(max_body_bytes=100), "POST", "/api/mizan/call/", chunks=chunks)
    refusal(answer, 413, "payload_too_large")
