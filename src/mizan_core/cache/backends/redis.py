"""A cache in Redis (6.2 or later) or Valkey, shared by processes. Needs the extra `mizan-asgi[redis]`.

Operations that are called in one turn of the event loop share one round trip. No command is ever sent twice: a tag's
value that arrived again after a purge would make dead entries valid again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Connection, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ResponseError

from ... import forks
from ...errors import CacheUnavailable
from . import redis_scripts
from .backend import HELD, hold_and_claim, release_and_get
from .redis_lines import Ended, GivingUp, Line, Words
from .redis_url import RedisUrl

# Twice the engine's default deadline for a command. A connection without a reply for this long is closed.
DEFAULT_TIMEOUT_SECONDS = 0.5
DEFAULT_CONNECT_TIMEOUT_SECONDS = 0.5

# Batches under way at once. Operations called while all are under way wait for the next batch and share it.
DEFAULT_MAX_CONNECTIONS = 16

# A connection that was idle for longer is checked before use: servers close idle connections.
_LOOKED_AT_AFTER_SECONDS = 1.0

_SCAN_COUNT = 1000
# The largest share of a server's time that a scan takes. A step is timed with its round trip, so the share is smaller.
_SCAN_SHARE = 0.03
# The key of the journal, a sorted set: each note by the moment at which its lease ends, in milliseconds.
_JOURNAL = "journal"
# Keys that are deleted at once in a cluster, by one command each: other commands wait that long.
_CLUSTER_PART = 100
_GLOB = str.maketrans({character: f"\\{character}" for character in "*?[]^-\\"})


@dataclass(slots=True)
class _Command:
    """One command, the function that reads its reply, and the future of the result."""

    words: tuple[Any, ...]
    read: Callable[[Any], Any]
    answer: "asyncio.Future[Any]"


@dataclass(slots=True, eq=False)
class _Batch:
    """The operations that were called in one turn of an event loop. All look-ups become one command, after the others.

    `is_due`: the turn has ended, but the maximum of batches is under way. More operations may join until it is sent.
    """

    loop: asyncio.AbstractEventLoop | None = None
    commands: list[_Command] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    lookups: list[tuple[int, "asyncio.Future[list[bytes | None]]"]] = field(default_factory=list)
    is_due: bool = False

    def answers(self) -> "list[asyncio.Future[Any]]":
        """What its callers wait for."""
        return [*(command.answer for command in self.commands), *(answer for _, answer in self.lookups)]


class RedisCache:
    """A `CacheBackend` in Redis that counts the holders of tags across processes.

    `url`: `redis://`, `rediss://` (TLS) or `unix://`, with user and password if there are any; `valkey://` and
    `valkeys://` are the same. `redis+sentinel://host:26379,host2:26379/mymaster/0`, or `rediss+sentinel://` and so on,
    asks sentinels for the server; `?sentinel_username=...&sentinel_password=...` log in at the sentinels. `prefix`: the
    beginning of every key, so that applications can share a server. `cluster`: the URL is one node of a Redis Cluster.
    The keys of one look-up may then live on several nodes. That is as correct, since a hit needs every tag to have the
    entry's stamp whenever it is read; it takes one round trip to each node. `timeout`: seconds without a reply after
    which a connection is closed; not less than the engine's `deadline`. `connect_timeout`: in seconds too.

    Connects on first use, and again after `aclose`.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "mizan:",
        cluster: bool = False,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        self._url = RedisUrl.read(url, cluster=cluster)
        self._prefix = prefix
        self._cluster = cluster
        self._timeout = timeout
        self._max_connections = max_connections
        self._options: dict[str, Any] = {"socket_connect_timeout": connect_timeout}
        self._client: Any = None  # a `Redis` or a `RedisCluster`
        self._idle: list[Line] = []  # free connections
        self._speaking: dict[Line, None] = {}  # those with a batch under way, the earliest first
        self._timer: asyncio.TimerHandle | None = None  # looks for connections without a reply for too long
        self._loop: asyncio.AbstractEventLoop | None = None
        self._initializing = asyncio.Lock()
        self._places = asyncio.Semaphore(max_connections)  # in a cluster, where each command takes a connection
        self._batch = _Batch()
        self._sending: set[_Batch] = set()
        self._closing: set[Line] = set()  # they are closed, and given back to the pool after that
        self._tasks: set[asyncio.Task[Any]] = set()
        forks.listen(self)

    def get(self, *keys: str) -> Awaitable[list[bytes | None]]:
        answer: asyncio.Future[list[bytes | None]] = self._future()
        if not keys:
            answer.set_result([])
            return answer
        batch = self._joined()
        batch.lookups.append((len(keys), answer))
        batch.keys += [self._prefix + key for key in keys]
        return answer

    def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> Awaitable[bool]:
        words: tuple[Any, ...] = ("SET", self._key(key), value)
        if ttl is not None:
            if (milliseconds := int(ttl * 1000)) <= 0:
                return self._call(("DEL", self._key(key)), lambda _: False)
            words += ("PX", milliseconds)
        return self._call((*words, "NX") if if_absent else words, bool)

    def delete(self, *keys: str) -> Awaitable[int]:
        return self._unlinked([self._key(key) for key in keys])

    def hold(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        return self._script(redis_scripts.HOLD, tags, holder, HELD, int(ttl * 1000), 0)

    def release(self, tags: Sequence[str], holder: str) -> Awaitable[None]:
        return self._script(redis_scripts.RELEASE, tags, holder, HELD, 0)

    def restore(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        return self._script(redis_scripts.RESTORE, tags, holder, HELD, int(ttl * 1000))

    def hold_and_claim(
        self, tags: Sequence[str], holder: str, ttl: float, fresh: Mapping[str, bytes], life: float
    ) -> Awaitable[list[bytes | None]]:
        if self._cluster:  # the keys may live in different slots
            return hold_and_claim(self, self, tags, holder, ttl, fresh, life)
        arguments = (holder, HELD, int(ttl * 1000), int(life * 1000), *fresh.values())
        return self._run(redis_scripts.HOLD, [*tags, *fresh], arguments, _as_it_is)

    def release_and_get(self, tags: Sequence[str], holder: str, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        if self._cluster:
            return release_and_get(self, self, tags, holder, keys)
        return self._run(redis_scripts.RELEASE, [*tags, *keys], (holder, HELD, len(keys)), _as_it_is)

    def journal_write(self, notes: Sequence[bytes], lease: float) -> Awaitable[None]:
        return self._journal(redis_scripts.JOURNAL_WRITE, int(lease * 1000), *notes)

    def journal_strike(self, notes: Sequence[bytes]) -> Awaitable[None]:
        return self._call(("ZREM", self._key(_JOURNAL), *notes), _nothing)

    def journal_claim(self, at_most: int, lease: float) -> Awaitable[list[bytes]]:
        return self._journal(redis_scripts.JOURNAL_CLAIM, int(lease * 1000), at_most, read=_as_it_is)

    async def delete_by_prefix(self, prefix: str) -> int:
        """Deletes in small steps with pauses, which never block the server and take a bounded share of its time."""
        return await self._delete_by_prefix(prefix, pause=_pause_after)

    async def clear(self) -> None:
        await self._delete_by_prefix("", pause=lambda _: 0.0)

    async def _delete_by_prefix(self, prefix: str, *, pause: Callable[[float], float]) -> int:
        """`pause(seconds)`: how long to pause after a step that took so many seconds."""
        deleted = 0
        time = asyncio.get_running_loop().time
        began = time()
        async for keys in self._found(self._key(prefix).translate(_GLOB) + "*"):
            deleted += await self._unlinked(keys)
            await asyncio.sleep(pause(time() - began))
            began = time()
        return deleted

    async def aclose(self) -> None:
        """Close every connection."""
        self._running()
        answers = [answer for batch in self._sending for answer in batch.answers()]
        if answers:
            await asyncio.wait(answers, timeout=self._timeout)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        client, self._client = self._client, None
        self._idle.clear()
        if client is not None:
            await client.aclose()
            if self._url.sentinels:
                await client.connection_pool.sentinel_manager.aclose()

    def _key(self, key: str) -> str:
        return self._prefix + key

    def _running(self) -> asyncio.AbstractEventLoop:
        """The running loop. Connections and tasks of an earlier loop have ended with it, and are dropped."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._client = loop, None
            self._initializing = asyncio.Lock()
            self._places = asyncio.Semaphore(self._max_connections)
            self._timer = None
            self._sending, self._closing, self._speaking, self._tasks = set(), set(), {}, set()
        return loop

    def begin_anew(self) -> None:
        """As `forks.BeginsAnew`: the parent's connections are not used and, above all, not closed."""
        forks.keep(self._loop, self._client, self._idle, self._batch, self._sending, self._closing, self._tasks)
        forks.keep(self._speaking, self._timer)
        self._loop, self._client, self._idle, self._batch, self._timer = None, None, [], _Batch(), None
        self._sending, self._closing, self._speaking, self._tasks = set(), set(), {}, set()

    def _connected(self) -> Any:
        """The client of the running loop. It neither retries nor waits."""
        self._running()
        if self._client is None:
            self._idle.clear()
            never = Retry(NoBackoff(), 0)
            if self._cluster:  # one connection more, for a scan
                self._client = RedisCluster.from_url(
                    self._url.url,
                    retry=never,
                    socket_timeout=self._timeout,
                    max_connections=self._max_connections + 1,
                    **self._options,
                )
            else:  # replies are timed by `_look`, once for a whole batch
                pool = self._url.pool(
                    timeout=self._timeout,
                    retry=never,
                    socket_timeout=None,
                    max_connections=self._max_connections,
                    redis_connect_func=self._greeted,
                    **self._options,
                )
                self._client = Redis.from_pool(pool)
        return self._client

    def _future(self) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()

    def _joined(self) -> _Batch:
        """The batch of this turn of the loop. It is sent at the end of the turn, or as soon as a connection is free."""
        loop = self._running()
        if self._batch.loop is not loop:  # no operation was called yet, or in a loop that stopped in mid-turn
            self._batch = _Batch(loop)
            loop.call_soon(self._send_batch)
        return self._batch

    def _call(self, words: tuple[Any, ...], read: Callable[[Any], Any]) -> "asyncio.Future[Any]":
        command = _Command(words, read, self._future())
        self._joined().commands.append(command)
        return command.answer

    def _script(self, script: str, tags: Sequence[str], *arguments: object) -> Awaitable[None]:
        """Run a script with these tags for its keys, or in a cluster once for each."""
        if tags and not self._cluster:
            return self._run(script, tags, arguments, _nothing)
        return _total([self._run(script, [tag], arguments, _nothing) for tag in tags], _nothing)

    def _run(
        self, script: str, keys: Sequence[str], arguments: Sequence[object], read: Callable[[Any], Any]
    ) -> "asyncio.Future[Any]":
        return self._call(("EVAL", script, len(keys), *[self._prefix + key for key in keys], *arguments), read)

    def _journal(self, script: str, *arguments: object, read: "Callable[[Any], Any] | None" = None) -> Awaitable[Any]:
        return self._run(script, [_JOURNAL], arguments, read or _nothing)

    def _unlinked(self, keys: Sequence[Any]) -> Awaitable[int]:
        return self._with_keys(keys, lambda some: ("UNLINK", *some), sum)

    def _with_keys(
        self, keys: Sequence[Any], words: Callable[[Sequence[Any]], tuple[Any, ...]], total: Callable[[list[Any]], Any]
    ) -> Awaitable[Any]:
        """One command for all of the keys, or in a cluster one for each, for they may live in different slots."""
        if keys and not self._cluster:
            return self._call(words(keys), lambda reply: total([reply]))
        return _total([self._call(words([key]), _as_it_is) for key in keys], total)

    def _send_batch(self) -> None:
        """Send the batch. If every connection is taken it is due, and `_send_due` sends it once one is free."""
        if len(self._sending) + len(self._closing) >= self._max_connections:
            self._batch.is_due = True
            return
        batch, self._batch = self._batch, _Batch()
        if batch.is_due:  # a command that was given up must not arrive late: its holds would not be released
            batch.commands = [command for command in batch.commands if not command.answer.done()]
            if not batch.commands and not batch.keys:
                return
        words = [command.words for command in batch.commands]
        if self._cluster:
            words += [("GET", key) for key in batch.keys]
        elif batch.keys:
            words.append(("MGET", *batch.keys))
        self._sending.add(batch)
        self._exchange(words, partial(self._answer_batch, batch))

    def _send_due(self) -> None:
        if self._batch.is_due:
            self._send_batch()

    def _answer_batch(self, batch: _Batch, replies: list[Any] | Exception) -> None:
        """Answer every caller. `replies`: an error is for all of them."""
        if isinstance(replies, Exception):
            replies = [replies] * (len(batch.commands) + max(len(batch.keys), 1))
        for command, reply in zip(batch.commands, replies, strict=False):
            _answer(command.answer, _read(command.read, reply))
        values = replies[len(batch.commands) :]
        if self._cluster:  # GET, unlike MGET, fails for a key of another type
            values = [None if _is_of_another_type(value) else value for value in values]
        self._answer_lookups(batch, values if self._cluster or not values else values[0])
        self._sending.discard(batch)
        self._send_due()

    def _exchange(self, words: Words, ended: Ended) -> None:
        """Send the commands. `ended` is called with the reply to each of them, or with the error that ended them all.

        An error reply to one of them is an exception among the replies.
        """
        if self._cluster:
            self._begin(self._exchange_in_cluster(words, ended))
            return
        line = self._idle.pop() if self._idle else None
        now = asyncio.get_running_loop().time()
        if line is None or line.is_lost or now - line.free_since >= _LOOKED_AT_AFTER_SECONDS:
            self._begin(self._exchange_connected(line, words, ended))
        else:
            self._say(line, words, ended)

    async def _exchange_connected(self, line: Line | None, words: Words, ended: Ended) -> None:
        """As `_exchange`, on a connection of the pool, which checks that it is open. `line` was idle for too long."""
        try:
            pool = self._connected().connection_pool
            if line is not None:
                await line.hand_back()
            connection = await pool.get_connection()
        except Exception as error:  # noqa: BLE001  # every waiting caller gets the error
            ended(error)
        else:
            self._say(Line(pool, connection, self._freed, self._pushed), words, ended)

    async def _exchange_in_cluster(self, words: Words, ended: Ended) -> None:
        client = self._connected()
        try:
            async with self._initializing:  # two initialisations at once make redis-py drop connections in use
                await client.initialize()
        except Exception as error:  # noqa: BLE001  # every waiting caller gets the error
            ended(error)
        else:
            ended(await asyncio.gather(*(self._executed(client, one) for one in words), return_exceptions=True))

    async def _executed(self, client: Any, words: tuple[Any, ...]) -> Any:
        async with self._places:  # redis-py fails a command if no connection is free
            return await client.execute_command(*words)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say(self, line: Line, words: Words, ended: Ended) -> None:
        """Send commands on a line. If a reply is missing after `timeout`, the line is given up."""
        loop = asyncio.get_running_loop()
        line.began = loop.time()
        self._speaking[line] = None
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._look, context=Context())
        line.say(words, ended)

    def _look(self) -> None:
        """Give up lines without a reply for too long. One timer serves all, which are due in their order."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for line in self._speaking:
            due = line.began + self._timeout
            if due > now:
                self._timer = loop.call_at(due, self._look, context=Context())
                return
            if line.giving_up is None:
                line.giving_up = GivingUp(0.0, partial(line.fail, TimeoutError("Redis did not reply.")))

    def _freed(self, line: Line, error: Exception | None) -> None:
        """A line's batch has ended: it is free, or, after an error, closed."""
        del self._speaking[line]
        if line.giving_up is not None:
            line.giving_up.cancel()
            line.giving_up = None
        if error is None:
            line.free_since = asyncio.get_running_loop().time()
            self._idle.append(line)
        else:
            self._closing.add(line)
            self._begin(self._close(line))

    async def _close(self, line: Line) -> None:
        try:
            await line.hand_back(close=True)
        finally:
            self._closing.discard(line)
        self._send_due()

    def _pushed(self, connection: Connection, message: Any) -> None:
        """A message of the server's that answers no command, such as of its maintenance, is redis-py's."""
        private: Any = connection
        self._begin(private._parser.handle_push_response(message))  # noqa: SLF001  # as its own reader does

    async def _greeted(self, connection: Connection) -> None:
        """Send the first commands on a connection, also with a timeout: a server may accept it and never reply."""
        giving_up = GivingUp(self._timeout, lambda: self._begin(connection.disconnect(nowait=True)))
        try:
            await connection.on_connect()
        finally:
            giving_up.cancel()

    def _answer_lookups(self, batch: _Batch, values: Any) -> None:
        failed = values if isinstance(values, Exception) else _first_error(values) if self._cluster else None
        start = 0
        for count, answer in batch.lookups:
            _answer(answer, failed or values[start : start + count])
            start += count

    async def _found(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The matching keys, in parts."""
        if self._cluster:
            some: list[bytes] = []
            async for key in self._connected().scan_iter(match=pattern, count=_SCAN_COUNT):
                some.append(key)
                if len(some) == _CLUSTER_PART:
                    yield some
                    some = []
            yield some
            return
        cursor = b"0"
        while True:  # in batches like any command, for the pool does not have the connections in `_idle`
            cursor, keys = await self._call(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT), _as_it_is)
            yield keys
            if cursor == b"0":
                return


def _pause_after(seconds: float) -> float:
    """The pause after a step of so many seconds that keeps a scan within its share of the server's time."""
    return seconds * (1 / _SCAN_SHARE - 1)


def _as_it_is(reply: Any) -> Any:
    return reply


def _nothing(_: Any) -> None:
    """Of a reply that says nothing."""


async def _total(answers: "list[asyncio.Future[Any]]", total: Callable[[list[Any]], Any]) -> Any:
    return total([await answer for answer in answers])


def _read(read: Callable[[Any], Any], reply: Any) -> Any:
    if _is_full(reply):  # the server stores nothing more, but still answers
        return False if read is bool else CacheUnavailable("Redis is full, and holds nothing more.")
    return reply if isinstance(reply, Exception) else read(reply)


def _is_of_another_type(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _is_full(reply: Any) -> bool:
    """Whether the server is out of memory. For a script, Redis before 7 says so inside another error's text."""
    return isinstance(reply, OutOfMemoryError) or (isinstance(reply, ResponseError) and "-OOM " in str(reply))


def _answer(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    """Set the result or the error, unless the caller has gone."""
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
        answer.exception()  # marks it as retrieved: the caller may go before it awaits this
    else:
        answer.set_result(outcome)


def _first_error(values: Any) -> Exception | None:
    return next((value for value in values if isinstance(value, Exception)), None)
