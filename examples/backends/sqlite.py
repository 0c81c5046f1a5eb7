"""A cache in an SQLite file, shared by the processes of one machine: a backend of five methods.

`Mizan(graph, cache=SqliteCache("cache.db"), cache_secret=...)`
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class SqliteCache:
    """Entries in a table. All statements run in one thread of the cache, so the event loop never waits."""

    shared = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-cache")
        self._connection: sqlite3.Connection | None = None

    async def get(self, *keys: str) -> list[bytes | None]:
        return await self._run(lambda db: [self._value(db, key) for key in keys])

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        return await self._run(lambda db: self._write(db, key, value, ttl, if_absent))

    async def delete(self, *keys: str) -> int:
        return await self._run(
            lambda db: sum(db.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount for key in keys)
        )

    async def delete_by_prefix(self, prefix: str) -> int:
        return await self._run(
            lambda db: db.execute("DELETE FROM entries WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)).rowcount
        )

    async def clear(self) -> None:
        await self.delete_by_prefix("")

    async def aclose(self) -> None:
        await self._run(lambda db: db.close())
        self._connection = None

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._connected()))

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL)"
            )
        return self._connection

    @staticmethod
    def _value(db: sqlite3.Connection, key: str) -> bytes | None:
        row = db.execute(
            "SELECT value FROM entries WHERE key = ? AND (expires IS NULL OR expires > ?)", (key, time.time())
        ).fetchone()
        return None if row is None else bytes(row[0])

    @staticmethod
    def _write(db: sqlite3.Connection, key: str, value: bytes, ttl: float | None, if_absent: bool) -> bool:
        now = time.time()
        expires = None if ttl is None else now + ttl
        if not if_absent:
            db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, value, expires))
            return True
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM entries WHERE key = ? AND expires <= ?", (key, now))
        added = db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", (key, value, expires)).rowcount
        db.execute("COMMIT")
        return added == 1
