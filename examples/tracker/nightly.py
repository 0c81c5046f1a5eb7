"""A script without a web framework: `python -m examples.tracker.nightly 2025-06-01` closes what nobody touched since.

It finds the issues and calls the mutation that clients call too, through `Engine.run`, which asks no guard. Given the
web application's own engine, as a scheduler inside its process would give it, every purge reaches the pages it serves.
As a process of its own it would need a cache that both share. The tracker keeps its cache in memory, where no other
process can purge it, so the script refuses to run beside a server that is using the database.
"""

import argparse
import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mizan_core import Engine, discover

from . import database, queries, seed, settings
from .database import reading

# As many as one call may close.
BATCH = 64


async def close_untouched(engine: Engine, since: datetime) -> int:
    """Close the open issues that nobody changed or commented on since then; how many there were."""
    async with reading() as session:
        untouched = await queries.untouched_since(session, since)
    for start in range(0, len(untouched), BATCH):
        await engine.run("close_issues", {"issue_ids": untouched[start : start + BATCH]})
    return len(untouched)


def is_in_use(path: Path) -> bool:
    """Whether another process has the database open: SQLite lets nobody but its only user change this mode."""
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        try:
            return bool(connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",))
        except sqlite3.OperationalError:
            return True


async def main(since: datetime) -> None:
    path = settings.database_path()
    seed.ensure(path)
    if is_in_use(path):
        raise SystemExit(f"A server is using {path}, and its cache would not hear of this. Stop it first.")
    async with database.opened(path), Engine(discover("examples.tracker")) as engine:
        closed = await close_untouched(engine, since)
    print(f"Closed {closed} issues that nobody touched since {since:%Y-%m-%d}.")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Close the issues that nobody touched since a day.")
    parser.add_argument("since", type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    asyncio.run(main(parser.parse_args().since))
