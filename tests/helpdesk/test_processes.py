"""The whole of it: two web processes behind nginx, Redis, a worker, a cron job and the mail service, as processes.

Whatever one of them writes, every other one shows at the next read.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from mizan_core.testing.redis_server import RedisServer, free_port
from tests.http.servers import ROOT, uvicorn_process

from .world import ADA, CY, Member, named

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
# Else its processes would be nobody's, who may write into no folder of a test.
AS_ROOT = ["-g", "user root;"] if os.geteuid() == 0 else []
CONF = ROOT / "examples" / "helpdesk" / "nginx.conf"

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="There is no nginx here."),
    pytest.mark.timeout(120),  # five programs start, on a machine with a lot to do
]


@dataclass(frozen=True)
class Running:
    """Ada's browser, by nginx and by each web process, and the worker."""

    nginx: Member
    first: Member
    second: Member
    worker: subprocess.Popen[str]

    @property
    def everywhere(self) -> list[Member]:
        return [self.first, self.second, self.nginx, self.nginx]

    async def shown(self, ticket_id: int) -> Any:
        """The page of a ticket, which is the same everywhere, and kept by the time this has been asked twice."""
        pages = [await one.fetch("ticket", ticket_id=ticket_id) for one in self.everywhere]
        lists = [await one.fetch("tickets") for one in self.everywhere]
        for answers in (pages, lists):
            assert [one.status_code for one in answers] == [200] * 4
            assert len({one.content for one in answers}) == 1
            assert [one.headers["cache-status"].startswith("mizan; hit") for one in answers[1:]] == [True] * 3
        return pages[0].json()


@pytest.fixture
def shared(settings: None, queue_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes over one Redis."""
    monkeypatch.setenv("MIZAN_CACHE_REDIS_URL", queue_server.url)
    monkeypatch.setenv("MIZAN_CACHE_SECRET", "the same in every process, 32 bytes")
    monkeypatch.setenv("HELPDESK_SESSION_SECRET", "the same in both web processes")


@pytest_asyncio.fixture
async def running(shared: None, tmp_path: Path) -> AsyncIterator[Running]:
    with ExitStack() as programs:
        first, second = [programs.enter_context(uvicorn_process("examples.helpdesk.app:app")).url for _ in range(2)]
        worker = programs.enter_context(module("worker"))
        front = programs.enter_context(nginx(tmp_path, [first, second]))
        async with AsyncExitStack() as browsers:
            members = [await browsers.enter_async_context(browser(url, ADA)) for url in (front, first, second)]
            yield Running(*members, worker)


@contextmanager
def module(name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"examples.helpdesk.{name}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def nginx(folder: Path, urls: list[str]) -> Iterator[str]:
    """The example's configuration, with the ports of this test."""
    assert NGINX is not None
    port, text = free_port(), CONF.read_text(encoding="utf-8")
    for shown, here in zip(("127.0.0.1:8001", "127.0.0.1:8002"), urls, strict=True):
        text = text.replace(shown, here.removeprefix("http://"))
    (folder / "nginx.conf").write_text(text.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), encoding="utf-8")
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), *AS_ROOT]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until and process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@asynccontextmanager
async def browser(url: str, member_id: int) -> AsyncIterator[Member]:
    async with httpx.AsyncClient(base_url=url) as web:
        member = Member(web)
        await member.sign_in(member_id)
        yield member


@pytest.mark.asyncio
async def test_every_process_shows_what_another_has_written(running: Running) -> None:
    first = await running.first.open("Printer")
    await running.shown(first)
    for writer, status in zip(running.everywhere, ("waiting", "closed", "open", "waiting"), strict=True):
        answer = await writer.call("set_status", ticket_id=first, status=status)
        assert named(answer) == {"tickets;org_id=1", f"ticket;org_id=1;ticket_id={first}"}
        assert (await running.shown(first))["ticket"]["status"] == status
        await writer.call("reply", ticket_id=first, text=status)
        assert (await running.shown(first))["messages"][-1]["text"] == status

    await running.nginx.call("set_status", ticket_id=first, status="waiting")
    assert (await running.shown(first))["ticket"]["status"] == "waiting"
    cron = [sys.executable, "-m", "examples.helpdesk.cron", "-1"]  # tickets that have waited since tomorrow
    ran = subprocess.run(cron, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == f"closed: {first}\n"
    assert (await running.shown(first))["ticket"]["status"] == "closed"

    mailed = await running.nginx.mail(ticket_id=first, sender="al@x", text="Not yet.")
    assert mailed.status_code == 204
    assert (await running.shown(first))["ticket"]["status"] == "open"
    assert (await running.shown(first))["messages"][-1] == {"author": "al@x", "text": "Not yet."}


@pytest.mark.asyncio
async def test_a_file_goes_by_nginx_and_the_worker_reads_it(running: Running) -> None:
    first = await running.first.open("Printer")
    await running.shown(first)
    picture = bytes(range(256)) * 15_000  # 3.8 MB: on disk in nginx and in the web process
    assert (await running.nginx.attach(first, "noughts.png", picture)).status_code == 200
    assert running.worker.stdout is not None
    assert running.worker.stdout.readline().startswith("done: digest")
    digest = hashlib.sha256(picture).hexdigest()
    shown = (await running.shown(first))["attachments"]
    assert shown == [{"id": 1, "name": "noughts.png", "size": len(picture), "sha256": digest}]
    assert (await running.second.web.get("/attachments/1/")).content == picture

    large = await running.nginx.attach(first, "large", b"0" * 5_500_000)  # nginx lets it through
    assert (large.status_code, large.json()["code"]) == (413, "payload_too_large")
    larger = await running.nginx.attach(first, "larger", b"0" * 6_500_000)
    assert (larger.status_code, larger.headers["content-type"]) == (413, "text/html")
    assert len((await running.shown(first))["attachments"]) == 1


@pytest.mark.asyncio
async def test_a_write_of_one_organisation_keeps_the_others_entries(running: Running) -> None:
    async with browser(str(running.second.web.base_url), CY) as cy:
        await cy.open("Mouse")
        assert (await cy.fetch("tickets")).headers["cache-status"].startswith("mizan; fwd=")
        await running.first.open("Printer")
        assert (await cy.fetch("tickets")).headers["cache-status"].startswith("mizan; hit")
