"""Conduit in this process over a database of its own, and its users as they ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from examples.conduit.app import create_app
from mizan_asgi import Mizan
from tests.conduit.published import Step, at, check


def driven(url: str) -> str:
    """The URL of a database with the driver, as SQLAlchemy takes it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


@dataclass
class Conduit:
    """An application that runs, and a client of it."""

    app: FastAPI
    web: httpx.AsyncClient

    @property
    def mizan(self) -> Mizan:
        found: Mizan = self.app.state.mizan
        return found

    async def register(self, username: str) -> dict[str, str]:
        """The headers of a new user."""
        user = {"username": username, "email": f"{username}@mail.com", "password": "password"}
        answer = await self.web.post("/users", json={"user": user})
        assert answer.status_code == 201, answer.text
        return {"authorization": f"Token {answer.json()['user']['token']}"}

    async def publish(self, author: dict[str, str], title: str, *tags: str) -> str:
        """The slug of a new article."""
        article = {"title": title, "description": f"About {title}", "body": "...", "tagList": tags}
        answer = await self.web.post("/articles", json={"article": article}, headers=author)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["article"]["slug"])

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        answer = await self.web.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Conduit]:
    app = create_app(url, **options)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://conduit.test/api") as web,
    ):
        yield Conduit(app, web)


async def walk(web: httpx.AsyncClient, steps: tuple[Step, ...]) -> list[tuple[str, int, Any]]:
    """Make the requests of a sequence one after the other, and check each answer. Returns the answers."""
    told: dict[str, object] = {"slug": "", "comment": ""}
    token = None
    answers = []
    for step in steps:
        headers = {"authorization": f"Token {token}"} if step.signed_in else {}
        response = await web.request(step.method, step.path.format(**told), json=step.body, headers=headers)
        assert response.status_code == step.status, (step.name, response.status_code, response.text)
        answer = response.json() if response.content else None
        if step.schema is None:
            assert answer is None
        else:
            assert response.headers["content-type"].startswith("application/json")
            check(answer, step.schema)
        for path, value in step.holds.items():
            assert at(answer, path) == value, (step.name, path, answer)
        if step.name == "Login":
            token = answer["user"]["token"]
        if step.name == "Create Article":
            told["slug"] = answer["article"]["slug"]
        if step.name == "Create Comment for Article":
            told["comment"] = answer["comment"]["id"]
        answers.append((step.name, response.status_code, answer))
    return answers
