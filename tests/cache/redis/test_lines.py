"""A line to Redis that is closed, says what nobody asked, or nothing at all: one batch fails, the next is answered."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import BusyLoadingError, InvalidResponse, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as Disconnected

from mizan_core.cache.backends.redis import RedisCache
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import patient, run


class Front:
    """Stands before a Redis server. Replies pass through it, unless `holds` is set."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._clients: list[asyncio.StreamWriter] = []
        self.holds = False
        self.url = ""

    def say(self, words: bytes) -> None:
        """Tell the client that connected last."""
        self._clients[-1].write(words)

    async def hang_up(self) -> None:
        self._clients[-1].close()
        await self._clients[-1].wait_closed()

    @property
    def connections(self) -> int:
        """How many were ever made."""
        return len(self._clients)

    async def connected(self, commands: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._clients.append(client)
        replies, server = await asyncio.open_connection("127.0.0.1", self._server.port)
        await asyncio.gather(self._pass_on(commands, server), self._answer(replies, client))

    async def _pass_on(self, commands: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while chunk := await commands.read(65_536):
            server.write(chunk)
        server.close()

    async def _answer(self, replies: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while chunk := await replies.read(65_536):
            if not self.holds:
                client.write(chunk)
        client.close()


@asynccontextmanager
async def behind(server: RedisServer) -> AsyncIterator[tuple[Front, RedisCache]]:
    """A cache whose one connection is behind a front, with `a` stored in it."""
    front = Front(server)
    listening = await asyncio.start_server(front.connected, "127.0.0.1", 0)
    async with listening:
        cache = patient(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}", prefix="lines:")
        assert await cache.set("a", b"1", 60)
        try:
            yield front, cache
        finally:
            await cache.aclose()


async def asked(front: Front, cache: RedisCache) -> "asyncio.Future[list[bytes | None]]":
    """A question that the server has, and whose reply the front keeps back."""
    front.holds = True
    answer = asyncio.ensure_future(cache.get("a"))
    while not cache._sending:
        await asyncio.sleep(0)
    return answer


async def is_answered_again(front: Front, cache: RedisCache) -> bool:
    front.holds = False
    return await cache.get("a") == [b"1"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"?is no reply\r\n", InvalidResponse),
        (b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError),
    ],
    ids=["garbage", "loading"],
)
def test_a_reply_that_ends_the_line_fails_its_batch_alone(
    redis: RedisServer, words: bytes, error: type[Exception]
) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            answer = await asked(front, cache)
            front.say(words)
            with pytest.raises(error):
                await answer
            assert await is_answered_again(front, cache)
            assert front.connections == 2

    run(story)


def test_a_line_closed_under_a_batch_fails_it_at_once(redis: RedisServer) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            answer = await asked(front, cache)
            await front.hang_up()
            with pytest.raises(Disconnected):
                await answer
            assert await is_answered_again(front, cache)

    run(story)


def test_a_line_closed_while_it_was_free_fails_nothing(redis: RedisServer) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            await front.hang_up()
            while not cache._idle[-1].is_lost:
                await asyncio.sleep(0)
            assert await is_answered_again(front, cache)
            assert front.connections == 2

    run(story)


def test_a_line_free_for_long_is_looked_at_and_kept(redis: RedisServer) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            cache._idle[-1].free_since -= 10
            assert await is_answered_again(front, cache)
            assert front.connections == 1

    run(story)


def test_a_reply_to_no_question_closes_the_line(redis: RedisServer) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            front.say(b"+OK\r\n")
            while not cache._idle[-1].is_lost:
                await asyncio.sleep(0)
            assert await is_answered_again(front, cache)

    run(story)


def test_a_pushed_message_is_no_reply(redis: RedisServer) -> None:
    async def story() -> None:
        async with behind(redis) as (front, cache):
            answer = await asked(front, cache)
            front.say(b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n*1\r\n$1\r\n2\r\n")
            assert await answer == [b"2"]
            assert front.connections == 1

    run(story)


def test_every_line_without_a_reply_is_given_up_in_time() -> None:
    async def story(server: RedisServer) -> None:
        cache = RedisCache(server.url, timeout=0.2)
        while len(cache._idle) < 2:  # a line for each question
            answer = asyncio.ensure_future(cache.set("a", b"1", 60))
            while not cache._sending:
                await asyncio.sleep(0)
            await asyncio.gather(answer, cache.get("b"))
        server.signal(signal.SIGSTOP)
        try:
            first = asyncio.ensure_future(cache.get("a"))
            await asyncio.sleep(0.02)
            later = asyncio.ensure_future(cache.get("b"))
            for answer in (first, later):
                with pytest.raises((TimeoutError, RedisError)):
                    await answer
        finally:
            server.signal(signal.SIGCONT)
        await cache.aclose()

    with redis_server() as server:
        run(lambda: story(server))


def test_a_cluster_that_cannot_be_reached_fails_every_command() -> None:
    async def story() -> None:
        cache = RedisCache("redis://127.0.0.1:1", cluster=True, connect_timeout=5.0)
        asking = cache.get("a"), cache.set("b", b"1", 60)
        for answer in asking:
            with pytest.raises((RedisError, RedisClusterException, OSError)):
                await answer
        await cache.aclose()

    run(story)
