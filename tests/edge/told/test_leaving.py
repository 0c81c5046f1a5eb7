"""Clients that leave in the middle of a call: it goes on, and every node hears of what it wrote."""

import asyncio

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded, StreamReset

from tests.edge.told.fleet import Fleet, Node, Origin, thing

pytestmark = pytest.mark.timeout(120)


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "item"), [(0, 40), (2, 41), (None, 46)], ids=["varnish", "nginx", "past the nodes"])
async def test_a_socket_that_is_closed_leaves_no_node_stale(
    fleet: Fleet, origin: Origin, number: int | None, item: int
) -> None:
    await fleet.kept(item, 0)
    body = f'{{"item": {item}}}'
    async with fleet.truth() as truth:
        asked = origin if number is None else fleet.nodes[number]
        _, writer = await asyncio.open_connection(*asked.address)
        writer.write(
            b"POST /api/mizan/call/slow/ HTTP/1.1\r\nHost: example.com\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body.encode())
        )
        await truth.reached(item)
        writer.close()
        await writer.wait_closed()
        assert await fleet.versions(item) == [0] * 4
        await truth.open(item)
    await fleet.fresh(item, 1)
    await fleet.kept(item, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "item"), [(0, 42), (2, 43)], ids=["varnish", "nginx"])
async def test_a_stream_that_is_reset_leaves_no_node_stale(
    fleet: Fleet, origin: Origin, number: int, item: int
) -> None:
    await fleet.kept(item, 0)
    client = await Http2.connected(fleet.nodes[number])
    try:
        async with fleet.truth() as truth:
            assert await client.read(thing(item)) == '{"thing":0}'
            stream = await client.send("POST", "/api/mizan/call/slow/", f'{{"item": {item}}}')
            await truth.reached(item)
            await client.reset(stream)
            assert await client.read(thing(item)) == '{"thing":0}'
            await truth.open(item)
        await fleet.fresh(item, 1)
        await fleet.kept(item, 1)
        assert await client.read(thing(item)) == '{"thing":1}'
    finally:
        await client.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "item"), [(0, 44), (2, 45)], ids=["varnish", "nginx"])
async def test_a_call_over_http2_leaves_no_node_stale(fleet: Fleet, origin: Origin, number: int, item: int) -> None:
    await fleet.kept(item, 0)
    client = await Http2.connected(fleet.nodes[number])
    try:
        stream = await client.send("POST", "/api/mizan/call/write/", f'{{"item": {item}}}')
        assert '"result":1' in await client.answer(stream)
        assert await fleet.versions(item) == [1] * 4
    finally:
        await client.aclose()


class Http2:
    """One connection without TLS, as `curl --http2-prior-knowledge` opens it; one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))

    @classmethod
    async def connected(cls, node: Node) -> "Http2":
        client = cls(*await asyncio.open_connection(*node.http2))
        client._state.initiate_connection()
        await client._flush()
        return client

    async def send(self, method: str, path: str, body: str = "") -> int:
        """The number of the stream."""
        stream = self._state.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "example.com")]
        if body:
            headers += [("content-type", "application/json"), ("content-length", str(len(body)))]
        self._state.send_headers(stream, headers, end_stream=not body)
        if body:
            self._state.send_data(stream, body.encode(), end_stream=True)
        await self._flush()
        return stream

    async def answer(self, stream: int) -> str:
        """The body, when all of it is there."""
        body = b""
        while True:
            some = await self._reader.read(65_536)
            assert some, "The connection was closed."
            for event in self._state.receive_data(some):
                if isinstance(event, DataReceived) and event.stream_id == stream:
                    body += event.data
                    self._state.acknowledge_received_data(event.flow_controlled_length, stream)
                assert not (isinstance(event, StreamReset) and event.stream_id == stream)
                if isinstance(event, StreamEnded) and event.stream_id == stream:
                    await self._flush()
                    return body.decode()
            await self._flush()

    async def read(self, path: str) -> str:
        return await self.answer(await self.send("GET", path))

    async def reset(self, stream: int) -> None:
        self._state.reset_stream(stream, ErrorCodes.CANCEL)
        await self._flush()

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _flush(self) -> None:
        self._writer.write(self._state.data_to_send())
        await self._writer.drain()
