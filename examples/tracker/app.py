"""The host: FastAPI with a session, Mizan mounted in it, and the page at `/`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.sessions import SessionMiddleware

from mizan_asgi import Mizan
from mizan_core import Identity, discover

from . import database, queries, seed, settings
from .database import reading
from .models import Person
from .roles import identity_of, visitor_of
from .schemas import Id

STATIC = Path(__file__).with_name("static")

router = APIRouter()


async def authenticate(request: Request) -> Identity:
    """The session's person, or a visitor, of the organisation that the host name tells.

    The role is the current one from the database: it may change while a session lasts.
    """
    person_id = request.session.get("person_id")
    async with reading() as session:
        org_id = await queries.organisation_at(session, request.url.hostname or "")
        person = None if person_id is None else await session.get(Person, person_id)
    if person is None or person.org_id != org_id:
        return visitor_of(org_id)
    return identity_of(person.id, person.role, org_id)


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    return FileResponse(STATIC / "index.html")


@router.post("/sign-in/")
async def sign_in(
    request: Request, person_id: Annotated[Id, Form()], project_id: Annotated[Id | None, Form()] = None
) -> RedirectResponse:
    """Sign in as any person, for this is a demonstration, and go back to the project."""
    request.session.clear()
    request.session["person_id"] = person_id
    return RedirectResponse("/" if project_id is None else f"/p/{project_id}/", status_code=303)


@router.post("/sign-out/")
async def sign_out(request: Request) -> RedirectResponse:
    request.session.clear()
    return RedirectResponse("/", status_code=303)


def hosting(mizan: Mizan) -> FastAPI:
    """The application around a `Mizan`. When it starts, it makes the database unless there is one."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        path = settings.database_path()
        await asyncio.to_thread(seed.ensure, path)
        async with database.opened(path), mizan.lifespan():
            yield

    app = FastAPI(title="Tracker", lifespan=lifespan)
    app.add_middleware(SessionMiddleware, secret_key=token_hex(32))  # a new key at each start ends all sessions
    app.include_router(router)
    app.mount("/api/mizan", mizan)
    app.router.routes.extend(mizan.routes)
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


mizan = Mizan(discover("examples.tracker"), authenticate=authenticate)
app = hosting(mizan)
