"""The inspector of a server with two uvicorn workers, over one Redis: what a page sees of each."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mizan_core.testing.redis_server import RedisServer
from tests.http.servers import uvicorn_process

# How often a page asks before each of two workers has answered: after as many, that one has not is no accident.
ATTEMPTS = 400


class Page:
    """Asks for changes as `page/feed.js` does: with its place in the changes of each worker that has answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.places: dict[str, int] = {}
        self.records: dict[str, list[dict[str, Any]]] = {}

    def ask(self) -> str:
        after = [("after", f"{worker}.{place}") for worker, place in self.places.items()]
        answer = httpx.get(f"{self._url}/inspector/changes.json", params=after, follow_redirects=True).json()
        worker: str = answer["worker"]
        self.places[worker] = answer["change"]
        self.records.setdefault(worker, []).extend(answer["records"])
        return worker

    def of(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        return [(worker, one) for worker, records in self.records.items() for one in records if one["kind"] == kind]


@pytest.fixture
def url(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MIZAN_TEST_REDIS", redis.url)
    with uvicorn_process("tests.inspector.served:app", "--workers", "2") as served:
        for _ in range(2):
            served.says("Application startup complete")
        yield served.url


def until(found: Any) -> None:
    """Ask until this is so."""
    for _ in range(ATTEMPTS):
        if found():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come.")


def test_a_page_shows_the_calls_of_both_workers(url: str) -> None:
    page = Page(url)
    until(lambda: page.ask() and len(page.places) == 2)  # both observe from now on
    makers: set[str] = set()
    for customer_id in range(ATTEMPTS):
        httpx.post(f"{url}/call/touch/", json={"customer_id": customer_id})
        until(lambda number=customer_id: page.ask() and len(page.of("call")) > number)
        makers = {worker for worker, _ in page.of("call")}
        if len(makers) == 2:
            break
    assert makers == page.places.keys()
    assert len({worker.partition("-")[0] for worker in makers}) == 2  # a worker's name begins with its process id
    scopes = [one["scopes"][0]["text"] for _, one in page.of("call")]
    assert sorted(scopes) == sorted(f"orders;customer_id={number}" for number in range(len(scopes)))


def test_a_purge_of_another_worker_shows_as_a_stale_miss(url: str) -> None:
    page = Page(url)
    until(lambda: page.ask() and len(page.places) == 2)
    bundle, found = f"{url}/ctx/orders/?customer_id=5", []
    for _ in range(ATTEMPTS):  # until a worker misses what the other has purged
        httpx.get(bundle)
        httpx.post(f"{url}/call/touch/", json={"customer_id": 5})
        httpx.get(bundle)
        for _ in range(8):
            page.ask()
        found = [one for _, one in page.of("fetch") if one["reason"] == "stale" and one["status"] == "miss"]
        if found:
            break
    assert found  # no call of its own worker is told as its reason
