"""Ways between edge and origin: one on which the answers to calls get lost, and one that passes everything on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"
)


@asynccontextmanager
async def losing(origin: str, *, instead: bytes) -> AsyncIterator[str]:
    """The URL of the way. `instead` is sent in place of each answer to a POST; nothing cuts the connection."""
    parts = urlsplit(origin)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            body = await reader.readexactly(length)
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
            back.write(_closing(head) + body)
            answer = await there.read()
            back.close()
            writer.write(instead if head.startswith(b"POST ") else answer)
        except asyncio.IncompleteReadError:  # an edge closes a connection that it opened in advance
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


def _closing(head: bytes) -> bytes:
    """The head of a request, after whose answer the origin closes the connection."""
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


@asynccontextmanager
async def relaying(there: Sequence[Path | str], number: int, used: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A URL that leads to what `there` has under this number by the time of a request: a socket, or another URL.

    `used` is set when something has come back.
    """

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = there[number]
        parts = urlsplit(str(to))
        opened = asyncio.open_connection(parts.hostname, parts.port) if isinstance(to, str) else None
        back, forth = await (opened or asyncio.open_unix_connection(to))
        await asyncio.gather(_copied(reader, forth), _copied(back, writer, used))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


async def _copied(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, used: asyncio.Event | None = None
) -> None:
    while some := await reader.read(65536):
        writer.write(some)
        if used is not None:
            used.set()
    writer.close()
