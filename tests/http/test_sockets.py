"""Over real sockets: HEAD, bodies that lie about their length, clients that hang up, servers that stop."""

import asyncio
import json
import signal
import socket
import threading
from typing import Any

import pytest

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.servers import connected, listening, uvicorn_process
from tests.http.site import Site

CALL = b"POST /api/mizan/call/echo/ HTTP/1.1\r\nHost: site.test\r\nContent-Type: application/json\r\n"


async def head_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in headers.items()}


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, Any]:
    status, headers = await head_of(reader)
    return status, json.loads(await reader.readexactly(int(headers["content-length"])))


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/api/mizan/ctx/user/?user_id=5", "/profile/5/", "/api/mizan/ctx/nothing/"])
async def test_head_sends_the_headers_of_get_alone(site: Site, path: str) -> None:
    async with listening(site.mizan()) as address, connected(address) as (reader, writer):
        seen = []
        for method in ("GET", "HEAD", "HEAD", "GET"):
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
            status, headers = await head_of(reader)
            headers.pop("date")
            headers.pop("cache-status", None)
            seen.append((status, headers))
            if method == "GET":
                await reader.readexactly(int(headers["content-length"]))
    assert all(one == seen[0] for one in seen)


@pytest.mark.asyncio
async def test_a_304_over_a_socket_is_followed_by_the_next_answer(site: Site) -> None:
    async with listening(site.mizan()) as address, connected(address) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /api/mizan/ctx/user/?user_id=5 HTTP/1.1\r\nHost: site.test\r\nIf-None-Match: *\r\n\r\n")
            status, headers = await head_of(reader)
            assert (status, headers.get("content-length")) == (304, None)


@pytest.mark.asyncio
async def test_a_chunked_body_over_the_limit_is_refused_before_it_ends(site: Site) -> None:
    async with listening(site.mizan(max_body_bytes=1000)) as address, connected(address) as (reader, writer):
        writer.write(CALL + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
        status, problem = await answer_of(reader)
    assert (status, problem["code"]) == (413, "payload_too_large")
    assert not site.ran


@pytest.mark.asyncio
async def test_a_content_length_over_the_limit_is_refused_at_once(site: Site) -> None:
    for length in (b"1001", b"99999999999999999999"):
        async with listening(site.mizan(max_body_bytes=1000)) as address, connected(address) as (reader, writer):
            writer.write(CALL + b"Content-Length: " + length + b"\r\n\r\n")
            assert (await answer_of(reader))[1]["code"] == "payload_too_large"


@pytest.mark.asyncio
async def test_a_chunked_body_within_the_limit_is_a_call(site: Site) -> None:
    async with listening(site.mizan(max_body_bytes=1000)) as address, connected(address) as (reader, writer):
        writer.write(CALL + b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"value\r\n9\r\ns":["a"]}\r\n0\r\n\r\n')
        assert await answer_of(reader) == (200, {"result": ["a"]})


@pytest.mark.asyncio
async def test_a_body_longer_than_its_content_length_is_cut(site: Site) -> None:
    async with listening(site.mizan()) as address, connected(address) as (reader, writer):
        writer.write(CALL + b'Content-Length: 5\r\n\r\n{"values":["a"]}')
        status, problem = await answer_of(reader)
    assert (status, problem["code"]) == (400, "bad_request")
    assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize("announced", [[], [b"5"], [b"x"], [b"-1"], [b""], [b"5", b"7"], [b"1000"]])
async def test_the_body_limit_counts_received_bytes(site: Site, announced: list[bytes]) -> None:
    headers = [(b"content-type", b"application/json"), *((b"content-length", one) for one in announced)]
    sent: list[Any] = []
    received = 0

    async def receive() -> Any:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/mizan/call/echo/", "headers": headers}
    await site.mizan(max_body_bytes=1000)(scope, receive, send)
    assert (sent[0]["status"], received) == (413, 11)
    assert not site.ran


@pytest.mark.asyncio
async def test_a_purge_follows_the_commit_though_the_client_hung_up() -> None:
    begun, go_on = threading.Event(), threading.Event()
    value = "old"

    @client(context="thing")
    async def thing(thing_id: int) -> str:
        return value

    @client(affects="thing")
    def change(thing_id: int) -> None:
        nonlocal value
        begun.set()
        go_on.wait()
        value = "new"

    mizan = Mizan(build([thing, change]))
    asked = {"thing_id": 1}
    async with listening(mizan) as address:
        await mizan.engine.fetch("thing", asked)
        async with connected(address) as (_, writer):
            body = b'{"thing_id":1}'
            writer.write(
                b"POST /api/mizan/call/change/ HTTP/1.1\r\nHost: site.test\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await asyncio.to_thread(begun.wait)
        held = await mizan.engine.fetch("thing", asked)
        go_on.set()
    after = [await mizan.engine.fetch("thing", asked) for _ in range(2)]
    assert (held.status, held.body) == ("bypass", b'{"thing":"old"}')
    assert [(one.status, one.body) for one in after] == [("miss", b'{"thing":"new"}'), ("hit", b'{"thing":"new"}')]


@pytest.mark.asyncio
async def test_a_stopping_server_waits_for_a_mutation_that_has_begun() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as told,
        uvicorn_process("tests.http.served:alone", "--timeout-graceful-shutdown", "1") as served,
    ):
        port = told.getsockname()[1]
        with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as caller:
            body = b'{"port":%d}' % port
            caller.sendall(
                b"POST /api/mizan/call/work_until_told/ HTTP/1.1\r\nHost: site.test\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            working, _ = told.accept()
            with working:
                assert working.recv(5) == b"begun"
                served.process.send_signal(signal.SIGTERM)
                assert served.says("timeout graceful shutdown exceeded")
                assert served.says("Waiting for application shutdown")
                assert served.process.poll() is None
                working.sendall(b"!")
                assert working.recv(6) == b" ended"
        assert served.says("Application shutdown complete")
