"""The proxy between a worker and Redis, and what it does to a conversation."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mizan_core.testing.consistency.proxy import Proxy
from mizan_core.testing.redis_server import free_port
from tests.testing.fleet import run


@asynccontextmanager
async def echoing(delay: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Proxy]:
    """A proxy to a server that says everything again."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        proxy = Proxy("127.0.0.1", server.sockets[0].getsockname()[1], delay)
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.aclose()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    writer.write(line)
    return await reader.readline()


def test_the_proxy_passes_bytes_both_ways_until_one_side_ends() -> None:
    async def story() -> None:
        async with echoing() as proxy, connected(proxy) as (reader, writer):
            assert await said(reader, writer, b"hello\n") == b"hello\n"
            writer.write_eof()
            assert await reader.read() == b""

    run(story)


def test_every_chunk_is_delayed() -> None:
    async def story() -> None:
        async with echoing(lambda: 0.05) as proxy, connected(proxy) as (reader, writer):
            began = asyncio.get_running_loop().time()
            assert await said(reader, writer, b"hello\n") == b"hello\n"
            assert asyncio.get_running_loop().time() - began >= 0.1

    run(story)


def test_a_stalled_proxy_passes_nothing_and_then_everything() -> None:
    async def story() -> None:
        async with echoing() as proxy, connected(proxy) as (reader, writer):
            proxy.stall()
            writer.write(b"hello\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.05)
            proxy.resume()
            assert await reader.readline() == b"hello\n"

    run(story)


def test_a_cut_connection_is_gone_and_a_new_one_works() -> None:
    async def story() -> None:
        async with echoing() as proxy:
            async with connected(proxy) as (reader, writer):
                assert await said(reader, writer, b"hello\n") == b"hello\n"
                proxy.cut()
                with pytest.raises((ConnectionError, EOFError)):
                    await reader.readexactly(1)
            async with connected(proxy) as (reader, writer):
                assert await said(reader, writer, b"again\n") == b"again\n"

    run(story)


@pytest.mark.parametrize("replies", [True, False])
def test_a_half_closed_connection_answers_no_more(replies: bool) -> None:
    async def story() -> None:
        async with echoing() as proxy, connected(proxy) as (reader, writer):
            assert await said(reader, writer, b"hello\n") == b"hello\n"
            proxy.half_close(replies=replies)
            writer.write(b"lost\n")
            assert await reader.read() == b""

    run(story)


def test_a_connection_to_a_stopped_server_is_dropped() -> None:
    async def story() -> None:
        proxy = Proxy("127.0.0.1", free_port(), lambda: 0.0)
        await proxy.start()
        async with connected(proxy) as (reader, _):
            with pytest.raises((ConnectionError, EOFError)):
                await reader.readexactly(1)
        await proxy.aclose()

    run(story)


def test_closing_an_unstarted_proxy_is_no_error() -> None:
    asyncio.run(Proxy("127.0.0.1", free_port(), lambda: 0.0).aclose())
