"""What clients, the worker, the cron job and the mail service may call. Begin here.

Every reader and mutation takes the caller's organisation as a claim: no client can send it, it is part of every key,
and a row of another organisation is not found.
"""

import datetime
import hashlib
import hmac
import json
from typing import Annotated, Any, TypeAlias
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from mizan_core import BadRequest, Claim, Context, File, Forbidden, Identity, Me, NotFound, client, invalidate

from . import queue, settings
from .database import reading, writing
from .models import Attachment, Member, Message, Status, Ticket

OrgId: TypeAlias = Annotated[int, Claim("org")]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]

Tickets = Context("tickets", scopes=[("org_id",)])
TicketPage = Context("ticket", scopes=[("org_id", "ticket_id")])


class Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class TicketRow(Row):
    id: int
    title: str
    status: Status


class MessageRow(Row):
    author: str
    text: str


class AttachmentRow(Row):
    id: int
    name: str
    size: int
    sha256: str | None


def member(me: Identity) -> bool:
    """A guard: somebody of an organisation."""
    return me.is_authenticated and "org" in me.claims


@client(context=Tickets, auth=member)
async def ticket_list(org_id: OrgId, status: Status | None = None) -> list[TicketRow]:
    """The organisation's tickets. `status` filters: a change of one changes the lists of two, so it narrows nothing."""
    query = select(Ticket).where(Ticket.org_id == org_id).order_by(Ticket.id)
    async with reading() as session:
        found = await session.scalars(query if status is None else query.where(Ticket.status == status))
        return [TicketRow.model_validate(one) for one in found]


@client(context=TicketPage, auth=member)
async def ticket(org_id: OrgId, ticket_id: int) -> TicketRow:
    async with reading() as session:
        return TicketRow.model_validate(await _found(session, org_id, ticket_id))


@client(context=TicketPage, auth=member)
async def messages(org_id: OrgId, ticket_id: int) -> list[MessageRow]:
    async with reading() as session:
        await _found(session, org_id, ticket_id)
        found = await session.scalars(select(Message).where(Message.ticket_id == ticket_id).order_by(Message.id))
        return [MessageRow.model_validate(one) for one in found]


@client(context=TicketPage, auth=member)
async def attachments(org_id: OrgId, ticket_id: int) -> list[AttachmentRow]:
    async with reading() as session:
        await _found(session, org_id, ticket_id)
        found = await session.scalars(
            select(Attachment).where(Attachment.ticket_id == ticket_id).order_by(Attachment.id)
        )
        return [AttachmentRow.model_validate(one) for one in found]


@client(affects=Tickets, auth=member)
async def open_ticket(org_id: OrgId, member_id: Annotated[int, Me], title: Text, text: Text) -> TicketRow:
    async with writing.begin() as session:
        added = Ticket(org_id=org_id, title=title, status=Status.OPEN, changed_at=_now())
        session.add(added)
        await session.flush()
        author = await session.get_one(Member, member_id)
        session.add(Message(ticket_id=added.id, author=author.name, text=text))
    return TicketRow.model_validate(added)


@client(affects=[Tickets, TicketPage], auth=member)
async def set_status(org_id: OrgId, ticket_id: int, status: Status) -> None:
    async with writing.begin() as session:
        found = await _found(session, org_id, ticket_id)
        found.status, found.changed_at = status, _now()


@client(affects=[Tickets, TicketPage], auth=member)
async def reply(org_id: OrgId, member_id: Annotated[int, Me], ticket_id: int, text: Text) -> None:
    """Add a message. A ticket that waited, or was closed, is open again."""
    async with writing.begin() as session:
        author = await session.get_one(Member, member_id)
        await _add_message(session, await _found(session, org_id, ticket_id), author.name, text)


@client(affects=TicketPage, auth=member, max_upload_bytes=5_000_000)
async def attach(org_id: OrgId, ticket_id: int, file: File) -> AttachmentRow:
    """Keep a file, and have the worker read it. Its name is only shown: on disk it has one of ours."""
    place = uuid4().hex
    settings.files().mkdir(exist_ok=True)
    async with writing.begin() as session:
        await _found(session, org_id, ticket_id)
        await file.save(settings.files() / place)
        added = Attachment(ticket_id=ticket_id, name=file.name or "file", size=file.size, place=place)
        session.add(added)
    await queue.put("digest", org_id=org_id, ticket_id=ticket_id, attachment_id=added.id)
    return AttachmentRow.model_validate(added)


@client(affects=TicketPage, private=True)
async def digest(org_id: int, ticket_id: int, attachment_id: int) -> str:
    """For the worker: note what an attachment's bytes are."""
    async with reading() as session:
        await _found(session, org_id, ticket_id)
        found = await session.get_one(Attachment, attachment_id)
    made = hashlib.sha256((settings.files() / found.place).read_bytes()).hexdigest()
    async with writing.begin() as session:
        (await session.get_one(Attachment, attachment_id)).sha256 = made
    return made


@client(affects=[Tickets.by_body(), TicketPage.by_body()], private=True)
async def close_waiting(before: datetime.datetime) -> list[int]:
    """For the cron job: close what has waited for an answer since then."""
    invalidate.nothing()
    async with writing.begin() as session:
        waiting = select(Ticket).where(Ticket.status == Status.WAITING, Ticket.changed_at < before)
        closed = list(await session.scalars(waiting))
        for one in closed:
            one.status, one.changed_at = Status.CLOSED, _now()
            invalidate(Tickets, org_id=one.org_id)
            invalidate(TicketPage, org_id=one.org_id, ticket_id=one.id)
    return [one.id for one in closed]


class Mail(BaseModel):
    ticket_id: int
    sender: str
    text: Text


@client(affects=[Tickets.by_body(), TicketPage.by_body()], private=True, route="/webhooks/mail/", methods=["POST"])
async def mail_arrived(request: Any) -> Response:
    """For the mail service: a reply by mail, signed with HMAC-SHA256 of the body."""
    body = await request.body()
    signature = hmac.new(settings.mail_secret(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature, request.headers.get("x-signature", "")):
        raise Forbidden("The signature is wrong.")
    try:
        mail = Mail.model_validate(json.loads(body))
    except ValueError:
        raise BadRequest("This is no mail.") from None
    async with writing.begin() as session:
        found = await session.get(Ticket, mail.ticket_id)
        if found is None:
            raise NotFound("There is no such ticket.")
        invalidate(Tickets, org_id=found.org_id)
        invalidate(TicketPage, org_id=found.org_id, ticket_id=found.id)
        await _add_message(session, found, mail.sender, mail.text)
    return Response(status_code=204)


async def _found(session: AsyncSession, org_id: int, ticket_id: int) -> Ticket:
    found = await session.get(Ticket, ticket_id)
    if found is None or found.org_id != org_id:
        raise NotFound("There is no such ticket.")
    return found


async def _add_message(session: AsyncSession, to: Ticket, author: str, text: str) -> None:
    session.add(Message(ticket_id=to.id, author=author, text=text))
    to.status, to.changed_at = Status.OPEN, _now()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
