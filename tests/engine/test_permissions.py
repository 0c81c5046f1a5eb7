"""A token carries a permission key, not permissions: when these are loaded, and for what (protocol, section 11)."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import DeclarationError, Engine, Identity, client, permission_key
from mizan_core.engine.answers import ended_of
from mizan_core.engine.engine import Via
from tests.engine.engines import engine_of

STORED = frozenset({"read", "write"})
SESSION = Identity("ada", permissions=STORED)
TOKEN = Identity("ada", permissions=None, permission_key=permission_key(SESSION), by_token=True)
OLD_TOKEN = Identity("ada", permissions=None, permission_key=permission_key(Identity("ada")), by_token=True)


class Loader:
    """Loads permissions and counts how often."""

    def __init__(self) -> None:
        self.loaded = 0

    def __call__(self, identity: Identity) -> frozenset[str]:
        self.loaded += 1
        assert identity.user_id == "ada"
        return STORED

    async def awaited(self, identity: Identity) -> frozenset[str]:
        return self(identity)


def may_write(me: Identity) -> bool:
    return me.permissions is not None and "write" in me.permissions


def readers(**declared: Any) -> Callable[..., Any]:
    @client(context="front", **declared)
    async def front(me: Identity) -> list[str]:
        return sorted(me.permissions or ())

    return front


class Request:
    """A host's request with its user."""

    def __init__(self, identity: Identity) -> None:
        self.user = identity

    def known_as(self, identity: Identity) -> "Request":
        return Request(identity)

    def plain(self) -> "Request":
        return self

    def watched(self, notice: Callable[[str], None]) -> "Request":
        notice("user")
        return self


@pytest.mark.parametrize("declared", [{"per": "permissions"}, {"per": "user"}, {"auth": True}, {"auth": may_write}])
@pytest.mark.parametrize("identities", [(TOKEN, SESSION), (SESSION, TOKEN)])
def test_token_and_session_of_one_person_share_one_right_answer(
    declared: dict[str, Any], identities: tuple[Identity, Identity]
) -> None:
    async def story() -> None:
        engine = engine_of(readers(**declared), permissions=Loader())
        bundles = [await engine.fetch("front", {}, identity=identity) for identity in identities]
        assert [bundle.body for bundle in bundles] == [b'{"front":["read","write"]}'] * 2
        assert [bundle.status for bundle in bundles] == ["miss", "hit"]

    asyncio.run(story())


@pytest.mark.parametrize("declared", [{"per": "permissions"}, {"per": "user"}])
def test_an_answer_under_changed_permissions_is_not_shared(declared: dict[str, Any]) -> None:
    async def story() -> None:
        engine = engine_of(readers(**declared), permissions=Loader())
        for _ in range(2):
            bundle = await engine.fetch("front", {}, identity=OLD_TOKEN)
            assert (bundle.body, bundle.policy) == (b'{"front":["read","write"]}', "private, no-store")
        before = await engine.fetch("front", {}, identity=Identity("ada"))
        assert before.body == b'{"front":[]}'

    asyncio.run(story())


def test_an_error_under_changed_permissions_is_not_shared() -> None:
    begun: list[bool] = []
    go_on = asyncio.Event()

    @client(context="front", per="permissions")
    async def front(me: Identity) -> str:
        begun.append(may_write(me))
        await go_on.wait()
        if may_write(me):
            raise RuntimeError("There is more to see.")
        return "news"

    async def story() -> None:
        engine = engine_of(front, permissions=Loader())
        asked = [
            asyncio.create_task(engine.fetch("front", {}, identity=identity))
            for identity in (OLD_TOKEN, Identity("ada"))
        ]
        while not begun:
            await asyncio.sleep(0)
        go_on.set()
        failed, answered = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(failed, RuntimeError)
        assert not isinstance(answered, BaseException)
        assert answered.body == b'{"front":"news"}'

    asyncio.run(story())


ASKING: dict[str, tuple[dict[str, Any], Callable[[Engine], Any]]] = {
    "call": ({}, lambda engine: engine.call("act", {}, identity=TOKEN)),
    "run": ({}, lambda engine: engine.run("act", {}, identity=TOKEN)),
    "mutation": ({"affects": "front"}, lambda engine: engine.call("act", {}, identity=TOKEN)),
    "behind a guard": ({"auth": True}, lambda engine: engine.call("act", {}, identity=TOKEN)),
    "behind a guard that asks": ({"auth": may_write}, lambda engine: engine.call("act", {}, identity=TOKEN)),
    "reader alone": ({"context": "front"}, lambda engine: engine.call("act", {}, identity=TOKEN)),
}


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(("declared", "ask"), ASKING.values(), ids=ASKING)
def test_an_identity_is_given_with_permissions_loaded_once(
    declared: dict[str, Any], ask: Callable[[Engine], Any], sync: bool
) -> None:
    if sync:

        @client(**declared)
        def act(me: Identity) -> list[str]:
            return sorted(me.permissions or ())

    else:

        @client(name="act", **declared)
        async def act_async(me: Identity) -> list[str]:
            return sorted(me.permissions or ())

        act = act_async

    async def story() -> None:
        loader = Loader()
        engine = engine_of(act, readers(), permissions=loader.awaited if sync else loader)
        assert (await ask(engine)).result == ["read", "write"]
        assert loader.loaded == 1

    asyncio.run(story())


def test_permissions_are_not_loaded_where_no_function_gets_them() -> None:
    @client(affects="front", auth=True)
    async def act() -> None: ...

    async def story() -> None:
        loader = Loader()
        engine = engine_of(act, readers(auth=True), permissions=loader)
        await engine.call("act", {}, identity=TOKEN)
        await engine.fetch("front", {}, identity=SESSION)
        assert (await engine.fetch("front", {}, identity=TOKEN)).status == "hit"
        assert loader.loaded == 0

    asyncio.run(story())


@pytest.mark.parametrize("takes_arguments", [False, True])
def test_a_guard_and_a_reader_share_loaded_permissions(takes_arguments: bool) -> None:
    def writer(me: Identity, number: int = 0) -> bool:
        return may_write(me)

    @client(context="front", auth=writer if takes_arguments else may_write)
    async def front(request: Request, me: Identity, number: int = 1) -> list[str]:
        return sorted([*(me.permissions or ()), *(request.user.permissions or ())])

    async def story() -> None:
        loader = Loader()
        engine = engine_of(front, permissions=loader)
        bundle = await engine.fetch("front", {}, identity=TOKEN, request=Request(TOKEN))
        assert loader.loaded == 1
        assert bundle.status == "miss"
        if takes_arguments:
            assert bundle.body == b'{"front":["read","read","write","write"]}'
        assert (await engine.fetch("front", {}, identity=SESSION, request=Request(SESSION))).status == "hit"

    asyncio.run(story())


def test_a_page_and_a_request_get_loaded_permissions() -> None:
    @client(context="front", route="/front/")
    async def front(request: Request) -> list[str]:
        return sorted(request.user.permissions or ())

    async def story() -> None:
        engine = engine_of(front, permissions=Loader())
        page = await engine.page("front", {}, identity=TOKEN, request=Request(TOKEN))
        assert page.result == b'["read","write"]'
        answer = await engine.call("front", {}, identity=TOKEN, request=Request(TOKEN))
        assert answer.result == ["read", "write"]

    asyncio.run(story())


def test_a_loader_that_fails_fails_the_request_alone() -> None:
    def failing(identity: Identity) -> frozenset[str]:
        raise OSError("The directory is down.")

    @client
    async def act(me: Identity) -> str:
        return "done"

    async def story() -> None:
        engine = engine_of(act, readers(), permissions=failing)
        with pytest.raises(OSError, match="down"):
            await engine.call("act", {}, identity=TOKEN)
        with pytest.raises(OSError, match="down"):
            await engine.fetch("front", {}, identity=TOKEN)
        assert (await engine.call("act", {}, identity=SESSION)).result == "done"

    asyncio.run(story())


class TestWithoutLoader:
    @pytest.mark.parametrize("declared", [{"per": "permissions"}, {"per": "user"}, {"cache": False}])
    @pytest.mark.parametrize("swallows", [False, True])
    def test_a_body_that_reads_permissions_fails_with_the_remedy(
        self, declared: dict[str, Any], swallows: bool
    ) -> None:
        @client(context="front", **declared)
        async def front(me: Identity) -> list[str]:
            try:
                return sorted(me.permissions or ())
            except DeclarationError:
                if not swallows:
                    raise
                return []

        async def story() -> None:
            engine = engine_of(front)
            for ask in (engine.fetch("front", {}, identity=TOKEN), engine.call("front", {}, identity=TOKEN)):
                with pytest.raises(DeclarationError, match=r"front asks for identity\.permissions.*permissions="):
                    await ask
            assert (await engine.fetch("front", {}, identity=SESSION)).status in ("miss", "bypass")

        asyncio.run(story())

    def test_a_mutation_that_reads_permissions_fails_too(self) -> None:
        @client(affects="front")
        def act(me: Identity) -> list[str]:
            return sorted(me.permissions or ())

        @client(route="/look/")
        async def look(request: Request) -> list[str]:
            return sorted(request.user.permissions or ())

        async def story() -> None:
            engine = engine_of(act, look, readers())
            with pytest.raises(DeclarationError, match="act asks for"):
                await engine.call("act", {}, identity=TOKEN)
            ended = await ended_of(engine.begin("look", {}, identity=TOKEN, request=Request(TOKEN), via=Via.ROUTE))
            assert "look asks for" in str(ended.error)  # type: ignore[union-attr]  # it is a failure

        asyncio.run(story())

    def test_all_else_of_a_token_may_be_read_and_passed_on(self, caplog: pytest.LogCaptureFixture) -> None:
        @client(context="front", per="user")
        async def front(me: Identity) -> str:
            assert me == TOKEN
            assert "ada" in repr(me)
            inner = await engines[0].call("inner", {}, identity=me)
            return f"{me.user_id} {me.permission_key == TOKEN.permission_key} {inner.result}"

        @client(auth=lambda me: me.is_authenticated)
        async def inner(me: Identity) -> bool:
            return me.by_token

        engines = [engine_of(front, inner)]

        async def story() -> None:
            for status in ("miss", "hit"):
                bundle = await engines[0].fetch("front", {}, identity=TOKEN)
                assert (bundle.body, bundle.status) == (b'{"front":"ada True True"}', status)

        with caplog.at_level(logging.WARNING):
            asyncio.run(story())
        assert not caplog.records
