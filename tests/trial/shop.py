"""A back office for the orders of several organisations, as a newcomer would write it from README and how-to pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import Conflict, Context, Identity, NotFound, Result, build, client, invalidate


class Base(DeclarativeBase): ...


class Org(Base):
    __tablename__ = "orgs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Membership(Base):
    __tablename__ = "memberships"
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)


class OrderRow(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[int] = mapped_column(ForeignKey("orgs.id"))
    status: Mapped[str]
    total: Mapped[int]
    note: Mapped[str] = mapped_column(default="")


class Status(StrEnum):
    OPEN = "open"
    PAID = "paid"
    SENT = "sent"


class Order(BaseModel, from_attributes=True):
    id: int
    org_id: int
    status: Status
    total: int
    note: str


sessions = async_sessionmaker[AsyncSession]()

Orders, OneOrder, Orgs, OneOrg, Mine = (Context(name) for name in ("orders", "order", "orgs", "org", "mine"))


async def is_member(me: Identity, org_id: int) -> bool:
    async with sessions() as session:
        return await session.get(Membership, (org_id, me.user_id or "")) is not None


async def may_see_order(me: Identity, order_id: int) -> bool:
    async with sessions() as session:
        row = await session.get(OrderRow, order_id)
    if row is None:
        raise HTTPException(404, "There is no such order.")
    return await is_member(me, row.org_id)


def may_manage(me: Identity) -> bool:
    return "orgs.manage" in (me.permissions or ())


@client(context=Orders, auth=is_member)
async def order_list(org_id: int, status: Status | None = None, page: Annotated[int, Field(ge=1)] = 1) -> list[Order]:
    query = select(OrderRow).where(OrderRow.org_id == org_id).order_by(OrderRow.id).limit(5).offset((page - 1) * 5)
    if status is not None:
        query = query.where(OrderRow.status == status)
    async with sessions() as session:
        return [Order.model_validate(row) for row in await session.scalars(query)]


@client(context=Orders, auth=is_member)
async def order_total(org_id: int, status: Status | None = None) -> int:
    query = select(func.coalesce(func.sum(OrderRow.total), 0)).where(OrderRow.org_id == org_id)
    if status is not None:
        query = query.where(OrderRow.status == status)
    async with sessions() as session:
        return int(await session.scalar(query) or 0)


@client(context=OneOrder, auth=may_see_order)
async def order_detail(order_id: int) -> Order:
    async with sessions() as session:
        return Order.model_validate(await _order(session, order_id))


@client(context=Orgs)
async def directory(prefix: str = "") -> list[str]:
    async with sessions() as session:
        names = await session.scalars(select(Org.name).where(Org.name.startswith(prefix)).order_by(Org.name, Org.id))
        return list(names)


@client(context=OneOrg)
async def org_card(org_id: int) -> dict[str, Any]:
    async with sessions() as session:
        org = await session.get(Org, org_id)
        if org is None:
            raise HTTPException(404, "There is no such organisation.")
        count = select(func.count()).select_from(Membership).where(Membership.org_id == org_id)
        return {"name": org.name, "members": await session.scalar(count)}


@client(context=OneOrg, per="permissions")
async def org_tools(me: Identity, org_id: int) -> list[str]:
    return ["rename", "close"] if may_manage(me) else []


@client(context=Mine, auth=True)
async def my_orgs(me: Identity) -> list[str]:
    query = select(Org.name).join(Membership, Membership.org_id == Org.id).where(Membership.user_id == me.user_id)
    async with sessions() as session:
        return list(await session.scalars(query.order_by(Org.name, Org.id)))


@client(affects=Orders, spares=OneOrder, auth=is_member)  # a new order was in no bundle of one order
async def place_order(org_id: int, total: int) -> Order:
    async with sessions.begin() as session:
        row = OrderRow(org_id=org_id, status=Status.OPEN, total=total)
        session.add(row)
        await session.flush()
        return Order.model_validate(row)


@client(affects=[OneOrder, Orders.where(org_id=Result("org_id"))], auth=may_see_order)
async def set_status(order_id: int, status: Status) -> Order:
    async with sessions.begin() as session:
        row = await _order(session, order_id)
        if row.status == Status.SENT:
            raise HTTPException(409, "It has been sent.")
        row.status = status
        return Order.model_validate(row)


@client(affects=[OneOrder, Orders.where(org_id=Result("org_id"))], auth=may_see_order)
async def set_note(order_id: int, text: str) -> Order:
    async with sessions.begin() as session:
        row = await _order(session, order_id)
        row.note = text
        return Order.model_validate(row)


@client(auth=may_see_order)
async def fulfil(order_id: int) -> None:
    """A service function. Where the second mutation is refused, the first has been made."""
    await set_note(order_id, "fulfilled")
    await set_status(order_id, Status.SENT)


@client(affects=[OneOrder, Orders.by_body()], auth=may_see_order)
async def move_order(order_id: int, to_org: int) -> None:
    async with sessions.begin() as session:
        row = await _order(session, order_id)
        if await session.get(Org, to_org) is None:
            raise NotFound("There is no such organisation.")
        for org_id in (row.org_id, to_org):
            invalidate(Orders, org_id=org_id)
        row.org_id = to_org


@client(affects=[OneOrg, Orgs, Mine], auth=may_manage)
async def rename_org(org_id: int, name: str) -> None:
    async with sessions.begin() as session:
        org = await session.get(Org, org_id)
        if org is None:
            raise HTTPException(404, "There is no such organisation.")
        if await session.scalar(select(Org.id).where(Org.name == name, Org.id != org_id)) is not None:
            raise Conflict("Another organisation has this name.")
        org.name = name


@client(affects=[OneOrg, Mine], auth=may_manage)
async def set_member(org_id: int, user_id: str, member: bool) -> None:
    async with sessions.begin() as session:
        await session.execute(delete(Membership).where(Membership.org_id == org_id, Membership.user_id == user_id))
        if member:
            session.add(Membership(org_id=org_id, user_id=user_id))


@client(affects=Orders, auth=is_member)
async def import_orders(org_id: int, totals: list[int]) -> int:
    """Places them one by one; those before the first that is wrong are there."""
    for total in totals:
        if total < 0:
            raise RuntimeError("a total below zero")
        await place_order(org_id, total)
    return len(totals)


async def _order(session: AsyncSession, order_id: int) -> OrderRow:
    row = await session.get(OrderRow, order_id)
    if row is None:
        raise HTTPException(404, "There is no such order.")
    return row


FUNCTIONS = [
    order_list, order_total, order_detail, directory, org_card, org_tools, my_orgs,
    place_order, set_status, set_note, fulfil, move_order, rename_org, set_member, import_orders,
]  # fmt: skip

PERMISSIONS = {"ann": frozenset({"orgs.manage"}), "bob": frozenset[str](), "cy": frozenset({"orders.see"})}


def authenticate(request: Any) -> Identity | None:
    """The session's user. Here a header stands for the session."""
    name = request.headers.get("x-session")
    return None if name is None else Identity(name, permissions=PERMISSIONS[name])


def permissions(identity: Identity) -> frozenset[str]:
    return PERMISSIONS[identity.user_id or ""]


def application(engine: AsyncEngine, **options: Any) -> tuple[FastAPI, Mizan]:
    sessions.configure(bind=engine, expire_on_commit=False)
    mizan = Mizan(
        build(FUNCTIONS),
        authenticate=authenticate,
        permissions=permissions,
        mwt_keys={"2026": "at least thirty-two bytes of secret"},
        edge=HeaderOnly(),
        **options,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with mizan.lifespan(app):
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/api/mizan", mizan)
    app.router.routes.extend(mizan.routes)
    return app, mizan
