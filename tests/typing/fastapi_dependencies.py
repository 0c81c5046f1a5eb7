"""FastAPI's `Depends(...)` in functions, as users write it: checked by mypy, and never run."""

from collections.abc import AsyncIterator
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from mizan_asgi import Mizan
from mizan_core import Context, build, client

Orders = Context("orders")
sessions = async_sessionmaker[AsyncSession]()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions.begin() as session:
        yield session


@client(context=Orders)
async def order_list(session: Annotated[AsyncSession, Depends(get_session)], customer_id: int) -> list[int]:
    return [customer_id]


@client(affects=Orders)
def add_order(customer_id: int, session: AsyncSession = Depends(get_session)) -> int:  # noqa: B008
    return customer_id


app = FastAPI()
mizan = Mizan(build([order_list, add_order]), fastapi=app)


async def called_as_they_are_written(session: AsyncSession) -> None:
    assert_type(await order_list(session, 5), list[int])
    assert_type(add_order(5), int)
    assert_type(add_order(5, session), int)
