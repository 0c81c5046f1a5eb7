"""The page about workers, and servers of several processes, with real ones over one Redis."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mizan_core.testing.redis_server import RedisServer, free_port, redis_server

from .pages import DOCS, ROOT, blocks
from .running import run_file

PAGE = DOCS / "how-to" / "workers.md"
BIN = Path(sys.executable).parent
SECRET = "the same in every process, 32 bytes"

pytestmark = pytest.mark.timeout(240)  # several programs start, on a machine with a lot to do

# A web application over the page's functions, which says which process it is.
WEB = """
import os
import sqlite3
from fastapi import FastAPI
from shop import DATABASE, Stock, create_tables, in_stock
from mizan_asgi import Mizan
from mizan_core import build, client

@client(affects=Stock)
def receive(sku: str, count: int) -> int:
    with sqlite3.connect(DATABASE) as database:
        database.execute("INSERT INTO deliveries VALUES (?, ?)", (sku, count))
    database.close()
    return os.getpid()

create_tables()
mizan = Mizan.from_env(build([in_stock, receive]))
app = FastAPI(lifespan=mizan.lifespan)
app.mount("/api/mizan", mizan)
"""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def folder(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page, and the settings of its programs."""
    for name, value in {
        "MIZAN_CACHE_REDIS_URL": server.url,
        "MIZAN_CACHE_SECRET": SECRET,
        "BROKER_URL": server.url.removesuffix("/0") + "/1",
        "SHOP_DB": str(tmp_path / "shop.db"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(tmp_path)]),
    }.items():
        monkeypatch.setenv(name, value)
    for block in blocks(PAGE):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    (tmp_path / "log").touch()
    (tmp_path / "web.py").write_text(WEB, encoding="utf-8")
    return tmp_path


@contextmanager
def program(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def python(folder: Path, code: str) -> str:
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr + (folder / "log").read_text(encoding="utf-8")
    return ran.stdout


DELIVERIES = """
from shop import engine
from tasks import deliver

def shown():
    bundle = engine.blocking.fetch("stock", {"sku": "lamp"})
    return bundle.body.decode(), bundle.status

print(*shown(), *shown())
for _ in range(3):
    deliver.delay("lamp", 1).get(timeout=60)
    print(*shown(), *shown())
"""


def test_every_file_of_the_page_runs(folder: Path) -> None:
    for block in blocks(PAGE):
        if block.language == "python":
            assert block.file is not None, "a block of Python that no test runs"
            run_file(folder, block.file, block.text)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_delivery_by_celery_is_shown_at_the_next_read(folder: Path, pool: str) -> None:
    python(folder, "import nightly")
    celery = [str(BIN / "celery"), "-A", "tasks", "worker", "--concurrency", "2", "--pool", pool]
    with program(folder, *celery):
        told = python(folder, DELIVERIES)
    assert told.splitlines() == [
        '{"in_stock":5} hit {"in_stock":5} hit',
        *[f'{{"in_stock":{count}}} miss {{"in_stock":{count}}} hit' for count in (6, 7, 8)],
    ]


ARQ = """
import asyncio
from arq_worker import WorkerSettings
from shop import engine

async def main():
    async with engine:
        assert (await engine.fetch("stock", {"sku": "lamp"})).body == b'{"in_stock":5}'
        for job in WorkerSettings.functions:
            await job({}, "lamp", 1)
        assert (await engine.fetch("stock", {"sku": "lamp"})).body == b'{"in_stock":6}'
        await WorkerSettings.on_shutdown({})

asyncio.run(main())
"""


def test_a_job_of_arq_awaits_the_engine(folder: Path) -> None:
    """As ARQ calls it: ARQ itself cannot be installed beside the redis-py of these tests."""
    python(folder, "import nightly")
    python(folder, ARQ)


SERVERS = {
    "uvicorn": ["uvicorn", "web:app", "--workers", "2", "--port", "{port}"],
    "gunicorn": ["gunicorn", "web:app", "--workers", "2", "--worker-class", "asgi", "--bind", "127.0.0.1:{port}"],
    "gunicorn, preloaded, uvicorn's worker": [
        *("gunicorn", "web:app", "--workers", "2", "--worker-class", "uvicorn_worker.UvicornWorker", "--preload"),
        *("--bind", "127.0.0.1:{port}"),
    ],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
async def test_workers_of_a_server_show_each_others_writes(folder: Path, command: list[str]) -> None:
    port = free_port()
    name, *options = command
    with program(folder, str(BIN / name), *(one.format(port=port) for one in options)):
        url = f"http://127.0.0.1:{port}/api/mizan"
        await answering(url)
        pids: set[int] = set()
        count = 0
        while len(pids) < 2:
            written = await once("POST", f"{url}/call/receive/", {"sku": "lamp", "count": 1})
            pids.add(written["result"])
            count += 1
            for _ in range(4):  # by any of the workers
                assert await once("GET", f"{url}/ctx/stock/?sku=lamp") == {"in_stock": count}


async def once(method: str, url: str, json: Any = None) -> Any:
    """By a connection of its own, which any worker may take."""
    async with httpx.AsyncClient(timeout=30) as web:
        answer = await web.request(method, url, json=json)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def answering(url: str) -> None:
    until = time.monotonic() + 100
    while time.monotonic() < until:
        try:
            await once("GET", f"{url}/ctx/stock/?sku=lamp")
        except httpx.TransportError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("The server does not answer.")
