"""A few users and articles, everything that they can ask for, and every write of the application."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .world import Conduit

Headers = dict[str, str]


class Town:
    """Three users, two articles, and what they can ask for; `plain` has no cache."""

    def __init__(self, conduit: Conduit, plain: Conduit, users: Mapping[str, Headers], slugs: list[str]) -> None:
        self.conduit = conduit
        self.plain = plain
        self.users = users
        self.slugs = slugs

    async def ask(self, web: Any, path: str, user: str) -> tuple[int, Any, str]:
        answer = await web.get(path, headers=self.users[user])
        return answer.status_code, answer.json(), answer.headers.get("cache-status", "")

    def asks(self, users: Sequence[str] = ("ada", "visitor")) -> list[tuple[str, str]]:
        paths = ["/articles", "/articles?limit=1", "/articles?limit=1&offset=1", "/tags", "/articles/feed"]
        paths += [f"/articles?{name}" for name in ("tag=old", "tag=new", "author=bob", "favorited=ada")]
        paths += [f"/profiles/{name}" for name in ("ada", "bob", "eve", "bobby")]
        paths += [path for slug in self.slugs for path in (f"/articles/{slug}", f"/articles/{slug}/comments")]
        asks = [(path, user) for path in paths for user in users]
        return [ask for ask in asks if ask != ("/articles/feed", "visitor")]

    async def keep(self, *users: str) -> None:
        """Ask for everything, so that all of it is kept."""
        for path, user in self.asks(users):
            await self.ask(self.conduit.web, path, user)

    async def check(self) -> list[tuple[str, str]]:
        """Every answer is true, and is kept from here on. Returns those that were kept before."""
        kept = []
        for path, user in self.asks():
            status, told, cache = await self.ask(self.conduit.web, path, user)
            assert (status, told) == (await self.ask(self.plain.web, path, user))[:2], (path, user, cache)
            if "hit" in cache:
                kept.append((path, user))
        return kept

    async def send(self, method: str, path: str, by: str = "bob", /, **body: Any) -> None:
        answer = await self.conduit.web.request(method, path, json=body or None, headers=self.users[by])
        assert answer.is_success, (method, path, answer.text)


WRITES: dict[str, Callable[[Town], Awaitable[None]]] = {
    "publish": lambda town: town.send(
        "POST", "/articles", article={"title": "Three", "description": "d", "body": "b", "tagList": ["new", "newer"]}
    ),
    "revise": lambda town: town.send("PUT", "/articles/one", article={"body": "Another", "description": "Another"}),
    "rename": lambda town: town.send("PUT", "/articles/one", article={"title": "Renamed"}),
    "retag": lambda town: town.send("PUT", "/articles/one", article={"tagList": ["new", "old"]}),
    "withdraw": lambda town: town.send("DELETE", "/articles/one"),
    "favorite": lambda town: town.send("POST", "/articles/two/favorite", "ada"),
    "unfavorite": lambda town: town.send("DELETE", "/articles/one/favorite", "ada"),
    "follow": lambda town: town.send("POST", "/profiles/eve/follow", "ada"),
    "unfollow": lambda town: town.send("DELETE", "/profiles/bob/follow", "ada"),
    "remark": lambda town: town.send("POST", "/articles/one/comments", comment={"body": "Second"}),
    "unremark": lambda town: town.send("DELETE", "/articles/one/comments/1", "eve"),
    "new name": lambda town: town.send("PUT", "/user", user={"username": "bobby"}),
    "new picture": lambda town: town.send("PUT", "/user", user={"image": "https://example.org/bob.png"}),
}
