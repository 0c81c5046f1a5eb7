"""sqladmin, which edits rows by sessions that it is handed, or that it makes of an engine."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqladmin import Admin, ModelView
from sqlalchemy import create_engine, insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from starlette.applications import Starlette

from .blog import Base, Purged, User, engine, writes_of


class UserAdmin(ModelView, model=User):
    form_columns = ("name", "org_id", "seen")


def of_an_engine(path: str) -> dict[str, Any]:
    return {"engine": create_engine(f"sqlite:///{path}")}


def of_sessions(path: str) -> dict[str, Any]:
    return {"session_maker": sessionmaker(create_engine(f"sqlite:///{path}"))}


def of_async_sessions(path: str) -> dict[str, Any]:
    return {"session_maker": async_sessionmaker(create_async_engine(f"sqlite+aiosqlite:///{path}"))}


@pytest.mark.asyncio
@pytest.mark.parametrize("sessions", [of_an_engine, of_sessions, of_async_sessions])
async def test_what_sqladmin_writes_is_purged(sessions: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "blog.db")
    owner = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(owner)
    with owner.begin() as connection:
        connection.execute(insert(User).values(id=1, name="Ada", org_id=1))
    owner.dispose()
    app = Starlette()
    admin = Admin(app, **sessions(path))
    admin.add_view(UserAdmin)
    purged = Purged()
    async with engine() as mizan, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as web:
        mizan.observe(purged)
        with writes_of(mizan) as writes:
            writes.attach(admin.session_maker)
            sent = {"name": "Ada", "org_id": "4", "seen": "0", "save": "Save"}
            answer = await web.post("/admin/user/edit/1", data=sent, follow_redirects=False)
            assert answer.status_code == 302, answer.text
            assert purged.take() == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=4"}
            answer = await web.post("/admin/user/create", data=sent | {"name": "Ben"}, follow_redirects=False)
            assert purged.take() == {"users;user_id=2", "orgs;org_id=4"}
            await web.delete("/admin/user/delete?pks=1")
            assert purged.take() == {"users;user_id=1", "orgs;org_id=4"}
    database: Any = admin.session_maker.kw["bind"]
    if hasattr(database, "sync_engine"):
        await database.dispose()
    else:
        database.dispose()
