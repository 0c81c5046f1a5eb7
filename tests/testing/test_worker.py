"""A worker and its world, asked over a socket within this process."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from mizan_core.errors import CacheUnavailable
from mizan_core.testing.consistency.worker import Worker
from mizan_core.testing.consistency.world import Database, Kind, Pauses
from mizan_core.testing.redis_server import RedisServer, free_port
from tests.testing.fleet import listening, settings

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def commits(directory: Path) -> list[tuple[str, str, int]]:
    with closing(Database(directory / "truth.sqlite")) as database:
        return list(database.commits())


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[Ask]:
    async with listening(worker) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(request: dict[str, Any]) -> dict[str, Any]:
            writer.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await reader.readline())
            return answer

        try:
            yield ask
        finally:
            writer.close()
            await writer.wait_closed()


def card(user: int) -> dict[str, Any]:
    return {"read": "card", "params": {"team": 1, "user": user}}


def call(kind: Kind, **args: object) -> dict[str, Any]:
    return {"call": kind, "args": {**args, "operation": f"{kind}-1"}, "identity": [2, 1], "doomed": False}


EVERY_KIND = {
    Kind.RENAME: ({"team": 1, "user": 2}, {"1.2"}),
    Kind.RETITLE: ({"team": 1}, {f"1.{user}" for user in range(5)}),
    Kind.WORK: ({}, {"1.2"}),
    Kind.PROMOTE: ({"number": 7}, {"1.2"}),
    Kind.TOUCH: ({"numbers": [7, 8]}, {"1.2", "1.3"}),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_mutation_changes_its_rows_and_every_bundle_shows_it(kind: Kind, redis: RedisServer, tmp_path: Path) -> None:
    args, rows = EVERY_KIND[kind]

    async def story() -> None:
        async with serving(Worker(settings(redis.url, tmp_path))) as ask:
            for user in range(5):
                await ask(card(user))
            assert await ask(call(kind, **args)) == {"ended": "acknowledged", "calm": True}
            board = await ask({"read": "board", "params": {"team": 1}})
            assert board["body"] == {"board": {f"1.{user}": int(f"1.{user}" in rows) for user in range(5)}}
            answers = [await ask(card(user)) for user in range(5)]
            assert {row for one in answers for row, version in one["body"]["card"].items() if version} == rows
            assert [one["status"] for one in answers].count("miss") == len(rows)
            own = [await ask({"read": "desk", "params": {}, "identity": [user, 1]}) for user in range(5)]
            assert [one["body"]["desk"] for one in own] == [one["body"]["card"] for one in answers]
            lobby = await ask({"read": "lobby", "params": {}, "identity": [None, 1]})
            assert lobby["body"]["lobby"] == board["body"]["board"]

    asyncio.run(story())
    assert set(commits(tmp_path)) == {(f"{kind}-1", row, 1) for row in rows}


def test_a_reset_changes_everything(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(Worker(settings(redis.url, tmp_path))) as ask:
            assert (await ask(call(Kind.RESET)))["ended"] == "acknowledged"

    asyncio.run(story())
    assert len({row for _, row, _ in commits(tmp_path)}) == 50


def test_while_the_cache_is_down_it_refuses_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(Worker(settings(f"redis://127.0.0.1:{free_port()}", tmp_path))) as ask:
            assert await ask(call(Kind.RETITLE, team=1)) == {"ended": "refused", "calm": False}
            assert (await ask(card(1)))["status"] == "bypass cache-down"

    asyncio.run(story())


def test_any_other_failure_is_an_unknown_outcome(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CacheUnavailable

    async def story() -> None:
        async with serving(Worker(settings(redis.url, tmp_path))) as ask:
            monkeypatch.setattr(Database, "change", fails)
            assert (await ask({**call(Kind.PROMOTE, number=7), "doomed": True}))["ended"] == "unknown"

    asyncio.run(story())


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "truth.sqlite")
    database.create()
    with pytest.raises(TypeError):
        database.change("a", [(1, 1), (2, None), None])  # type: ignore[list-item]  # what is wrong is the point
    assert list(database.commits()) == []
    assert database.versions(1, 1) == {"1.1": 0}
    database.close()


def test_a_pause_is_mostly_short_and_a_slow_one_never() -> None:
    pauses = Pauses(random.Random(0))
    usual = [pauses() for _ in range(1_000)]
    assert 0.1 < sum(one > 0.01 for one in usual) / len(usual) < 0.3
    assert min(pauses(slow=True) for _ in range(1_000)) > 0.01
