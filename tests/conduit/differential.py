"""`python -m tests.conduit.differential --reads 5000`: random users, random writes, and no stale read.

Writes reach the database by the application's own routes, by functions of Mizan, by sqladmin, by a job worker and by a
script, in steps of a few at once. Reads are of two kinds. Those that race with the writes of a step must show each
article in no version older than the last that was acknowledged before the read began, and in none that was not sent.
When all writes of a step have been acknowledged, reads of both workers must equal what an application without a cache
answers on the same database.

With `--without writes`, or one of `mizan_core.testing.safeguards`, it should find stale reads. It exits with 1 where it
finds one.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg

from mizan_core.testing.postgres_server import postgres_server

from .fleet import PASSWORD, Fleet, sailing

USERS, ARTICLES = 5, 10
TAGS = ("red", "green", "blue")
WORDS = ("ant", "bee", "cat")
SETTLED_PER_STEP, RACING_PER_STEP = 40, 10
_VERSION = re.compile(r"^#(\d+) v(\d+)$")


@dataclass
class Report:
    """What a run did and found."""

    settled: int = 0
    racing: int = 0
    hits: int = 0
    steps: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)

    @property
    def reads(self) -> int:
        return self.settled + self.racing

    def __str__(self) -> str:
        writes = ", ".join(f"{number} {kind}" for kind, number in sorted(self.writes.items()))
        found = "\n".join(["", *self.stale[:10]])
        return (
            f"{self.reads} reads ({self.settled} settled, {self.racing} racing, {self.hits} of them hits) in "
            f"{self.steps} steps with {self.writes.total()} writes: {writes}\n{len(self.stale)} stale reads{found}"
        )


@dataclass
class Written:
    """An article of the run. Its writers take turns, so that its versions rise."""

    number: int
    owner: int
    slug: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: int = 0
    known: int = 0

    def next(self) -> str:
        """The description that says the next version."""
        self.sent += 1
        return f"#{self.number} v{self.sent}"


class Differential:
    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.random = random.Random(seed)
        self.report = Report()
        self.users: list[dict[str, str]] = []
        self.names: list[str] = []
        self.written: list[Written] = []
        self.articles: list[Written] = []  # of these, those that have not been withdrawn
        self._numbers = count(1)
        self._admin: httpx.AsyncClient
        self._rows: psycopg.AsyncConnection[Any]

    async def run(self, reads: int, *, until_stale: bool = False) -> Report:
        plain = self.fleet.url.replace("+psycopg", "")
        root = str(self.fleet.workers[1].web.base_url).removesuffix("api/")
        async with (
            httpx.AsyncClient(base_url=root, timeout=60) as self._admin,
            await psycopg.AsyncConnection.connect(plain, autocommit=True) as self._rows,
        ):
            await self._admin.post("/admin/login", data={"username": "admin", "password": PASSWORD})
            for number in range(USERS):
                self.names.append(f"user{number}")
                self.users.append(await self._register(self.names[-1]))
            for _ in range(ARTICLES):
                await self.publish()
            while self.report.reads < reads and not (until_stale and self.report.stale):
                await self._step()
        return self.report

    async def _step(self) -> None:
        self.report.steps += 1
        kinds = self.random.choices(list(WRITES), weights=[weight for _, weight in WRITES.values()], k=4)
        writing = [asyncio.create_task(WRITES[kind][0](self)) for kind in kinds]
        racing = [asyncio.create_task(self._race(self._ask())) for _ in range(RACING_PER_STEP)]
        await asyncio.gather(*writing, *racing)
        self.report.writes.update(kinds)
        asks = [self._ask() for _ in range(SETTLED_PER_STEP)]
        true = {ask: await self._read(self.fleet.plain.web, ask) for ask in dict.fromkeys(asks)}
        for ask in asks:
            worker = self.random.randrange(2)
            status, told, cache = await self._read(self.fleet.workers[worker].web, ask)
            self.report.settled += 1
            self._count(cache)
            if (status, told) != true[ask][:2]:
                self._stale(f"step {self.report.steps} after {', '.join(kinds)}: {ask} by {cache}: {told}", true[ask])

    def _stale(self, what: str, true: object) -> None:
        self.report.stale.append(f"{what}\n    is {true}")

    def _count(self, cache: str) -> None:
        self.report.hits += "hit" in cache

    # Reads

    def _ask(self) -> tuple[str, int]:
        """A path, and the number of the user who asks; the one after the last is a visitor."""
        article, name = self.random.choice(self.articles), self.random.choice(self.names)
        paths = [
            "/articles",
            "/articles?limit=3",
            f"/articles?tag={self.random.choice(TAGS)}",
            f"/articles?author={name}",
            f"/articles?favorited={name}",
            "/tags",
            f"/profiles/{name}",
            f"/articles/{article.slug}",
            f"/articles/{article.slug}",
            f"/articles/{article.slug}/comments",
            f"/articles/{article.slug}/comments",
        ]
        user = self.random.choice((0, 0, *range(USERS + 1)))
        if user < USERS:
            paths.append("/articles/feed")
        return self.random.choice(paths), user

    async def _read(self, web: httpx.AsyncClient, ask: tuple[str, int]) -> tuple[int, Any, str]:
        path, user = ask
        headers = self.users[user] if user < USERS else {}
        answer = await web.get(path, headers=headers)
        assert answer.status_code < 500, (path, answer.text)
        return answer.status_code, answer.json(), answer.headers.get("cache-status", "")

    async def _race(self, ask: tuple[str, int]) -> None:
        await asyncio.sleep(self.random.random() * 0.03)
        known = {one.number: one.known for one in self.written}
        worker = self.random.randrange(2)
        _, told, cache = await self._read(self.fleet.workers[worker].web, ask)
        self.report.racing += 1
        self._count(cache)
        sent = {one.number: one.sent for one in self.written}
        for number, version in _versions(told):
            if not known.get(number, 0) <= version <= sent[number]:
                self._stale(f"racing {ask} by {cache}: article {number} in version {version}", known.get(number))

    # Writes

    async def _send(self, method: str, path: str, user: int, /, **body: Any) -> httpx.Response:
        """By a route of the application, at either worker. Refusals are right where writes race."""
        web = self.fleet.workers[self.random.randrange(2)].web
        answer = await web.request(method, path, json=body or None, headers=self.users[user])
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
        return answer

    async def _register(self, name: str) -> dict[str, str]:
        user = {"username": name, "email": f"{name}@mail.com", "password": "password"}
        answer = await self.fleet.workers[0].web.post("/users", json={"user": user})
        return {"authorization": f"Token {answer.json()['user']['token']}"}

    def _user(self) -> int:
        return self.random.randrange(USERS)

    def _article(self) -> Written:
        return self.random.choice(self.articles)

    async def publish(self) -> None:
        written = Written(next(self._numbers), self._user(), "")
        self.written.append(written)
        tags = self.random.sample(TAGS, self.random.randrange(3))
        article = {
            "title": f"Article {written.number}",
            "description": written.next(),
            "body": self.random.choice(WORDS),
            "tagList": tags,
        }
        answer = await self._send("POST", "/articles", written.owner, article=article)
        written.slug, written.known = answer.json()["article"]["slug"], written.sent
        self.articles.append(written)

    async def replace(self) -> None:
        """Withdraw an article, and publish another."""
        written = self._article()
        async with written.turn:
            if written in self.articles:
                self.articles.remove(written)
                await self._send("DELETE", f"/articles/{written.slug}", written.owner)
        await self.publish()

    async def revise(self) -> None:
        await self._revise(body=self.random.choice(WORDS))

    async def retitle(self) -> None:
        await self._revise(title=f"Title {next(self._numbers)}")

    async def retag(self) -> None:
        await self._revise(tagList=self.random.sample(TAGS, self.random.randrange(3)))

    async def _revise(self, **changes: Any) -> None:
        written = self._article()
        async with written.turn:
            sent = {**changes, "description": written.next()}
            answer = await self._send("PUT", f"/articles/{written.slug}", written.owner, article=sent)
            if answer.status_code == 200:
                written.slug, written.known = answer.json()["article"]["slug"], written.sent

    async def remark(self) -> None:
        word = self.random.choice(WORDS)
        await self._send("POST", f"/articles/{self._article().slug}/comments", self._user(), comment={"body": word})

    async def account(self) -> None:
        user = self._user()
        changes = [{"bio": self.random.choice(WORDS)}, {"image": None}, {"username": f"name{next(self._numbers)}"}]
        answer = await self._send("PUT", "/user", user, user=self.random.choice(changes))
        if answer.status_code == 200:
            self.names[user] = answer.json()["user"]["username"]

    async def by_own_url(self) -> None:
        method = self.random.choice(("POST", "DELETE"))
        path = self.random.choice(
            (f"/articles/{self._article().slug}/favorite", f"/profiles/{self.random.choice(self.names)}/follow")
        )
        await self._send(method, path, self._user())

    async def by_call(self) -> None:
        name = self.random.choice(("favorite", "unfavorite", "follow", "unfollow"))
        args = {"slug": self._article().slug} if "fav" in name else {"username": self.random.choice(self.names)}
        await self._send("POST", "/mizan/call/", self._user(), fn=name, args=args)

    async def by_admin(self) -> None:
        await self.random.choice((self._admin_article, self._admin_comment, self._admin_tag, self._admin_user))()

    async def _admin_article(self) -> None:
        written = self._article()
        async with written.turn:
            row = await self._one("SELECT id, title FROM articles WHERE slug = %s", written.slug)
            if row is None:
                return
            form = {"title": row[1], "description": written.next(), "body": self.random.choice(WORDS)}
            await self._admin_sends("POST", f"/admin/article/edit/{row[0]}", form)
            written.known = written.sent

    async def _admin_comment(self) -> None:
        row = await self._one("SELECT id FROM comments ORDER BY random() LIMIT 1")
        if row is not None and self.random.random() < 0.5:
            form = {"body": f"{self.random.choice(WORDS)} {next(self._numbers)}"}
            await self._admin_sends("POST", f"/admin/comment/edit/{row[0]}", form)
        elif row is not None:
            await self._admin_sends("DELETE", f"/admin/comment/delete?pks={row[0]}")

    async def _admin_tag(self) -> None:
        row = await self._one("SELECT article_id, name FROM tags ORDER BY random() LIMIT 1")
        if row is not None:
            await self._admin_sends("DELETE", f"/admin/tag/delete?pks={row[0]};{row[1]}")

    async def _admin_user(self) -> None:
        user = self._user()
        row = await self._one("SELECT id, email FROM users WHERE username = %s", self.names[user])
        if row is not None:
            form = {"username": self.names[user], "email": row[1], "bio": self.random.choice(WORDS), "image": ""}
            await self._admin_sends("POST", f"/admin/user/edit/{row[0]}", form)

    async def _admin_sends(self, method: str, path: str, form: dict[str, str] | None = None) -> None:
        """A row that another write has removed meanwhile is refused, in words of sqladmin's that vary."""
        answer = await self._admin.request(method, path, data=form)
        assert "/login" not in answer.headers.get("location", ""), "sqladmin asks for the password."

    async def by_worker(self) -> None:
        jobs = [
            ("rename_tag", {"old": self.random.choice(TAGS), "new": self.random.choice(TAGS)}),
            ("remove_comments", {"word": self.random.choice(WORDS)}),
        ]
        name, args = self.random.choice(jobs)
        if args.get("old", "") == args.get("new"):
            return
        statement = "INSERT INTO jobs (name, args, done) VALUES (%s, %s, false) RETURNING id"
        row = await self._one(statement, name, psycopg.types.json.Json(args))
        assert row is not None
        while await self._one("SELECT 1 FROM jobs WHERE id = %s AND NOT done", row[0]) is not None:
            await asyncio.sleep(0.01)

    async def by_script(self) -> None:
        await self.fleet.redact(*self.random.sample(WORDS, 2))

    async def _one(self, statement: str, *values: object) -> Any:
        return await (await self._rows.execute(statement, values)).fetchone()


Write = Callable[[Differential], Awaitable[None]]

WRITES: dict[str, tuple[Write, float]] = {
    "replace": (Differential.replace, 1),
    "revise": (Differential.revise, 3),
    "retitle": (Differential.retitle, 2),
    "retag": (Differential.retag, 2),
    "remark": (Differential.remark, 4),
    "account": (Differential.account, 2),
    "by_own_url": (Differential.by_own_url, 4),
    "by_call": (Differential.by_call, 4),
    "by_admin": (Differential.by_admin, 5),
    "by_worker": (Differential.by_worker, 3),
    "by_script": (Differential.by_script, 1),
}


def _versions(answer: Any) -> Iterator[tuple[int, int]]:
    """The numbers of the articles in an answer, with their versions."""
    if isinstance(answer, dict):
        if found := _VERSION.match(str(answer.get("description"))):
            yield int(found[1]), int(found[2])
        for one in answer.values():
            yield from _versions(one)
    elif isinstance(answer, list):
        for one in answer:
            yield from _versions(one)


async def _main(reads: int, seed: int, without: tuple[str, ...]) -> int:
    began = time.monotonic()
    with postgres_server() as postgres, tempfile.TemporaryDirectory() as folder:
        async with sailing(postgres, Path(folder), without=without) as fleet:
            report = await Differential(fleet, seed).run(reads)
    print(f"{report}\nseed {seed}, {time.monotonic() - began:.0f} s")
    return 1 if report.stale else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reads", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--without", action="append", default=[], help="a safeguard to take away")
    given = parser.parse_args()
    sys.exit(asyncio.run(_main(given.reads, given.seed, tuple(given.without))))
