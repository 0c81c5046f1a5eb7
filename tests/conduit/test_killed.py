"""A process that is killed between its commit and its purge: others bypass what it held, and then keep it anew."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from mizan_core.testing.postgres_server import PostgresServer

from .fleet import Fleet, sailing

PATHS = ("/articles/one", "/articles")
WRITES = {
    "route": ("PUT", "/articles/one", {"article": {"description": "After"}}),
    "call": ("POST", "/mizan/call/", {"fn": "favorite", "args": {"slug": "one"}}),
}
HOLD_SECONDS = 6.0


def shown(answer: Any) -> tuple[str, int]:
    """What the two writes change, of the article in an answer."""
    article = answer["articles"][0] if "articles" in answer else answer["article"]
    return article["description"], article["favoritesCount"]


async def killed(fleet: Fleet, write: str) -> None:
    """Keep both answers in the cache of two workers, and have the first killed after the commit of a write."""
    first, second = fleet.workers
    user = {"username": "ada", "email": "ada@mail.com", "password": "password"}
    token = (await second.web.post("/users", json={"user": user})).json()["user"]["token"]
    headers = {"authorization": f"Token {token}"}
    article = {"title": "One", "description": "Before", "body": "Text"}
    assert (await second.web.post("/articles", json={"article": article}, headers=headers)).status_code == 201
    for path in PATHS * 2:
        answer = await second.web.get(path)
    assert "hit" in answer.headers["cache-status"]
    fleet.order.touch()
    method, path, body = WRITES[write]
    with pytest.raises(httpx.TransportError):
        await first.web.request(method, path, json=body, headers=headers)
    assert first.process.wait() == -signal.SIGKILL
    for path in PATHS:
        true = shown((await fleet.plain.web.get(path)).json())
        assert true == (("After", 0) if write == "route" else ("Before", 1)), "It was not committed."


@pytest.mark.asyncio
@pytest.mark.timeout(180)
@pytest.mark.parametrize("write", WRITES)
async def test_after_a_kill_reads_bypass_and_then_are_kept(
    postgres: PostgresServer, tmp_path: Path, write: str
) -> None:
    async with sailing(postgres, tmp_path, hold=HOLD_SECONDS) as fleet:
        await killed(fleet, write)
        second, true = fleet.workers[1], shown((await fleet.plain.web.get("/articles/one")).json())
        bypassed = set()
        kept: set[str] = set()
        while len(kept) < len(PATHS):
            for path in PATHS:
                answer = await second.web.get(path)
                assert shown(answer.json()) == true
                bypassed |= {path} if "bypass" in answer.headers["cache-status"] else set()
                kept |= {path} if "hit" in answer.headers["cache-status"] else set()
            await asyncio.sleep(0.05)
        assert bypassed == set(PATHS)


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_without_holds_a_kill_leaves_stale_answers(postgres: PostgresServer, tmp_path: Path) -> None:
    async with sailing(postgres, tmp_path, without=("holds",)) as fleet:
        await killed(fleet, "route")
        for path in PATHS:
            answer = await fleet.workers[1].web.get(path)
            assert ("hit" in answer.headers["cache-status"], shown(answer.json())) == (True, ("Before", 0))
