"""`Mizan(observers=..., verify=...)`: the engine behind the endpoints is observed."""

import pytest

from mizan_asgi import Mizan
from mizan_core import Context, build, client
from mizan_core.engine.observers import Called, Fetched, Observer
from mizan_core.proof import Verify
from tests.http.site import http

Row = Context("row")


class Noting(Observer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def fetched(self, event: Fetched) -> None:
        self.names.append(f"{event.status} {event.context}")

    def called(self, event: Called) -> None:
        self.names.append(event.function)


@pytest.mark.asyncio
async def test_observers_and_verify_see_what_requests_do() -> None:
    rows = ["old"]

    @client(context=Row)
    async def row() -> str:
        return rows[0]

    @client(affects=Context("other"))
    async def write() -> None:
        rows[0] = "new"

    @client(context="other")
    async def other() -> int:
        return 1

    noting, verify = Noting(), Verify()
    async with http(Mizan(build([row, write, other]), observers=[noting], verify=verify)) as web:
        for _ in range(2):
            await web.get("/api/mizan/ctx/row/")
        await web.post("/api/mizan/call/write/", json={})
    assert noting.names == ["miss row", "hit row", "write"]
    assert [(one.mutation, one.context) for one in verify.proved] == [("write", "row")]
