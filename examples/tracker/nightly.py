"""A script without a web framework: `python -m examples.tracker.nightly 2025-06-01` closes issues untouched since then.

It finds the issues and calls the same mutation as clients do, by `Engine.run`, which asks no guard. A scheduler inside
the web application's process would pass the application's engine, so that every purge reaches the pages it serves. A
separate process needs a shared cache. The tracker's cache is in memory, where no other process can purge it, so the
script refuses to run while a server uses the database.
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
from .roles import visitor_of

# The most issues that one call closes.
BATCH = 64


async def close_untouched(engine: Engine, since: datetime) -> int:
    """Close the open issues without a change or comment since then. Returns their number."""
    closed = 0
    async with reading() as session:
        untouched = {
            org_id: await queries.untouched_since(session, since, org_id)
            for org_id in await queries.organisations(session)
        }
    for org_id, issue_ids in untouched.items():
        for start in range(0, len(issue_ids), BATCH):
            batch = issue_ids[start : start + BATCH]
            await engine.run("close_issues", {"issue_ids": batch}, identity=visitor_of(org_id))
        closed += len(issue_ids)
    return closed


def is_in_use(path: Path) -> bool:
    """Whether another process has the database open: only a sole user of a database can change its journal mode."""
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        try:
            return bool(connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",))
        except sqlite3.OperationalError:
            return True


async def main(since: datetime) -> None:
    path = settings.database_path()
    seed.ensure(path)
    if is_in_use(path):
        raise SystemExit(f"A server is using {path}, and this script cannot purge its cache. Stop it first.")
    async with database.opened(path), Engine(discover("examples.tracker")) as engine:
        closed = await close_untouched(engine, since)
    print(f"Closed {closed} issues untouched since {since:%Y-%m-%d}.")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Close the issues untouched since a day.")
    parser.add_argument("since", type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC))
    asyncio.run(main(parser.parse_args().since))
