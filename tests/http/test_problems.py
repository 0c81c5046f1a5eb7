"""Every row of the table of errors as a problem document (protocol, section 10)."""

import logging
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from mizan_asgi import Mizan
from mizan_core import (
    BadRequest,
    CallError,
    Conflict,
    Context,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
    build,
    client,
    invalidate,
)
from tests.http.site import KEYS, Clock, Site, hosting, http, logged, raw, refusal, token


@pytest.mark.asyncio
async def test_a_body_without_fn_is_a_bad_request(site: Site) -> None:
    async with http(site.app()) as web:
        problem = refusal(await web.post("/api/mizan/call/", json={"args": {}}), 400, "bad_request")
    assert problem["title"] == "Bad Request"


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["/ctx/team/", "/ctx/report/"])
async def test_a_guarded_bundle_needs_an_identity(site: Site, url: str) -> None:
    async with http(site.app()) as web:
        answer = await web.get(f"/api/mizan{url}")
    refusal(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio
async def test_a_guarded_call_needs_an_identity_and_the_right_one(site: Site) -> None:
    async with http(site.app(mwt_keys=KEYS, clock=Clock())) as web:
        call = {"fn": "sack", "args": {"user_id": 5}}
        refusal(await web.post("/api/mizan/call/", json=call), 401, "unauthorized")
        known = {"x-mizan-token": token("5")}
        refusal(await web.post("/api/mizan/call/", json=call, headers=known), 403, "forbidden")
        for rights in ({"staff": True}, {"superuser": True}):
            allowed = {"x-mizan-token": token("5", **rights)}
            assert (await web.post("/api/mizan/call/", json=call, headers=allowed)).status_code == 200
    assert site.ran["sack"] == 2


@pytest.mark.asyncio
async def test_authorisation_comes_before_validation(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(await web.post("/api/mizan/call/sack/", json={"user_id": "no number", "x": 1}), 401, "unauthorized")


@pytest.mark.asyncio
async def test_a_private_function_is_forbidden_to_clients(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(await web.post("/api/mizan/call/import_users/"), 403, "forbidden")
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/call/nothing/", "/call/profile_page/", "/call/rename/", "/call//", "/call/a%2Fb/"])
async def test_a_function_that_is_not_for_clients_is_404(site: Site, path: str) -> None:
    async with http(site.app()) as web:
        refusal(await web.post(f"/api/mizan{path}", json={"user_id": 5, "name": "x"}), 404, "not_found")
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path", ["", "/", "/ctx", "/ctx/", "/ctx/user/5/", "/call/a/b/", "/other/", "//", "/ctx/user//"]
)
async def test_an_unknown_path_is_404(site: Site, path: str) -> None:
    async with http(site.mizan()) as web:
        for method in ("GET", "POST", "OPTIONS"):
            refusal(await web.request(method, f"/api/mizan{path}"), 404, "not_found")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("methods", "path", "allow"),
    [
        (("GET", "HEAD", "PUT", "OPTIONS", "BREW"), "/api/mizan/call/", "POST"),
        (("GET", "DELETE"), "/api/mizan/call/update_profile", "POST"),
        (("POST", "PUT", "OPTIONS"), "/api/mizan/ctx/user/", "GET, HEAD"),
        (("POST", "PATCH"), "/profile/5/", "GET, HEAD"),
        (("GET", "HEAD", "PUT"), "/rename/", "POST"),
    ],
)
async def test_another_method_is_told_which_ones_work(
    site: Site, methods: tuple[str, ...], path: str, allow: str
) -> None:
    app = site.app()
    for method in methods:
        answer = await raw(app, method, path)
        assert answer.headers["allow"] == allow
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (405, b"")
        else:
            refusal(answer, 405, "method_not_allowed")
    assert not site.ran


@pytest.mark.asyncio
async def test_a_body_over_the_limit_is_too_large(site: Site) -> None:
    async with http(site.app(max_body_bytes=100)) as web:
        fits = b'{"values":["%b"]}' % (b"x" * 85)
        json = {"content-type": "application/json"}
        assert (await web.post("/api/mizan/call/echo/", content=fits, headers=json)).status_code == 200
        problem = refusal(
            await web.post("/api/mizan/call/echo/", content=fits + b" ", headers=json), 413, "payload_too_large"
        )
    assert "100 bytes" in problem["detail"]


@pytest.mark.asyncio
async def test_a_body_that_says_nothing_of_its_type_is_unsupported(site: Site) -> None:
    async with http(site.app()) as web:
        for path in ("/call/", "/call/echo/"):
            refusal(await web.post(f"/api/mizan{path}", content=b'{"values":[]}'), 415, "unsupported_media_type")


@pytest.mark.asyncio
async def test_invalid_input_tells_place_and_reason_not_the_input(site: Site) -> None:
    args = {"user_id": "s3cret-input", "name": ["s3cret-input"]}
    async with http(site.app()) as web:
        called = await web.post("/api/mizan/call/", json={"fn": "update_profile", "args": args})
        fetched = await web.get("/api/mizan/ctx/user/?user_id=s3cret-input&page=1.5")
    problem = refusal(called, 422, "invalid_input")
    assert [error["loc"] for error in problem["errors"]] == [["args", "user_id"], ["args", "name"]]
    assert all(error.keys() == {"loc", "msg", "type"} for error in problem["errors"])
    problem = refusal(fetched, 422, "invalid_input")
    assert [error["loc"] for error in problem["errors"]] == [["params", "page"], ["params", "user_id"]]
    assert "s3cret" not in called.text + fetched.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest("told"), 400, "bad_request"),
        (Unauthorized("told"), 401, "unauthorized"),
        (Forbidden("told"), 403, "forbidden"),
        (NotFound("told"), 404, "not_found"),
        (Conflict("told"), 409, "conflict"),
        (InvalidInput("told"), 422, "invalid_input"),
        (Unavailable("told"), 503, "unavailable"),
        (CallError("told", status=418, code="teapot"), 418, "teapot"),
        (CallError("told", status=499, code="no_such_status"), 499, "no_such_status"),
        (CallError("told", status=401, code="sign_in_again"), 401, "sign_in_again"),
    ],
)
async def test_a_refusals_detail_is_told_as_written(error: CallError, status: int, code: str) -> None:
    @client
    async def refuse() -> None:
        raise error

    @client(context="refusing")
    async def refusing() -> None:
        raise error

    async with http(hosting(Mizan(build([refuse, refusing])))) as web:
        for answer in (await web.post("/api/mizan/call/refuse/"), await web.get("/api/mizan/ctx/refusing/")):
            assert refusal(answer, status, code)["detail"] == "told"


@pytest.mark.asyncio
async def test_a_refusal_affects_only_scopes_named_by_the_body() -> None:
    user = Context("user")

    @client(context=user)
    async def name(user_id: int) -> str:
        return ""

    @client(affects=user)
    async def refuse(user_id: int, named: int | None = None) -> None:
        if named is not None:
            invalidate(user, user_id=named)
        raise Conflict

    async with http(hosting(Mizan(build([name, refuse])))) as web:
        silent = await web.post("/api/mizan/call/refuse/", json={"user_id": 1})
        spoken = await web.post("/api/mizan/call/refuse/", json={"user_id": 1, "named": 2})
    refusal(silent, 409, "conflict")
    assert "x-mizan-invalidate" not in silent.headers
    refusal(spoken, 409, "conflict")
    assert spoken.headers["x-mizan-invalidate"] == "user;user_id=2"


@pytest.mark.asyncio
async def test_an_unexpected_exceptions_text_is_only_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @client(context="broken")
    async def broken() -> None:
        raise ValueError("the password is hunter2")

    async with http(hosting(Mizan(build([*site.functions, broken])))) as web:
        for answer in (
            await web.post("/api/mizan/call/explode/", json={"user_id": 5}),
            await web.post("/api/mizan/call/broken/"),
            await web.get("/api/mizan/ctx/broken/"),
        ):
            refusal(answer, 500, "internal_error")
            assert "hunter2" not in answer.text + str(answer.headers)
    records = logged(caplog)
    assert [record.levelno for record in records] == [logging.ERROR] * 3
    assert all("hunter2" in str(record.exc_info) for record in records)


@pytest.mark.asyncio
async def test_refuse_is_503_before_the_function_runs(
    site: Site,
) -> None:
    class Broken:
        """A store that has gone away."""

        shared = True

        async def get(self, *keys: str) -> list[bytes | None]:
            return [None] * len(keys)

        async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
            raise ConnectionError("the store has gone away")

        async def delete(self, *keys: str) -> int:
            return 0

        async def delete_by_prefix(self, prefix: str) -> int:
            return 0

        async def clear(self) -> None:
            pass

    app = site.app(cache=Broken(), cache_secret="c" * 32, on_cache_failure="refuse")
    async with http(app) as web:
        refusal(await web.post("/api/mizan/call/update_profile/", json={"user_id": 5}), 503, "unavailable")
    assert not site.ran


class Cat(BaseModel):
    kind: str


@pytest.mark.asyncio
async def test_invalid_input_inside_a_model_tells_its_place() -> None:
    @client
    async def adopt(cat: Cat) -> str:
        return cat.kind

    async with http(hosting(Mizan(build([adopt])))) as web:
        problem = refusal(await web.post("/api/mizan/call/adopt/", json={"cat": {"kind": 7}}), 422, "invalid_input")
    assert problem["errors"] == [
        {"loc": ["args", "cat", "kind"], "msg": "Input should be a valid string", "type": "string_type"}
    ]


class Dog(BaseModel):
    kind: Literal["dog"]


class Fish(BaseModel):
    kind: Literal["fish"]


@pytest.mark.asyncio
async def test_a_bad_discriminator_is_not_repeated() -> None:
    @client
    async def adopt(pet: Annotated[Dog | Fish, Field(discriminator="kind")]) -> str:
        return pet.kind

    async with http(hosting(Mizan(build([adopt])))) as web:
        answer = await web.post("/api/mizan/call/adopt/", json={"pet": {"kind": "s3cret"}})
    assert refusal(answer, 422, "invalid_input")["errors"][0]["type"] == "union_tag_invalid"
    assert "s3cret" not in answer.text
