"""Sessions of SQLAlchemy as resources: committed before the purge, and one connection for a request at a time."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import AsyncAdaptedQueuePool, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_core import Conflict, Context, Identity, build, client

from .shop import Base, Customer

Names = Context("names")
TABLES = [one for name, one in Base.metadata.tables.items() if name == "customers"]
CONNECTIONS = 10


@client(context=Names)
async def name_list(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Customer.name).order_by(Customer.id)))


@client(context=Names)
async def name_count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(Customer)) or 0


@client(affects=Names)
async def add_name(session: AsyncSession, name: str, refused: bool = False) -> int:
    customer = Customer(name=name)
    session.add(customer)
    await session.flush()
    if refused:
        raise Conflict("It is taken.")
    return customer.id


@client(auth=True)
async def whoami(session: AsyncSession, me: Identity) -> int:
    return await session.scalar(select(func.count()).where(Customer.id == int(me.user_id or 0))) or 0


@pytest_asyncio.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'names.db'}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=60,
    )
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, tables=TABLES)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


def serving(sessions: async_sessionmaker[AsyncSession]) -> Mizan:
    async def authenticate(request: Request) -> Identity | None:
        async with sessions() as session:
            await session.scalar(select(func.count()).select_from(Customer))
        return Identity(request.headers.get("x-user"))

    graph = build([name_list, name_count, add_name, whoami], provide={AsyncSession: sessions.begin})
    return Mizan(graph, authenticate=authenticate)


def asking(mizan: Mizan) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test", timeout=60)


@pytest.mark.asyncio
async def test_what_a_mutation_wrote_is_read_after_its_purge(sessions: async_sessionmaker[AsyncSession]) -> None:
    async with serving(sessions).engine as engine:
        assert (await engine.fetch("names", {})).body == b'{"name_count":0,"name_list":[]}'
        assert (await engine.call("add_name", {"name": "Ada"})).result == 1
        assert (await engine.fetch("names", {})).body == b'{"name_count":1,"name_list":["Ada"]}'
        with pytest.raises(Conflict):
            await engine.call("add_name", {"name": "Eve", "refused": True})
        found = await engine.fetch("names", {})
        assert (found.status, found.body) == ("hit", b'{"name_count":1,"name_list":["Ada"]}')


@pytest.mark.asyncio
@pytest.mark.parametrize("callers", [40, 400])
async def test_more_callers_than_connections_all_get_theirs(
    callers: int, sessions: async_sessionmaker[AsyncSession]
) -> None:
    mizan = serving(sessions)
    async with asking(mizan) as web:

        async def one(number: int) -> int:
            answer = await web.post("/call/whoami/", json={}, headers={"x-user": str(number)})
            return answer.status_code

        statuses = await asyncio.gather(*map(one, range(callers)))
    assert set(statuses) == {200}
