"""The command `mizan explain`: a dry run of a call, and the state of a bundle."""

import asyncio
import re
from collections.abc import Iterator
from typing import Annotated

import pytest
from typer.testing import CliRunner, Result

from mizan_asgi import Mizan
from mizan_asgi.cli import cli
from mizan_core import Arg, Claim, Context, Identity, Me, RedisCache, build, client, invalidate
from mizan_core import Result as ResultField
from mizan_core.engine.engine import Engine
from mizan_core.testing.redis_server import RedisServer
from tests.cache.holding_cache import HoldingCache
from tests.engine.engines import FailingCache

SECRET = "c" * 32
Orders, Mine, Cart = Context("orders"), Context("mine"), Context("cart")
ran: list[str] = []


class SharedCache(HoldingCache):
    """A store that several processes would share."""

    shared = True


class BrokenCache(FailingCache):
    """A shared store that does not answer."""

    shared = True
    broken = True


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@client(context=Orders, cache=60)
async def order_list(customer_id: int, tag: str | None = None) -> list[int]:
    return [customer_id]


@client(context=Orders, route="/orders/{customer_id}/")
async def order_page(customer_id: int) -> str:
    return ""


@client(context=Mine)
async def my_lines(me: Identity) -> str:
    return str(me.user_id)


@client(context="now", cache=False)
async def now() -> int:
    return 1


@client(affects=Orders)
async def rename(customer_id: int, name: str = "") -> None:
    ran.append("rename")


@client(affects=[Orders.where(customer_id=ResultField("customer_id")), Mine.by_body()])
async def ship(order_id: int) -> dict[str, int]:
    ran.append("ship")
    invalidate(Mine)
    return {"customer_id": order_id}


@client(affects=[Orders.where(customer_id=Arg("buyers"), tag=Me), Orders.whole()])
async def buy(buyers: list[int]) -> None:
    ran.append("buy")


@client(affects=[Mine, order_list], spares=["now"])
async def touch(customer_id: int) -> None:
    ran.append("touch")


@client
async def look(options: dict[str, int] | None = None) -> int:
    ran.append("look")
    return 1


@client(context=Cart)
async def cart_lines(user_id: Annotated[int, Me], org_id: Annotated[int, Claim("org")], page: int = 1) -> str:
    return ""


@client(affects=[Cart, Cart.where(user_id=Arg("to"))])
async def give(user_id: Annotated[int, Me], to: int) -> None:
    ran.append("give")


@client(affects=Cart.whole())
async def empty_all() -> None:
    ran.append("empty_all")


graph = build([cart_lines, give, empty_all, order_list, order_page, my_lines, now, rename, ship, buy, touch, look])
clock = Clock()
mizan = Mizan(graph, base_url="/m")
shared_memory = SharedCache()
shared = Mizan(graph, cache=shared_memory, cache_secret=SECRET, base_url="/m", clock=clock)
broken = Engine(graph, cache=BrokenCache(), cache_secret=SECRET)


@pytest.fixture(autouse=True)
def _nothing_runs() -> Iterator[None]:
    ran.clear()
    yield
    assert ran == []


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *words])


def told(name: str, *words: str) -> list[str]:
    """The lines of an explanation, without their indent and the digits of tags and keys."""
    result = run(f"{__name__}:{name}", *words)
    assert result.exit_code == 0, result.output
    lines = [re.sub(r"[0-9a-f]{64}", "#", line.strip()) for line in result.stdout.splitlines()]
    return [line for line in lines if line]


def refused(*words: str) -> str:
    """The one line that a refusal is told in."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"mizan: .*\n", result.stderr)
    return result.stderr


@pytest.mark.parametrize("name", ["mizan", "graph"])
def test_a_call_is_explained_without_being_made(name: str) -> None:
    base = "/m" if name == "mizan" else "/api/mizan"
    *lines, kept = told(name, "rename", "customer_id=07", "name=Ada")
    assert lines == [
        "rename(customer_id=7, name='Ada')",
        "orders: narrowed by customer_id",
        "orders;customer_id=7",
        "X-Mizan-Invalidate: orders;customer_id=7",
        f"at an edge: {base}/ctx/orders/*",
        "at an edge: /orders/7/",
    ]
    assert kept.startswith("kept now: not known: the cache is in the memory of each server process")


def test_what_only_a_run_decides_is_named() -> None:
    assert told("shared", "ship", "order_id=3") == [
        "ship(order_id=3)",
        "orders: narrowed by customer_id = customer_id of the result",
        "known once it has returned, from its result; the whole context if it fails unexpectedly",
        "mine: narrowed by its body",
        "known once it has returned: what its body names with invalidate(), or else the whole context",
        "its body calls invalidate(): what it names is not known before it runs",
        "X-Mizan-Invalidate: no such header   (as far as it is known before the function runs)",
        "after an unexpected error: orders, mine",
    ]


def test_a_call_that_stays_whole_says_why() -> None:
    lines = told("shared", "buy", "buyers=1", "buyers=2")
    assert lines[:5] == [
        "buy(buyers=[1, 2])",
        "orders: narrowed by customer_id = argument buyers, tag = the caller's id",
        "orders",
        "tag does not narrow in this call: the caller is anonymous, which leaves the whole context",
        "orders: WHOLE, as declared",
    ]
    by_five = told("shared", "buy", "buyers=1", "buyers=2", "--user", "5")
    assert by_five[2:4] == ["orders;customer_id=1;tag=5", "orders;customer_id=2;tag=5"]


def test_a_function_that_affects_nothing_is_told_so() -> None:
    assert told("shared", "look", 'options:={"a": 1}') == [
        "look(options={'a': 1})",
        "declares to affect nothing",
        "X-Mizan-Invalidate: no such header",
    ]


def test_a_shared_cache_tells_what_is_kept_and_would_go() -> None:
    asyncio.run(shared.engine.invalidate("orders"))
    absent = "tag of orders;customer_id=7: absent: no bundle is kept"
    assert told("shared", "rename", "customer_id=7")[-3:] == [
        absent,
        "tag:orders:#",
        "bundle orders?customer_id=7: not kept: no entry is there",
    ]
    asyncio.run(fetched("orders", {"customer_id": 7}))
    tag, _, bundle = told("shared", "rename", "customer_id=7")[-3:]
    assert tag == "tag of orders;customer_id=7: set: bundles may be kept"
    assert bundle == f"bundle orders?customer_id=7: kept: {KEPT}"


KEPT = "34 bytes, stored about 2027-01-15 08:00:00 UTC, expires 2027-01-15 08:01:00 UTC"


async def fetched(context: str, params: dict[str, object]) -> None:
    await shared.engine.fetch(context, params)


def test_a_bundle_for_each_user_is_looked_up_for_the_user() -> None:
    anonymous = told("shared", "touch", "customer_id=8")
    assert "now: spared, as declared" in anonymous
    assert "bundle mine: not kept: no entry is there" in anonymous
    assert "bundle mine: not kept: no entry is there" in told("shared", "touch", "customer_id=8", "--user", "5")


AS_FIVE = ["--user", "5", "--claim", "org=1"]


def test_claims_and_the_user_fill_parameters_in() -> None:
    asyncio.run(shared.engine.invalidate(Cart))
    lines = told("shared", "give", "to=6", *AS_FIVE)
    assert lines[:5] == [
        "give(to=6, user_id=5)",
        "cart: narrowed by user_id",
        "cart;user_id=5",
        "cart: narrowed by user_id = argument to",
        "cart;user_id=6",
    ]
    assert "X-Mizan-Invalidate: cart;user_id=5, cart;user_id=6" in lines
    assert sorted(line for line in lines if line.startswith(("tag of", "bundle"))) == [
        "bundle cart?org_id=1&page=1&user_id=5: not kept: no entry is there",
        "tag of cart;user_id=5: absent: no bundle is kept",
        "tag of cart;user_id=6: absent: no bundle is kept",
    ]


def test_ones_own_bundle_is_told_with_what_fills_it_in() -> None:
    asyncio.run(shared.engine.invalidate(Cart))
    asyncio.run(shared.engine.fetch("cart", {}, identity=Identity(5, claims={"org": 1})))
    bundle = told("shared", "--bundle", "cart?page=1", *AS_FIVE)
    assert bundle[:2] == ["cart?org_id=1&page=1&user_id=5", "URL    /m/ctx/cart/"]
    assert any(line.startswith("now    kept: ") for line in bundle)
    other = told("shared", "--bundle", "cart", "--user", "5", "--claim", 'org="2"')
    assert other[0] == "cart?org_id=2&page=1&user_id=5"
    assert "now    not kept: no entry is there" in other


def test_a_caller_without_a_bundle_is_told_of_the_tags_alone() -> None:
    assert not any(line.startswith("bundle") for line in told("shared", "empty_all", "--claim", "org=1"))
    assert any(line.startswith("bundle cart?") for line in told("shared", "empty_all", *AS_FIVE))


def test_a_cache_that_does_not_answer_leaves_the_rest_told() -> None:
    lines = told("broken", "rename", "customer_id=7")
    assert "X-Mizan-Invalidate: orders;customer_id=7" in lines
    assert lines[-1].startswith("kept now: not known, for the cache cannot be asked.")


@pytest.mark.parametrize("bundle", ["orders?customer_id=07", "/m/ctx/orders/?customer_id=7"])
def test_a_bundle_is_told_with_its_key_tags_and_times(bundle: str) -> None:
    asyncio.run(shared.engine.invalidate("orders"))
    asyncio.run(fetched("orders", {"customer_id": 7}))
    assert told("shared", "--bundle", bundle) == [
        "orders?customer_id=7",
        "URL    /m/ctx/orders/?customer_id=7",
        "policy 60 s, for everyone",
        "key    ctx:orders:#",
        "tag    the whole context: set",
        "tag:orders:#",
        "tag    customer_id: set",
        "tag:orders:#",
        "tag    customer_id+tag: set",
        "tag:orders:#",
        f"now    kept: {KEPT}",
        "purged by which call is recorded nowhere; the logger mizan at DEBUG tells it in the process that purges",
    ]


def test_a_stale_bundle_names_the_scope_that_was_purged(redis: RedisServer) -> None:
    async def purged() -> None:
        async with Engine(graph, cache=RedisCache(redis.url), cache_secret=SECRET, clock=clock) as engine:
            await engine.fetch("orders", {"customer_id": 7})
            await engine.invalidate("orders", customer_id=7)

    global in_redis  # noqa: PLW0603  # a target is found in its module
    in_redis = Mizan(graph, cache=RedisCache(redis.url), cache_secret=SECRET, clock=clock)
    asyncio.run(purged())
    lines = told("in_redis", "--bundle", "orders?customer_id=7")
    assert "tag    customer_id: absent, has changed since the entry was stored" in lines
    assert f"now    not kept: its entry is stale, for customer_id was purged since, or is held ({KEPT})" in lines


in_redis: Mizan


def test_an_expired_bundle_is_told_as_expired() -> None:
    asyncio.run(fetched("orders", {"customer_id": 9}))
    clock.now += 60
    try:
        lines = told("shared", "--bundle", "orders?customer_id=9")
    finally:
        clock.now -= 60
    assert f"now    not kept: its entry has expired ({KEPT})" in lines


def test_a_damaged_entry_is_told_as_such() -> None:
    words = run(f"{__name__}:shared", "--bundle", "orders?customer_id=4").stdout.split()
    (key,) = [word for word in words if word.startswith("ctx:")]
    asyncio.run(shared_memory.set(key, b"whatever", None))
    entry = "the entry that is there was stored by another version of the program, or is damaged"
    assert f"now    not kept: {entry}" in told("shared", "--bundle", "orders?customer_id=4")


@pytest.mark.parametrize(
    ("bundle", "why"),
    [
        ("now", "its context has cache=False"),
    ],
)
def test_a_bundle_that_is_kept_nowhere_says_why(bundle: str, why: str) -> None:
    assert told("shared", "--bundle", bundle)[-1] == f"now    kept nowhere: {why}"


def test_a_bundle_in_the_memory_of_a_server_is_not_known() -> None:
    lines = told("mizan", "--bundle", "orders?customer_id=7")
    assert lines[:3] == ["orders?customer_id=7", "URL    /m/ctx/orders/?customer_id=7", "policy 60 s, for everyone"]
    assert lines[3].startswith("now    not known: the cache is in the memory of each server process")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["mizan", "renam"], "no function 'renam'; did you mean 'rename'?"),
        (["mizan", "rename", "customer_id=x", "more=1"], "customer_id: Input should be a valid integer"),
        (["mizan", "rename"], "customer_id: Field required"),
        (["mizan", "rename", "customer_id"], "'customer_id' is not of the form name=value"),
        (["mizan", "look", "options:={"], "name:=JSON is no JSON"),
        (["mizan"], "Name a function to explain, or a bundle with --bundle"),
        (["mizan", "rename", "--bundle", "orders"], "and not both"),
        (["mizan", "--bundle", "order?customer_id=7"], "no context 'order' that has a bundle; did you mean 'orders'?"),
        (["mizan", "--bundle", "orders"], "customer_id: Field required"),
        (["mizan", "rename", "customer_id=1", "--staff"], "name one with --user"),
        (["broken", "--bundle", "orders?customer_id=7"], "cache"),
        (["mizan", "give", "to=6"], "no value for a parameter that it fills in, or one that does not fit; see --user"),
        (["mizan", "--bundle", "cart", "--user", "5"], "see --user, --claim"),
        (["mizan", "give", "to=6", "--claim", "org"], "'org' is not of the form name=value"),
        (["mizan", "give", "to=6", "--claim", "org=acme"], "A text is written with its quotation marks: 'org=\"...\"'"),
        (["mizan", "give", "to=6", "--claim", "org=NaN"], "The claim 'org' is a float, which is no JSON value"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(words: list[str], named: str) -> None:
    target, *rest = words
    assert named in refused(f"{__name__}:{target}", *rest)
