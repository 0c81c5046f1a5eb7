"""The server of the tests of what runs in browsers: a small site, and answers that a test can hold back.

`POST /control/hold?target=GET /ctx/user/` takes hold of the next request whose target begins so, before it is computed
(`when=before`) or when its answer is ready to leave (`when=after`), until it is released. Nothing else is out of the
ordinary: answers are computed, cached and purged as anywhere.
"""

import asyncio
import datetime
import os
import sys
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_core import Arg, Conflict, Context, File, Identity, Me, build, client, invalidate, issue_mwt

KEYS = {"k1": "a-secret-of-the-tests-and-of-nothing-else"}
BASE = "/api/mizan"
BLANK = f'<!doctype html><script type="module" src="{BASE}/elements.js"></script>'

User, Orders, Moment, Inbox, Shaky = map(Context, ("user", "orders", "moment", "inbox", "shaky"))
Cart = Context("cart")
UserId = Annotated[int, Me]

names: dict[int, str] = {}
counts: Counter[int] = Counter()
carts: defaultdict[int, list[str]] = defaultdict(list)


class Profile(BaseModel):
    user_id: int
    name: str
    count: int


def name_of(user_id: int) -> str:
    return names.get(user_id, f"user {user_id}")


@client(context=User)
async def user_profile(user_id: int) -> Profile:
    return Profile(user_id=user_id, name=name_of(user_id), count=counts[user_id])


@client(context=User)
async def user_letters(user_id: int, page: int = 1) -> list[str]:
    return list(name_of(user_id))[(page - 1) * 2 : page * 2]


@client(context=Orders)
async def orders(customer_id: int, tags: tuple[str, ...] = ()) -> list[str]:
    return [f"{name_of(customer_id)} {tag}" for tag in tags]


@client(context=Moment)
async def moment(when: datetime.datetime) -> str:
    return name_of(int(when.timestamp()))


@client(context=Inbox, auth=True)
async def messages(me: Identity) -> list[str]:
    return [f"for {me.user_id}"]


@client(context=Shaky)
async def shaky(user_id: int) -> str:
    if name_of(user_id) == "bad":
        raise Conflict("Not now.")
    return name_of(user_id)


@client(affects=[User, Shaky])
async def rename(user_id: int, name: str) -> str:
    names[user_id] = name
    return name


@client(affects=User)
async def count(user_id: int) -> int:
    counts[user_id] += 1
    return counts[user_id]


@client(affects=User.whole())
async def rename_everybody(user_id: int, name: str) -> None:
    names[user_id] = name


@client(affects=Orders)
async def rename_customer(customer_id: int, name: str, tags: list[str] | None = None) -> None:
    names[customer_id] = name


@client(affects=Moment)
async def rename_moment(when: datetime.datetime, name: str) -> None:
    names[int(when.timestamp())] = name


@client(affects=Inbox, auth=True)
async def send() -> None: ...


@client(affects=User)
async def refuse(user_id: int, *, named: bool = False) -> None:
    if named:
        names[user_id] = "named"
        invalidate(User, user_id=user_id)
    raise Conflict("Somebody else was first.")


@client(affects=User)
async def explode(user_id: int, name: str) -> None:
    names[user_id] = name
    raise RuntimeError("Nobody is to read this.")


@client(context=Cart)
async def cart_lines(user_id: UserId, page: int = 1) -> list[str]:
    return carts[user_id][(page - 1) * 2 : page * 2]


@client(affects=Cart)
async def add_line(user_id: UserId, sku: str) -> None:
    carts[user_id].append(sku)


@client(affects=Cart.where(user_id=Arg("to")))
async def give(to: list[int], sku: str) -> None:
    for user_id in to:
        carts[user_id].append(sku)


@client(affects=Cart)
async def add_and_explode(user_id: UserId, sku: str) -> None:
    carts[user_id].append(sku)
    raise RuntimeError("Nobody is to read this.")


@client(affects=Cart)
async def add_and_refuse(user_id: UserId, sku: str) -> None:
    carts[user_id].append(sku)
    invalidate(Cart, user_id=user_id)
    raise Conflict("There is no more than one.")


@client(context=Cart, route="/my/cart/")
async def cart_page(user_id: UserId) -> HTMLResponse:
    return HTMLResponse(f"<b>{' '.join(carts[user_id])}</b>")


@client
async def echo(value: Any) -> Any:
    return value


@client(affects=User)
async def upload(user_id: int, picture: File, more: list[File] = [], note: dict[str, Any] | None = None) -> list[Any]:  # noqa: B006
    """Say what has arrived, and let the user have the name of the file."""
    names[user_id] = picture.name
    return [[one.name, one.content_type, (await one.read()).decode()] for one in (picture, *more)] + [note]


@client(context=User, route="/profile/{user_id}/")
async def profile_page(user_id: int) -> HTMLResponse:
    return HTMLResponse(f"<b>{name_of(user_id)}</b>")


@client(affects=User, route="/rename/")
async def rename_form(user_id: int, name: str) -> HTMLResponse:
    names[user_id] = name
    return HTMLResponse(f"<i>{name}</i>")


@client(affects=User, route="/rename-and-go/")
async def rename_and_go(user_id: int, name: str) -> RedirectResponse:
    names[user_id] = name
    return RedirectResponse("/control/log", 303)


@dataclass(slots=True)
class Hold:
    """A request that is held. `end`: whether its answer is sent in the end, the connection cut, or another one sent."""

    target: str
    before: bool
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    end: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def wait(self, receive: Receive) -> str:
        """Until it is released, or the client is gone."""
        self.arrived.set()
        leaving = asyncio.create_task(self._client_gone(receive))
        await asyncio.wait({self.end, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        return self.end.result() if self.end.done() else "gone"

    async def _client_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


class RequestGate:
    """Middleware before the site: records each request to Mizan, and holds the ones that a test asks for."""

    app: ASGIApp

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        self.log: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/control/"):
            await self.app(scope, receive, send)
            return
        query = scope["query_string"].decode()
        target = f"{scope['method']} {scope['raw_path'].decode().removeprefix(BASE)}{query and f'?{query}'}"
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        known = headers.get("if-none-match")
        self.log.append({"target": target, "mounted": headers.get("x-mizan-mounted"), "known": known})
        holds = [one for one in self.holds if not one.arrived.is_set() and target.startswith(one.target)]
        await (self._held(holds[0], scope, receive, send) if holds else self.app(scope, receive, send))

    async def _held(self, hold: Hold, scope: Scope, receive: Receive, send: Send) -> None:
        if hold.before:
            body = await receive()
            if await hold.wait(receive) == "send":
                await self.app(scope, replaying(body), send)
            return
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self.app(scope, receive, keep)
        match await hold.wait(receive):
            case "send":
                for message in answer:
                    await send(message)
            case "cut":  # a body that is announced and does not come: uvicorn closes the connection
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
                await send({"type": "http.response.body", "body": b"{", "more_body": True})
            case "garble":
                problem = {"type": "about:blank", "title": "", "status": 500, "code": "internal_error", "detail": ""}
                await JSONResponse(problem, 500, {"x-mizan-invalidate": "user;user_id"})(scope, receive, send)
            case "proxy":
                await PlainTextResponse("Bad Gateway", 502)(scope, receive, send)

    async def hold(self, request: Request) -> JSONResponse:
        self.holds.append(Hold(request.query_params["target"], request.query_params.get("when") == "before"))
        return JSONResponse(len(self.holds) - 1)

    async def awaited(self, request: Request) -> JSONResponse:
        """Answers when a held request has arrived, or its client is gone."""
        await getattr(self.holds[request.path_params["number"]], request.path_params["event"]).wait()
        return JSONResponse(True)

    async def release(self, request: Request) -> JSONResponse:
        self.holds[request.path_params["number"]].end.set_result(request.query_params.get("end", "send"))
        return JSONResponse(True)

    async def asked(self, request: Request) -> JSONResponse:
        """The requests since the last time that this was asked."""
        asked, self.log = self.log, []
        return JSONResponse(asked)


def replaying(body: Message) -> Receive:
    messages = [body]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Event().wait() or {}

    return receive


def signed_in(request: Request) -> Identity | None:
    """The user that a page names in its cookie."""
    user = request.cookies.get("user")
    return None if user is None else Identity(user)


FUNCTIONS = [one for one in list(globals().values()) if hasattr(one, "__mizan__")]


def site(*middleware: Middleware) -> RequestGate:
    """A site of its own; names and counts are the process's."""
    mizan = Mizan(build(FUNCTIONS), mwt_keys=KEYS, authenticate=signed_in)
    gate = RequestGate()
    routes = [
        Route("/control/hold", gate.hold, methods=["POST"]),
        Route("/control/release/{number:int}", gate.release, methods=["POST"]),
        Route("/control/log", gate.asked),
        Route("/control/token", token),
        Route("/control/{event}/{number:int}", gate.awaited),
        Route("/control/go", lambda request: RedirectResponse(request.query_params["to"])),
        Route("/control/file", file),
        Route("/blank/", lambda _: HTMLResponse(BLANK)),
        Mount(BASE, mizan),
        *mizan.routes,
    ]
    gate.app = Starlette(routes=routes, middleware=middleware, lifespan=mizan.lifespan)
    return gate


def until_left_alone() -> None:
    """The process that started this one holds its input open; when the input ends, this process does."""
    sys.stdin.read()
    os._exit(0)


async def file(request: Request) -> Response:
    """An uploaded body, sent back with the headers of the query."""
    return Response('<img src="/x" onerror="window.ran = true">', headers=dict(request.query_params))


async def token(request: Request) -> JSONResponse:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    return JSONResponse(issue_mwt(Identity(request.query_params["user"]), KEYS, now=now))


if __name__ == "__main__":
    threading.Thread(target=until_left_alone, daemon=True).start()
    uvicorn.run(site(), port=0)
