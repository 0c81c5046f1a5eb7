"""A database and a folder of files of its own for each test, and a queue."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from mizan_core.testing.redis_server import RedisServer, redis_server

from .world import MAIL_SECRET, Helpdesk


@pytest.fixture(scope="session")
def queue_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def settings(queue_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that all processes of a test have in common."""
    queue_server.say("FLUSHALL")
    monkeypatch.setenv("HELPDESK_DB", str(tmp_path / "helpdesk.db"))
    monkeypatch.setenv("HELPDESK_FILES", str(tmp_path / "files"))
    monkeypatch.setenv("HELPDESK_QUEUE_URL", queue_server.url)
    monkeypatch.setenv("HELPDESK_MAIL_SECRET", MAIL_SECRET)


@pytest_asyncio.fixture
async def helpdesk(settings: None) -> AsyncIterator[Helpdesk]:
    helpdesk = Helpdesk()
    async with helpdesk.app.router.lifespan_context(helpdesk.app):
        yield helpdesk
