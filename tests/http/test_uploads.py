"""Files in calls: kept in memory or on disk, limited while they arrive, and closed however the call ends."""

import asyncio
import datetime
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import pytest
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

from mizan_asgi import Mizan
from mizan_core import CallError, Context, File, Forbidden, Identity, build, client
from tests.http.site import hosting, http, refusal

PLACE = "/api/mizan/call/"
LIMIT = 3_000_000

User = Context("user")


class Crop(BaseModel, strict=True):
    x: int
    day: datetime.date = datetime.date(2026, 1, 1)  # strict: only JSON has a text for it


CROP = Crop(x=1, day=datetime.date(2026, 2, 3))


class Album:
    """Functions that take files, what they were given, and every temporary file that was opened for them."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.kept: list[File] = []
        self.guards = 0
        self.began = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.functions = [*self._mutations(), *self._readers()]

    def mizan(self, **options: Any) -> Mizan:
        return Mizan(build(self.functions), authenticate=lambda request: Identity("5"), **options)

    def _keep(self, *files: File | None, **given: Any) -> None:
        self.kept += [one for one in files if one is not None]
        self.given = given

    def _readers(self) -> list[Any]:
        @client(context=User)
        async def profile(user_id: int) -> str:
            return "Ada"

        return [profile]

    def _mutations(self) -> list[Any]:
        def counted(me: Identity) -> bool:
            self.guards += 1
            return me.user_id == "7"

        @client(affects=User, max_upload_bytes=LIMIT)
        async def set_avatar(user_id: int, picture: File, crop: Crop | None = None, tags: tuple[str, ...] = ()) -> str:
            body = await picture.read()
            self._keep(picture, user_id=user_id, body=body, crop=crop, tags=tags)
            return f"{picture.name} {picture.content_type} {picture.size}"

        @client(affects=User, max_upload_bytes=LIMIT)
        def set_avatar_in_a_thread(user_id: int, picture: File) -> int:
            self._keep(picture, body=picture.file.read())
            return len(self.given["body"])

        @client(affects=User, max_upload_bytes=LIMIT)
        async def add_photos(user_id: int, photos: Annotated[list[File], Field(max_length=3)]) -> list[int]:
            self._keep(*photos)
            return [one.size for one in photos]

        @client(affects=User)
        async def comment(user_id: int, text: str, attachment: File | None = None) -> str:
            self._keep(attachment, text=text)
            return "none" if attachment is None else (await attachment.read()).decode()

        @client(affects=User)
        async def fail_with(user_id: int, picture: File, how: str) -> None:
            self._keep(picture)
            raise {
                "refusal": Forbidden("No."),
                "error": RuntimeError("no"),
                "unavailable": CallError("x", status=503, code="x"),
            }[how]

        @client(affects=User)
        async def wait_with(user_id: int, picture: File) -> None:
            self._keep(picture)
            self.began.set()
            await self.goes_on.wait()
            self.given = {"body": await picture.read()}

        @client(affects=User, auth=counted, max_upload_bytes=LIMIT)
        async def guarded(user_id: int, picture: File) -> None: ...

        @client(affects=User, route="/avatars/{user_id}/", max_upload_bytes=LIMIT)
        async def avatar_page(request: Any, user_id: int, picture: File, note: str = "") -> PlainTextResponse:
            self._keep(picture)
            return PlainTextResponse(f"{user_id} {picture.size} {note} {len(await request.body())}")

        @client(affects=User)
        async def rename(user_id: int, name: str) -> None: ...

        return [
            *(set_avatar, set_avatar_in_a_thread, add_photos, comment, fail_with, wait_with, guarded),
            *(avatar_page, rename),
        ]


@pytest.fixture
def album() -> Album:
    return Album()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every temporary file that a form has opened. All are closed when the test has ended."""
    made: list[Any] = []

    def opening(*args: Any, **options: Any) -> Any:
        made.append(tempfile.SpooledTemporaryFile(*args, **options))  # noqa: SIM115  # the call closes it
        return made[-1]

    monkeypatch.setattr("mizan_asgi.http.bodies.uploads.SpooledTemporaryFile", opening)
    yield made
    assert [one for one in made if not one.closed] == []


def multipart(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A form of parts: the parameters and further headers of each, and its bytes."""
    body = b""
    for head, value in parts:
        body += f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def posting(web: httpx.AsyncClient, name: str, body: Any, boundary: str = "b", **headers: str) -> Any:
    media = f"multipart/form-data; boundary={boundary}"
    return web.post(f"{PLACE}{name}/", content=body, headers={"content-type": media, **headers})


PICTURE = 'name="picture"; filename="a.png"'
USER = ('name="user_id"', b"5")


class TestArguments:
    @pytest.mark.asyncio
    async def test_a_file_comes_with_its_name_type_and_bytes(self, album: Album, opened: list[Any]) -> None:
        async with http(hosting(album.mizan())) as web:
            answer = await web.post(
                f"{PLACE}set_avatar/", data={"user_id": "5"}, files={"picture": ("a.png", b"bytes", "image/png")}
            )
        assert answer.json() == {
            "invalidate": [{"context": "user", "params": {"user_id": 5}}],
            "result": "a.png image/png 5",
        }
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        assert album.given == {"user_id": 5, "body": b"bytes", "crop": None, "tags": ()}
        assert len(opened) == 1

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "parts",
        [
            [('name=":args"', b'{"user_id": 5, "crop": {"x": 1, "day": "2026-02-03"}, "tags": ["a", "b"]}')],
            [
                USER,
                ('name="crop"\r\nContent-Type: application/json', b'{"x":1,"day":"2026-02-03"}'),
                ('name="tags"', b"a"),
                ('name="tags"', b"b"),
            ],
            [
                (
                    'name="crop"; filename="blob"\r\nContent-Type: application/json; charset=utf-8',
                    b'{"x":1,"day":"2026-02-03"}',
                ),
                ('name=":args"; filename="blob"', b'{"user_id": 5, "tags": ["a", "b"]}'),
            ],
        ],
    )
    async def test_other_arguments_are_fields_or_json(self, album: Album, parts: Any, opened: list[Any]) -> None:
        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "set_avatar", multipart(*parts, (PICTURE, b"1")))
        assert answer.status_code == 200, answer.text
        assert album.given == {"user_id": 5, "body": b"1", "crop": CROP, "tags": ("a", "b")}

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "parts",
        [
            [USER, ('name=":args"', b'{"user_id": 5}'), (PICTURE, b"1")],
            [('name=":args"', b'{"user_id": 5}'), ('name=":args"', b'{"user_id": 5}'), (PICTURE, b"1")],
            [USER, USER, (PICTURE, b"1")],
            [USER, (PICTURE, b"1"), (PICTURE, b"1")],
            [USER, (PICTURE, b"1"), ('name="rest"', b"1")],
            [USER, (PICTURE, b"1"), ('name="rest"; filename="r"', b"1")],
            [USER, (PICTURE, b"1"), ('name="tags"; filename="r"', b"1")],
            [USER, ('name="picture"', b"no file")],
            [USER, ('name="picture"; filename=""', b"")],
            [USER, ('name=":args"', b'{"picture": "no file"}')],
            [USER],
        ],
    )
    async def test_arguments_that_do_not_fit_are_refused(self, album: Album, parts: Any, opened: list[Any]) -> None:
        async with http(hosting(album.mizan())) as web:
            refusal(await posting(web, "set_avatar", multipart(*parts)), 422, "invalid_input")
        assert album.given == {}

    @pytest.mark.asyncio
    async def test_a_list_takes_as_many_files_as_declared(self, album: Album, opened: list[Any]) -> None:
        photo = 'name="photos"; filename="a"'
        async with http(hosting(album.mizan())) as web:
            three = await posting(web, "add_photos", multipart(USER, (photo, b"1"), (photo, b"22"), (photo, b"")))
            refusal(await posting(web, "add_photos", multipart(USER, *[(photo, b"1")] * 4)), 422, "invalid_input")
        assert three.json()["result"] == [1, 2, 0]

    @pytest.mark.asyncio
    async def test_an_optional_file_may_be_left_out_of_forms_and_json(self, album: Album, opened: list[Any]) -> None:
        field = ('name="text"', b"hello")
        async with http(hosting(album.mizan())) as web:
            answers = [
                await posting(web, "comment", multipart(USER, field, ('name="attachment"; filename="t"', b"data"))),
                await posting(web, "comment", multipart(USER, field, ('name="attachment"; filename=""', b""))),
                await posting(web, "comment", multipart(USER, field)),
                await web.post(f"{PLACE}comment/", json={"user_id": 5, "text": "hello", "attachment": None}),
                await web.post("/api/mizan/call/", json={"fn": "comment", "args": {"user_id": 5, "text": "hello"}}),
                await web.post(f"{PLACE}comment/", data={"user_id": "5", "text": "hello"}),
            ]
        assert [one.json()["result"] for one in answers] == ["data", *["none"] * 5]

    @pytest.mark.asyncio
    async def test_json_cannot_stand_for_a_file(self, album: Album) -> None:
        async with http(hosting(album.mizan())) as web:
            call = {"user_id": 5, "picture": "bytes"}
            refusal(await web.post(f"{PLACE}set_avatar/", json=call), 422, "invalid_input")
            refusal(await web.post("/api/mizan/call/", json={"fn": "set_avatar", "args": call}), 422, "invalid_input")

    @pytest.mark.asyncio
    async def test_a_function_without_files_refuses_them(self, album: Album) -> None:
        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "rename", multipart(USER, ('name="name"; filename="a"', b"x")))
        refusal(answer, 415, "unsupported_media_type")

    @pytest.mark.asyncio
    async def test_a_route_takes_files_and_parameters_of_its_path(self, album: Album, opened: list[Any]) -> None:
        async with http(hosting(album.mizan())) as web:
            media = {"content-type": "multipart/form-data; boundary=b"}
            note = ('name="note"', b"hi")
            answer = await web.post("/avatars/5/", content=multipart((PICTURE, b"123"), note), headers=media)
            twice = await web.post("/avatars/5/", content=multipart(USER, (PICTURE, b"123")), headers=media)
            large = await web.post("/avatars/5/", content=b"x", headers={**media, "content-length": str(LIMIT + 1)})
            text = await web.post("/avatars/5/", json={"picture": "x"})
        assert answer.text == "5 3 hi 0"
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        refusal(twice, 422, "invalid_input")
        refusal(large, 413, "payload_too_large")
        refusal(text, 422, "invalid_input")

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("sent", "name"),
        [
            ("../../etc/passwd", "passwd"),
            (r"C:\\Users\\a.png", "a.png"),
            ("..", ""),
            ("b\x00\x1ba", "ba"),
            ("ä é.png", "ä é.png"),
        ],
    )
    async def test_a_name_has_no_path(self, album: Album, sent: str, name: str, opened: list[Any]) -> None:
        async with http(hosting(album.mizan())) as web:
            await posting(web, "set_avatar", multipart(USER, (f'name="picture"; filename="{sent}"', b"1")))
        assert album.kept[0].name == name

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("name", "part", "most"), [("set_avatar", "picture", 1), ("add_photos", "photos", 3)])
    async def test_a_file_too_many_is_refused_as_it_begins(
        self, album: Album, name: str, part: str, most: int, opened: list[Any]
    ) -> None:
        file = (f'name="{part}"; filename="a"', b"1")

        async def more_and_more() -> AsyncIterator[bytes]:
            yield multipart(USER, *[file] * (most + 1), (file[0], b"x" * 100))[:-50]
            raise AssertionError("The body is read on.")

        status, _ = await asked(album.mizan(), name, more_and_more())
        assert status == 422
        assert len(opened) == most


class TestMemoryAndDisk:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["set_avatar", "set_avatar_in_a_thread"])
    @pytest.mark.parametrize("piece", [1000, 65_536, LIMIT])
    async def test_a_large_file_is_the_same_from_disk(
        self, album: Album, name: str, piece: int, opened: list[Any]
    ) -> None:
        picture = bytes(range(256)) * 10_000
        body = multipart(USER, (PICTURE, picture))
        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, name, pieces(body, piece))
        assert answer.status_code == 200, answer.text
        assert album.given["body"] == picture
        assert album.kept[0].size == len(picture)
        assert opened[0].name is not None  # that of its place on disk

    @pytest.mark.asyncio
    async def test_small_files_stay_in_memory_together_within_a_bound(self, album: Album, opened: list[Any]) -> None:
        photo = 'name="photos"; filename="a"'
        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "add_photos", multipart(USER, *[(photo, b"x" * 500_000)] * 3))
        assert answer.json()["result"] == [500_000] * 3
        assert [one.name is not None for one in opened] == [False, False, True]


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for place in range(0, len(body), size):
        yield body[place : place + size]


class TestLimits:
    @pytest.mark.asyncio
    async def test_an_announced_length_is_refused_before_guard_and_body(self, album: Album) -> None:
        async def unread() -> AsyncIterator[bytes]:
            raise AssertionError("The body is read.")
            yield b""

        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "guarded", unread(), **{"content-length": str(LIMIT + 1)})
            refusal(answer, 413, "payload_too_large")
            assert str(LIMIT) in answer.json()["detail"]
        assert album.guards == 0

    @pytest.mark.asyncio
    async def test_a_body_is_counted_while_it_arrives(self, album: Album, opened: list[Any]) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            yield multipart(USER)[:-7] + b"\r\n--b\r\nContent-Disposition: form-data; " + PICTURE.encode() + b"\r\n\r\n"
            while True:
                sent += 100_000
                yield b"x" * 100_000

        status, _ = await asked(album.mizan(), "set_avatar", endless())
        assert status == 413
        assert sent <= LIMIT + 100_000
        assert opened[0].closed

    @pytest.mark.asyncio
    async def test_without_a_limit_of_its_own_a_function_has_that_of_all(self, album: Album, opened: list[Any]) -> None:
        body = multipart(USER, ('name="text"', b""), ('name="attachment"; filename="a"', b"x" * 2000))
        async with http(hosting(album.mizan(max_body_bytes=1000))) as web:
            refusal(await posting(web, "comment", body), 413, "payload_too_large")
            refusal(await posting(web, "comment", pieces(body, 100)), 413, "payload_too_large")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("part", ['name="tags"', 'name=":args"'])
    async def test_what_is_no_file_has_the_limit_of_all(self, album: Album, part: str, opened: list[Any]) -> None:
        body = multipart((PICTURE, b"x" * 5000), (part, b"x" * 2000))
        async with http(hosting(album.mizan(max_body_bytes=1000))) as web:
            refusal(await posting(web, "set_avatar", body), 413, "payload_too_large")
            call = await web.post(f"{PLACE}set_avatar/", json={"user_id": "5" * 2000})
            refusal(call, 413, "payload_too_large")

    @pytest.mark.asyncio
    async def test_the_guard_is_asked_before_the_body_is_read(self, album: Album) -> None:
        async def unread() -> AsyncIterator[bytes]:
            raise AssertionError("The body is read.")
            yield b""

        async with http(hosting(album.mizan())) as web:
            refusal(await posting(web, "guarded", unread()), 403, "forbidden")
        assert album.guards == 1

    @pytest.mark.asyncio
    async def test_another_site_is_refused_before_the_body_is_read(self, album: Album) -> None:
        async def unread() -> AsyncIterator[bytes]:
            raise AssertionError("The body is read.")
            yield b""

        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "set_avatar", unread(), origin="https://elsewhere.test")
        refusal(answer, 403, "forbidden")


# Forms whose parts can be told, and do not fit the function.
NESTED = multipart(('name="tags"\r\nContent-Type: multipart/mixed; boundary=b', multipart((PICTURE, b"1"))))
NO_OBJECT = multipart((PICTURE, b"1"), ('name=":args"', b"[]"))
INVALID = (422, "invalid_input")

ATTACKS = {
    "no boundary": ("multipart/form-data", multipart(USER, (PICTURE, b"1"))),
    "an empty boundary": ("multipart/form-data; boundary=", multipart(USER)),
    "another boundary": ("multipart/form-data; boundary=c", multipart(USER)),
    "no end": ("multipart/form-data; boundary=b", multipart(USER, (PICTURE, b"1"))[:-8]),
    "nothing": ("multipart/form-data; boundary=b", b""),
    "no name": ("multipart/form-data; boundary=b", multipart(('filename="a"', b"1"))),
    "a name that is no UTF-8": (
        "multipart/form-data; boundary=b",
        multipart(USER, (PICTURE, b"1")).replace(b"a.png", b"\xff"),
    ),
    "a text that is no UTF-8": (
        "multipart/form-data; boundary=b",
        multipart(('name="user_id"', b"\xff"), (PICTURE, b"1")),
    ),
    "a huge name": ("multipart/form-data; boundary=b", multipart((f'name="picture"; filename="{"a" * 5000}"', b"1"))),
    "a huge header": ("multipart/form-data; boundary=b", multipart((PICTURE + "\r\nX: " + "a" * 5000, b"1"))),
    "large headers": ("multipart/form-data; boundary=b", multipart((PICTURE + ("\r\nX: " + "a" * 3000) * 2, b"1"))),
    "many headers": ("multipart/form-data; boundary=b", multipart((PICTURE + "\r\nX: a" * 500, b"1"))),
    "a header without an end": ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: " + b"x" * 100_000),
    "many parts": ("multipart/form-data; boundary=b", multipart(*[('name="tags"', b"")] * 1001)),
    "a nested form": ("multipart/form-data; boundary=b", NESTED),
    "JSON that is none": ("multipart/form-data; boundary=b", multipart((PICTURE, b"1"), ('name=":args"', b"{"))),
    "JSON that is no object": ("multipart/form-data; boundary=b", NO_OBJECT),
    "an attachment": ("multipart/form-data; boundary=b", multipart(USER).replace(b"form-data;", b"attachment;")),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("media", "body"), ATTACKS.values(), ids=ATTACKS)
async def test_a_malformed_form_is_refused(album: Album, media: str, body: bytes, opened: list[Any]) -> None:
    async with http(hosting(album.mizan())) as web:
        for size in (7, 100_000):
            answer = await web.post(f"{PLACE}set_avatar/", content=pieces(body, size), headers={"content-type": media})
            refusal(answer, *(INVALID if body in (NESTED, NO_OBJECT) else (400, "bad_request")))
    assert album.given == {}


class TestClosing:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("how", "status"), [("refusal", 403), ("error", 500), ("unavailable", 503), ("other", 500)]
    )
    async def test_files_are_closed_when_the_function_has_failed(
        self, album: Album, how: str, status: int, opened: list[Any]
    ) -> None:
        async with http(hosting(album.mizan())) as web:
            answer = await posting(web, "fail_with", multipart(USER, ('name="how"', how.encode()), (PICTURE, b"1")))
        assert answer.status_code == status
        assert album.kept[0].file.closed

    @pytest.mark.asyncio
    async def test_files_are_closed_when_the_client_goes_within_the_body(self, album: Album, opened: list[Any]) -> None:
        async def broken() -> AsyncIterator[bytes | None]:
            yield multipart(USER, (PICTURE, b"x" * 2_000_000))[:-20]
            yield None

        status, _ = await asked(album.mizan(), "set_avatar", broken())
        assert status is None
        assert [one.closed for one in opened] == [True]

    @pytest.mark.asyncio
    async def test_files_are_closed_when_the_request_is_cancelled(self, album: Album, opened: list[Any]) -> None:
        reached = asyncio.Event()

        async def stalled() -> AsyncIterator[bytes | None]:
            yield multipart(USER, (PICTURE, b"x" * 2_000_000))[:-20]
            reached.set()
            await asyncio.Event().wait()

        asking = asyncio.ensure_future(asked(album.mizan(), "set_avatar", stalled()))
        await reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [one.closed for one in opened] == [True]

    @pytest.mark.asyncio
    async def test_a_function_keeps_its_files_after_its_caller_has_gone(self, album: Album, opened: list[Any]) -> None:
        mizan = album.mizan()
        body = pieces(multipart(USER, (PICTURE, b"bytes")), 1000)
        asking = asyncio.ensure_future(asked(mizan, "wait_with", body))
        await album.began.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not opened[0].closed
        album.goes_on.set()
        await mizan.engine.aclose()
        assert album.given == {"body": b"bytes"}
        assert opened[0].closed


async def asked(mizan: Mizan, name: str, body: AsyncIterator[bytes | None]) -> tuple[int | None, int]:
    """The status of a call whose body arrives as the iterator says, None being the end of the connection."""
    status: int | None = None
    count = 0

    async def receive() -> Any:
        nonlocal count
        count += 1
        try:
            chunk = await anext(body)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/api/mizan/call/{name}/",
        "root_path": "/api/mizan",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=b")],
    }
    await mizan(scope, receive, send)
    return status, count
