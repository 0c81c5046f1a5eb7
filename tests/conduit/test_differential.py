"""The differential run in short: `python -m tests.conduit.differential` is the whole of it."""

from pathlib import Path

import pytest

from mizan_core.testing.postgres_server import PostgresServer

from .differential import WRITES, Differential
from .fleet import sailing

SEED = 16


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_no_read_is_stale_whoever_writes(postgres: PostgresServer, tmp_path: Path) -> None:
    async with sailing(postgres, tmp_path) as fleet:
        report = await Differential(fleet, SEED).run(300)
    assert report.stale == [], report
    assert report.hits > 30, report
    assert report.writes.keys() >= {"by_own_url", "by_call", "by_admin", "by_worker", "revise"} & WRITES.keys(), report


@pytest.mark.asyncio
@pytest.mark.timeout(300)
async def test_without_writes_the_run_finds_stale_reads(postgres: PostgresServer, tmp_path: Path) -> None:
    async with sailing(postgres, tmp_path, without=("writes",)) as fleet:
        report = await Differential(fleet, SEED).run(5_000, until_stale=True)
    assert report.stale
