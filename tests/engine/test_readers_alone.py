"""A reader's value alone is kept and purged as bundles are (protocol, section 7), also where it lacks a parameter."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mizan_core import ANONYMOUS, Context, Engine, Identity, MemoryCache, RedisCache, build, client
from mizan_core.engine.answers import Bundle, Page
from mizan_core.proof import Verify
from mizan_core.protocol.kept_pages import KeptPage
from mizan_core.testing import interleave
from mizan_core.testing.redis_server import RedisServer
from tests.engine.engines import Elsewhere
from tests.virtual_time import run

Users = Context("users")
SECRET = "s" * 32


class Html:
    """A response that can be kept."""

    status_code = 200
    raw_headers = ((b"content-type", b"text/html"),)

    def __init__(self, text: str) -> None:
        self.body = text.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


class Team:
    """Names, a reader of one of them, and a reader and a page of all, which lack the parameter."""

    def __init__(self, **declared: Any) -> None:
        self.names = {1: "a", 2: "b"}
        self.ran: Counter[str] = Counter()

        @client(context=Users, **declared)
        async def name_of(user_id: int) -> str:
            self.ran["name_of"] += 1
            found = self.names[user_id]
            await asyncio.sleep(0)
            return found

        @client(context=Users, **declared)
        async def everyone() -> list[str]:
            self.ran["everyone"] += 1
            found = sorted(self.names.values())
            await asyncio.sleep(0)
            return found

        @client(context=Users, route="/board/", **declared)
        async def board() -> Html:
            self.ran["board"] += 1
            found = sorted(self.names.values())
            await asyncio.sleep(0)
            return Html(" ".join(found))

        @client(affects=Users)
        async def rename(user_id: int, name: str) -> None:
            await asyncio.sleep(0)
            self.names[user_id] = name
            await asyncio.sleep(0)

        @client(affects=Users.whole())
        async def rename_all(name: str) -> None:
            self.names = dict.fromkeys(self.names, name)

        @client
        async def write_past(user_id: int, name: str) -> None:
            self.names[user_id] = name

        self.functions: list[Callable[..., Any]] = [name_of, everyone, board, rename, rename_all, write_past]

    def engine(self, cache: Any = None, **options: Any) -> Engine:
        cache = MemoryCache() if cache is None else cache
        return Engine(build(self.functions), cache=cache, cache_secret=SECRET, **options)


async def alone(engine: Engine, reader: str, *, identity: Identity = ANONYMOUS, **params: object) -> Bundle:
    plan = engine.graph.contexts["users"].readers_alone[reader]
    return await engine.answer(engine.query(plan, params, identity), identity=identity)


def shown(page: Page) -> list[str]:
    assert isinstance(page.result, KeptPage)
    return page.result.body.decode().split()


async def told(engine: Engine, reader: str, **params: object) -> tuple[str, Any]:
    found = await alone(engine, reader, **params)
    return found.status, json.loads(found.body)


@pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
def test_it_is_kept_apart_from_bundles_and_other_readers(cache: type[MemoryCache]) -> None:
    async def story() -> None:
        engine = Team().engine(cache())
        for status in ("miss", "hit"):
            assert (await engine.fetch("users", {"user_id": 1})).status == status
            assert await told(engine, "name_of", user_id=1) == (status, "a")
            assert await told(engine, "name_of", user_id=2) == (status, "b")
            assert await told(engine, "everyone") == (status, ["a", "b"])

    run(story)


@pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
def test_a_purge_reaches_what_it_may_concern(cache: type[MemoryCache]) -> None:
    async def story() -> None:
        engine = Team().engine(cache())

        async def statuses() -> list[str]:
            named = [await told(engine, "name_of", user_id=one) for one in (1, 2)]
            return [status for status, _ in [*named, await told(engine, "everyone")]]

        await statuses()
        assert await statuses() == ["hit", "hit", "hit"]
        await engine.call("rename", {"user_id": 1, "name": "c"})
        assert await statuses() == ["miss", "hit", "miss"]
        await engine.invalidate("users", user_id=2)
        assert await statuses() == ["hit", "miss", "miss"]
        await engine.call("rename_all", {"name": "d"})
        assert await statuses() == ["miss", "miss", "miss"]
        async with engine.changing(Users.of(user_id=1)):
            assert await statuses() == ["bypass", "hit", "bypass"]

    run(story)


@pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
@pytest.mark.parametrize("call", [("rename", {"user_id": 1, "name": "new"}), ("rename_all", {"name": "new"})])
@pytest.mark.parametrize("page", [False, True])
def test_in_no_order_is_an_old_value_kept(
    cache: type[MemoryCache], call: tuple[str, dict[str, Any]], page: bool
) -> None:
    name, arguments = call
    team = Team()
    engines: list[Engine] = []

    async def before() -> None:
        team.names = {1: "a", 2: "b"}
        shared = cache()
        engines[:] = [team.engine(shared) for _ in range(1 if cache is MemoryCache else 2)]

    async def check(results: Sequence[Any]) -> None:
        everyone = sorted(team.names.values())
        for engine in engines:
            assert (await told(engine, "everyone"))[1] == everyone
            assert (await told(engine, "name_of", user_id=1))[1] == team.names[1]
            assert shown(await engine.page("board", {})) == everyone

    async def read() -> None:
        await (engines[-1].page("board", {}) if page else told(engines[-1], "everyone"))

    async def write() -> None:
        await engines[0].call(name, arguments)

    async def story() -> None:
        assert await interleave(read, write, before=before, check=check) > 3

    run(story)


def test_misses_at_once_compute_once() -> None:
    async def story() -> None:
        team = Team()
        engine = team.engine()
        await asyncio.gather(*(told(engine, "everyone") for _ in range(5)))
        assert team.ran["everyone"] == 1

    run(story)


@pytest.mark.asyncio
async def test_processes_share_it_in_redis(redis: RedisServer) -> None:
    team = Team()
    caches = [RedisCache(redis.url, prefix="readers-alone:", timeout=1e9) for _ in range(2)]
    async with team.engine(caches[0], deadline=60) as one, team.engine(caches[1], deadline=60) as other:
        assert await told(one, "everyone") == ("miss", ["a", "b"])
        assert await told(other, "everyone") == ("hit", ["a", "b"])
        await other.call("rename", {"user_id": 1, "name": "c"})
        assert await told(one, "everyone") == ("miss", ["b", "c"])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"cache": False}, ["bypass", "bypass", "bypass"]),
        ({"per": "user"}, ["miss", "hit", "miss"]),
        ({"auth": True}, ["miss", "hit", "miss"]),
        ({"per": "all"}, ["miss", "hit", "hit"]),
    ],
)
def test_its_own_policy_holds(declared: dict[str, Any], expected: list[str]) -> None:
    async def story() -> None:
        engine = Team(**declared).engine()
        asked = [await alone(engine, "everyone", identity=Identity(user)) for user in ("1", "1", "2")]
        assert [one.status for one in asked] == expected

    run(story)


def test_another_reader_of_the_bundle_is_no_reason() -> None:
    @client(context=Users)
    async def public(user_id: int) -> int:
        return user_id

    @client(context=Users, cache=False, per="user")
    async def personal(me: Identity) -> str:
        return str(me.user_id)

    async def story() -> None:
        engine = Engine(build([public, personal]), cache=MemoryCache())
        asked = [await alone(engine, "public", identity=Identity(user), user_id=5) for user in ("1", "2")]
        assert [one.status for one in asked] == ["miss", "hit"]
        assert asked[0].policy.startswith("public")

    run(story)


def test_rev_makes_another_entry_of_it() -> None:
    async def story() -> None:
        cache = MemoryCache()
        for rev in (1, 2):
            assert (await told(Team(rev=rev).engine(cache), "everyone"))[0] == "miss"
            assert (await told(Team(rev=rev).engine(cache), "everyone"))[0] == "hit"

    run(story)


def test_a_version_that_purges_less_shares_no_entry() -> None:
    """Where `everyone` takes the user too, purges of a user leave alone what lacks one."""

    @client(context=Users)
    async def everyone(user_id: int) -> list[str]:
        return [str(user_id)]

    async def story() -> None:
        cache, team = MemoryCache(), Team()
        old = team.engine(cache)
        newer = Engine(
            build([one for one in team.functions if one.__name__ != "everyone"] + [everyone]),
            cache=cache,
            cache_secret=SECRET,
        )
        await told(old, "everyone")
        await newer.call("rename", {"user_id": 1, "name": "c"})
        assert (await told(old, "everyone"))[1] == ["b", "c"]

    run(story)


def test_a_write_past_it_is_proved_and_healed() -> None:
    async def story() -> None:
        verify = Verify()
        engine = Team().engine(verify=verify)
        await told(engine, "everyone")
        await engine.fetch("users", {"user_id": 2})
        await engine.page("board", {})
        await engine.call("write_past", {"user_id": 1, "name": "c"})
        assert {(proof.mutation, proof.path) for proof in verify.proved} == {
            ("write_past", "$[0]"),
            ("write_past", "$.everyone[0]"),
            ("write_past", "$"),
        }
        assert shown(await engine.page("board", {})) == ["b", "c"]
        assert await told(engine, "everyone") == ("miss", ["b", "c"])

    run(story)
