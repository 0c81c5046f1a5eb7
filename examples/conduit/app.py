"""The application, around a database and a cache."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from mizan_asgi import Mizan
from mizan_core import Unavailable, discover

from . import database, errors, freshness, settings
from .accounts import authenticate
from .routes import router

GRAPH = discover("examples.conduit", provide={AsyncSession: None})


def create_app(url: str | None = None, **options: Any) -> FastAPI:
    """The application over a database. `options` are those of `Mizan`; the environment has the others."""
    engine = create_async_engine(url or settings.database_url())
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    if not settings.caching():
        options["cache"] = None
    mizan = Mizan.from_env(
        GRAPH,
        authenticate=authenticate,
        provide={AsyncSession: sessions.begin},
        errors={OperationalError: Unavailable},
        **options,
    )
    freshness.attach(mizan, sessions)

    @asynccontextmanager
    async def lifespan(host: FastAPI) -> AsyncIterator[None]:
        try:
            await database.make_tables(engine)
            async with mizan.lifespan(host):
                yield
        finally:
            await engine.dispose()

    app = FastAPI(title="Conduit", lifespan=lifespan)
    app.state.mizan = mizan
    app.state.sessions = sessions
    app.include_router(router)
    app.mount("/api/mizan", mizan)
    mizan.add_openapi(app)
    errors.add_to(app)
    password = settings.admin_password()
    if password is not None:
        from .admin import add_to  # noqa: PLC0415  # sqladmin is needed here alone

        add_to(app, sessions, password)
    return app


app = create_app()
mizan: Mizan = app.state.mizan
