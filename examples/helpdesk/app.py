"""The host: FastAPI with a session, Mizan mounted in it, and the files at URLs of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from mizan_asgi import Mizan
from mizan_core import Identity, discover

from . import database, settings
from .models import Attachment, Member, Ticket

router = APIRouter()


async def authenticate(request: Request) -> Identity | None:
    """The session's member, of the organisation that the database says now."""
    member_id = request.session.get("member_id")
    if member_id is None:
        return None
    async with database.reading() as session:
        member = await session.get(Member, member_id)
    return None if member is None else Identity(str(member.id), claims={"org": member.org_id})


@router.post("/sign-in/")
async def sign_in(request: Request, member_id: Annotated[int, Form()]) -> RedirectResponse:
    """Sign in as any member, for this is a demonstration."""
    request.session["member_id"] = member_id
    return RedirectResponse("/docs", status_code=303)


@router.get("/attachments/{attachment_id}/")
async def attachment(request: Request, attachment_id: int) -> FileResponse:
    """A file, to be saved and not shown: its bytes may be anything, whatever its name says."""
    identity = await authenticate(request)
    async with database.reading() as session:
        found = await session.get(Attachment, attachment_id)
        ticket = None if found is None else await session.get(Ticket, found.ticket_id)
    if found is None or ticket is None or identity is None or ticket.org_id != identity.claims["org"]:
        raise HTTPException(404)
    return FileResponse(settings.files() / found.place, filename=found.name, media_type="application/octet-stream")


def hosting(mizan: Mizan) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database.use(settings.database_path())
        await database.make()
        async with mizan.lifespan():
            yield

    app = FastAPI(title="Helpdesk", lifespan=lifespan)
    app.add_middleware(SessionMiddleware, secret_key=settings.session_secret())
    app.include_router(router)
    app.mount("/api/mizan", mizan)
    app.router.routes.extend(mizan.routes)
    return app


mizan = Mizan.from_env(discover("examples.helpdesk"), authenticate=authenticate, on_cache_failure="refuse")
app = hosting(mizan)
