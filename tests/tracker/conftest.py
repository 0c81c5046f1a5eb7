"""A small database is filled once; every test has a copy of its own and an application over it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from examples.tracker import seed

from .world import SECRET, SMALL, Tracker


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracker") / "small.db"
    seed.fill(path, SMALL)
    return path


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the first start makes it. Only for reading."""
    path = tmp_path_factory.mktemp("large") / "tracker.db"
    assert seed.ensure(path)
    return path


@pytest.fixture
def small(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "tracker.db"))


@pytest_asyncio.fixture
async def tracker(small: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracker]:
    monkeypatch.setenv("TRACKER_DB", str(small))
    monkeypatch.setenv("TRACKER_WEBHOOK_SECRET", SECRET)
    tracker = Tracker(small)
    async with tracker.app.router.lifespan_context(tracker.app):
        yield tracker
