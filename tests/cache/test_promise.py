"""The promise: no read that starts after a mutation was answered returns what was true before it, or another's.

Shown over a small world, enumerated: every mutation against every bundle of every identity, cold and warm, under every
order of their look-ups, stamps, runs, commits, purges and stores.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from unittest import mock

import pytest

from mizan_core import ANONYMOUS, Arg, Bundle, Claim, Context, Engine, Identity, Me, Result, build, client, invalidate
from mizan_core.cache.slots import Slot
from mizan_core.engine import cache_keys
from mizan_core.engine.answers import ended_of
from mizan_core.engine.cache_keys import CacheKeys
from mizan_core.graph.model import ContextPlan
from tests.cache.inside import bundle_cache_of, copies_in
from tests.cache.stepping import SteppedCache, Steps, Tokens, actor, explore

pytestmark = pytest.mark.timeout(1200)  # a slow machine takes its time over thousands of runs

USERS = {
    "ann": Identity("1"),
    "bob": Identity("2", permissions=frozenset({"read"}), claims={"org": 1}),
    "bob elsewhere": Identity("2", claims={"org": 2}),
    "nobody": ANONYMOUS,
    "nobody of 1": Identity(None, claims={"org": 1}),
}

BUNDLES: list[tuple[str, dict[str, int]]] = [
    ("user", {"user_id": 1, "page": 1}),
    ("user", {"user_id": 1, "page": 2}),
    ("user", {"user_id": 2, "page": 1}),
    ("board", {}),
    ("mine", {"folder": 1}),
    ("report", {"year": 1}),
    ("cart", {}),
    ("me", {}),
]

MUTATIONS: dict[str, dict[str, Any]] = {
    "rename": {"user_id": 1},
    "turn_page": {"user_id": 1, "page": 2},
    "rename_by_order": {"order_id": 1},
    "rename_some": {"ids": [1]},
    "rename_all": {},
    "rename_me": {},
    "file_mine": {"folder": 1},
    "annotate": {"from_year": 1},
    "fail_half_way": {"user_id": 1},
    "add_line": {},
    "greet": {},
}

# Here a visitor reads and calls.
BY_NOBODY = {"greet"}


class Rows:
    """A version for each row, and the functions that read and write them through gates."""

    def __init__(self) -> None:
        self.versions: Counter[str] = Counter()
        self.steps: Steps
        self.graph = build(self._functions())

    async def read(self, *rows: str) -> list[int]:
        await self.steps.gate("read")
        found = [self.versions[row] for row in rows]
        self.steps.saw(found)
        return found

    async def write(self, *rows: str) -> None:
        await self.steps.gate("commit")
        self.versions.update(rows)
        self.steps.saw("committed")

    def _functions(self) -> list[Callable[..., Any]]:
        user, mine, report = Context("user"), Context("mine"), Context("report")
        cart = Context("cart")

        @client(context=user)
        async def profile(user_id: int) -> list[int]:
            return await self.read(f"user {user_id}")

        @client(context=user)
        async def activity(user_id: int, page: int = 1) -> list[int]:
            return await self.read(f"page {user_id} {page}")

        @client(context="board")
        async def board() -> list[int]:
            return await self.read("user 1", "user 2")

        @client(context=mine)
        async def folder(me: Identity, folder: int) -> list[int]:
            return await self.read(f"folder {me.user_id} {folder}")

        @client(context=report, per="permissions")
        async def yearly(me: Identity, year: int) -> list[int]:
            return await self.read(f"year {year} {sorted(me.permissions or ())}")

        @client(context=cart)
        async def lines(
            user_id: Annotated[int | None, Me], org_id: Annotated[int | None, Claim("org")]
        ) -> list[int | None]:
            return [user_id, org_id, *await self.read(f"cart {user_id} {org_id}")]

        @client(context="me", per="user")
        async def own_profile(me: Identity) -> list[Any]:
            return [me.user_id, me.claims.get("org"), *await self.read(f"self {me.user_id}")]

        @client(affects=cart)
        async def add_line(user_id: Annotated[int | None, Me], org_id: Annotated[int | None, Claim("org")]) -> None:
            await self.write(f"cart {user_id} {org_id}")

        @client(affects=[cart, "me"])
        async def greet(org_id: Annotated[int | None, Claim("org")]) -> None:
            users = (None, 1, 2)
            await self.write(*(f"cart {user_id} {org_id}" for user_id in users), *(f"self {one}" for one in users))

        @client(affects=[user, "board"])
        async def rename(user_id: int) -> None:
            await self.write(f"user {user_id}")

        @client(affects=user)
        async def turn_page(user_id: int, page: int) -> None:
            await self.write(f"page {user_id} {page}")

        @client(affects=[user.where(user_id=Result("user_id")), "board"])
        async def rename_by_order(order_id: int) -> dict[str, int]:
            await self.write("user 1")
            return {"user_id": 1}

        @client(affects=[user.by_body(), "board"])
        async def rename_some(ids: list[int]) -> None:
            for user_id in ids:
                invalidate(user, user_id=user_id)
                await self.write(f"user {user_id}")

        @client(affects=[user.whole(), "board"])
        async def rename_all() -> None:
            await self.write("user 1", "user 2")

        @client(affects=[user.where(user_id=Me), "board"])
        async def rename_me(me: Identity) -> None:
            await self.write(f"user {me.user_id}")

        @client(affects=mine)
        async def file_mine(me: Identity, folder: int) -> None:
            await self.write(f"folder {me.user_id} {folder}")

        @client(affects=report.where(year=Arg("from_year")))
        async def annotate(from_year: int) -> None:
            await self.write(*(f"year {from_year} {permissions}" for permissions in ([], ["read"])))

        @client(affects=[user, "board"])
        async def fail_half_way(user_id: int) -> None:
            await self.write(f"user {user_id}")
            raise RuntimeError

        return [
            profile,
            activity,
            board,
            folder,
            yearly,
            rename,
            turn_page,
            rename_by_order,
            rename_some,
            rename_all,
            rename_me,
            file_mine,
            annotate,
            fail_half_way,
            lines,
            own_profile,
            add_line,
            greet,
        ]


ROWS = Rows()


def truth(context: str, params: dict[str, int], identity: Identity) -> dict[str, list[Any]]:
    """What a bundle has to be, straight from the rows."""
    versions = ROWS.versions
    match context:
        case "user":
            page = f"page {params['user_id']} {params['page']}"
            return {"profile": [versions[f"user {params['user_id']}"]], "activity": [versions[page]]}
        case "board":
            return {"board": [versions["user 1"], versions["user 2"]]}
        case "mine":
            return {"folder": [versions[f"folder {identity.user_id} {params['folder']}"]]}
        case "cart":
            user_id, org_id = identity.user_id and int(identity.user_id), identity.claims.get("org")
            return {"lines": [user_id, org_id, versions[f"cart {user_id} {org_id}"]]}
        case "me":
            return {"own_profile": [identity.user_id, identity.claims.get("org"), versions[f"self {identity.user_id}"]]}
    return {"yearly": [versions[f"year {params['year']} {sorted(identity.permissions or ())}"]]}


async def is_true(engine: Engine, context: str, params: dict[str, int]) -> None:
    """Every identity is answered the bundle as the rows have it now."""
    for identity in USERS.values():
        bundle = await engine.fetch(context, params, identity=identity)
        found, expected = json.loads(bundle.body), truth(context, params, identity)
        assert found == expected, f"{context} {params} for {identity.user_id}: {found}, not {expected}"


def stepped(cache: SteppedCache) -> Engine:
    return Engine(
        ROWS.graph,
        cache=cache,
        cache_secret="s" * 32,
        random=Tokens(),
        clock=lambda: 0.0,
        deadline=1e9,
        carry=[actor],
    )


def flights_of(engine: Engine) -> object:
    """The computations under way, the actors that wait for turns, the copies of entries: no backend shows these."""
    cache = bundle_cache_of(engine)
    turns = [(key, waiting_for(turn), waiting_for(turn.following)) for key, turn in cache._turns._running.items()]
    flights = sorted((key, flight.stamps) for key, flight in cache._flights.items())
    return flights, sorted(turns), copies_in(cache)


def waiting_for(turn: Any) -> list[str | None]:
    return sorted(request.context[actor] for request in turn.joined) if turn is not None else []


def pairs() -> list[tuple[str, int]]:
    return [(mutation, place) for mutation in MUTATIONS for place in range(len(BUNDLES))]


@pytest.mark.parametrize(("mutation", "place"), pairs(), ids=lambda one: str(one))
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_no_read_after_an_answered_mutation_is_stale(mutation: str, place: int, warm: bool) -> None:
    assert orders(mutation, place, warm=warm) > 1


def slot_without_who_asks(keys: CacheKeys, plan: ContextPlan, texts: Mapping[str, str], identity: Identity) -> Slot:
    return _slot(keys, plan, {name: text for name, text in texts.items() if name in plan.client_parameters}, identity)


_slot = CacheKeys.slot


@pytest.mark.parametrize(
    ("owner", "attribute", "mistake", "context"),
    [
        (CacheKeys, "slot", slot_without_who_asks, "cart"),
        (cache_keys, "claims_key", lambda identity: None, "me"),
    ],
    ids=["values", "claims"],
)
def test_a_key_that_forgets_who_asks_is_found(owner: Any, attribute: str, mistake: Any, context: str) -> None:
    with mock.patch.object(owner, attribute, mistake), pytest.raises(AssertionError, match=f"{context} .* for "):
        orders("add_line", BUNDLES.index((context, {})), warm=True)


def orders(mutation: str, place: int, *, warm: bool) -> int:
    """Follow every order of a read and a mutation, and look at everything before and after; returns their number."""
    context, params = BUNDLES[place]
    caller = USERS["nobody of 1" if mutation in BY_NOBODY else "bob"]
    runs = 0

    async def scenario(steps: Steps) -> None:
        nonlocal runs
        ROWS.versions.clear()
        ROWS.steps = steps
        cache = SteppedCache(steps)
        engine = stepped(cache)
        steps.state = lambda: (cache.contents(), sorted(ROWS.versions.items()), flights_of(engine))
        # What else is in the cache does not meet the reader, so one order of events shows what becomes of it.
        watched = BUNDLES if runs == 0 else [BUNDLES[place]]
        runs += 1
        for one in watched if warm else ():
            await is_true(engine, *one)

        async def read() -> Bundle:
            return await engine.fetch(context, params, identity=caller)

        async def write() -> None:
            await ended_of(engine.begin(mutation, MUTATIONS[mutation], identity=caller))

        answers = await steps.run({"reader": read, "writer": write})
        assert isinstance(answers["reader"], Bundle), answers["reader"]
        for one in watched:
            await is_true(engine, *one)

    return explore(scenario)


def test_a_read_never_joins_a_computation_from_before_a_mutation() -> None:
    async def scenario(steps: Steps) -> None:
        ROWS.versions.clear()
        ROWS.steps = steps
        cache = SteppedCache(steps)
        engine = stepped(cache)
        steps.state = lambda: (cache.contents(), sorted(ROWS.versions.items()), flights_of(engine))

        async def read() -> None:
            await engine.fetch("board", {})

        async def write_then_read() -> None:
            await engine.call("rename_all", {})
            bundle = await engine.fetch("board", {})
            assert json.loads(bundle.body) == {"board": [1, 1]}

        for answer in (await steps.run({"early": read, "late": write_then_read})).values():
            if isinstance(answer, BaseException):
                raise answer

    assert explore(scenario) > 30
