"""The command line: `mizan manifest|check|purge|token`."""

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NewType

import pytest
from starlette.responses import HTMLResponse
from typer.testing import CliRunner, Result

from mizan_asgi import Mizan
from mizan_asgi.cli import cli, main
from mizan_core import (
    Arg,
    Claim,
    Context,
    Engine,
    Identity,
    Me,
    MemoryCache,
    build,
    build_manifest,
    client,
    invalidate,
    manifest_json,
    permission_key,
    verify_mwt,
)
from mizan_core import Result as ResultField
from tests.http.site import KEYS, Site

ROOT = Path(__file__).parents[2]
SECRET = "c" * 32


class SharedCache(MemoryCache):
    """A store that several processes would share."""

    shared = True


site = Site()
orders = Context("shop_orders")


@client(context=orders, cache=60, rev=2, per="permissions", auth=True)
async def customer_orders(customer_id: int, page: int = 1, tag: str | None = None) -> list[str]:
    return []


@client(context=orders, route="/orders/{customer_id}/")
async def orders_page(customer_id: int) -> str:
    return ""


@client(context=orders, private=True)
async def private_orders(customer_id: int) -> str:
    return ""


@client(context="about", route="/about/")
async def about_page() -> HTMLResponse:
    return HTMLResponse("about")


@client(affects=[orders.where(customer_id=ResultField("customer")), "user"], auth=True)
async def ship(order_id: int) -> dict[str, int]:
    return {"customer": order_id}


@client(affects=[orders.where(customer_id=Arg("buyer"), tag=Me), customer_orders])
async def buy(buyer: int, customer_id: int) -> None:
    pass


@client(affects=[orders.whole(), orders.by_body()], private=True)
async def import_orders() -> None:
    invalidate(orders)


@client(spares="user")
async def log() -> None:
    pass


@client(affects="weather", spares=["user"])
async def rain() -> None:
    pass


@client(affects=orders)
async def receive(customer_id: int, tag: dict[str, int]) -> None:
    pass


@client(affects="user")
async def merge(user_id: dict[str, int]) -> None:
    pass


ONE_TYPE = "if both are one thing, give them one type or declare"
DIFFERENT_THINGS = "if these are different things, give each a NewType or declare .where(...)"
TicketId = NewType("TicketId", int)


@client(context="ticket")
async def ticket(slug: int) -> str:
    return ""


@client(context="org")
async def org(slug: int, page: int = 1) -> str:
    return ""


@client(context="board")
async def board(slug: TicketId) -> str:
    return ""


@client(affects=["ticket", "org", "board", ticket])
async def close(slug: int, page: int) -> None:
    pass


@client(affects="board")
async def sort(slug: TicketId) -> None:
    pass


Cart, Mine, Filtered = Context("cart"), Context("mine"), Context("filtered")


@client(context=Cart)
async def cart_lines(
    user_id: Annotated[int, Me],
    org_id: Annotated[int, Claim("org")],
    shop_id: Annotated[int, Claim("shop")] = 1,
    region: Annotated[str | None, Claim("region")] = "eu",
    guide: Annotated[int | None, Claim("guide")] = None,
    page: int = 1,
) -> str:
    return ""


@client(affects=[Cart, Cart.where(user_id=Arg("to"), org_id=Claim("org"))])
async def add_line(user_id: Annotated[int, Me], to: int, sku: str) -> None: ...


@client(context=Mine)
async def my_lines(me: Identity) -> str:
    return ""


@client(context=Filtered)
async def my_filtered(caller: Identity, page: int = 1) -> str:
    return ""


@client(context="told", per="permissions")
async def rights(me: Identity) -> str:
    return ""


@client(context="mine_of_a_shop")
async def mine_of_a_shop(me: Identity, shop: int) -> str:
    return ""


@client(affects=[Mine, Filtered, "told", "mine_of_a_shop", Mine.whole()])
async def add_mine(sku: str) -> None: ...


functions = [customer_orders, orders_page, private_orders, about_page, ship, buy, import_orders, rain, receive, merge]
functions += [log]
functions += [ticket, org, board, close, sort]
functions += [cart_lines, add_line, my_lines, my_filtered, rights, mine_of_a_shop, add_mine]
graph = build([*site.functions, *functions])
mizan = Mizan(graph, mwt_keys=KEYS, mwt_ttl=60, audience="shop", base_url="/m")
shared = Mizan(graph, cache=SharedCache(), cache_secret=SECRET, base_url="/m")
engine = Engine(graph, cache=SharedCache(), cache_secret=SECRET)
number = 5


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def target(name: str) -> str:
    return f"{__name__}:{name}"


def refused(result: Result) -> str:
    """The one line that a refusal is told in."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("mizan: ")
    return result.stderr


@pytest.mark.parametrize(
    ("name", "base_url"), [("mizan", "/m"), ("graph", "/api/mizan"), ("engine", "/api/mizan"), ("shared", "/m")]
)
def test_manifest_takes_a_mizan_an_engine_or_a_graph(name: str, base_url: str) -> None:
    known = mizan.graph if name == "mizan" else graph
    result = run("manifest", target(name))
    assert (result.exit_code, result.stdout) == (0, manifest_json(known, base_url=base_url))


def test_manifest_takes_another_base_url() -> None:
    assert json.loads(run("manifest", target("mizan"), "--base-url", "/x").stdout)["base_url"] == "/x"


def test_manifest_writes_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "manifest.json"
    result = run("manifest", target("mizan"), "--out", str(out))
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(out.read_text(encoding="utf-8")) == build_manifest(mizan.graph, base_url="/m")


def test_manifest_discovers_a_package_and_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "blog_of_the_cli"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "clients.py").write_text(
        "from mizan_core import client\n\n@client(context='posts')\ndef posts() -> list[str]:\n    return []\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("blog_of_the_cli", "blog_of_the_cli.clients"):
        assert list(json.loads(run("manifest", name).stdout)["contexts"]) == ["posts"]


def paragraph(name: str, text: str) -> list[str]:
    """What `check` says of one context or mutation, its lines without their indent."""
    (found,) = [one for one in text.split("\n\n") if one.startswith(name)]
    return [line.strip() for line in found.splitlines()]


def test_check_shows_how_every_context_is_kept_and_narrowed() -> None:
    result = run("check", target("graph"))
    assert result.exit_code == 0
    assert paragraph("context shop_orders", result.stdout) == [
        "context shop_orders(customer_id, page=1, tag=null)",
        "kept     60 s, for each permission set, behind a guard, rev 2",
        "bundle   customer_orders, orders_page",
        "page     private_orders (no route)  (it lacks tag, so every scope by tag purges it)",
        "scopes   whole, customer_id, customer_id+tag",
    ]
    assert paragraph("context user", result.stdout) == [
        "context user(page=1, user_id)",
        "kept     until purged, for everyone",
        "bundle   user_profile, user_badges",
        "page     profile_page /profile/{user_id}/",
        "scopes   whole, user_id",
    ]
    assert paragraph("context about", result.stdout) == [
        "context about()",
        "kept     until purged, for everyone",
        "page     about_page /about/",
        "scopes   whole",
    ]
    assert "kept     never" in paragraph("context weather()", result.stdout)
    assert "kept     until purged, for each user" in paragraph("context inbox()", result.stdout)


def test_check_shows_each_mutations_narrowing_or_whole() -> None:
    told = run("check", target("graph")).stdout
    assert paragraph("mutation update_profile", told) == [
        "mutation update_profile(user_id, name)",
        "user: narrowed by user_id",
    ]
    assert paragraph("mutation ship", told) == [
        "mutation ship(order_id)",
        "shop_orders: narrowed by customer_id = customer of the result",
        "user: WHOLE: no argument is called user_id; see .where(...)",
    ]
    assert paragraph("mutation buy", told) == [
        "mutation buy(buyer, customer_id)",
        "shop_orders: narrowed by customer_id = argument buyer, tag = the caller's id",
        "shop_orders/customer_orders: narrowed by customer_id",
    ]
    assert paragraph("mutation import_orders", told) == [
        "mutation import_orders() (private)",
        "shop_orders: WHOLE, as declared",
        "shop_orders: narrowed by its body",
    ]
    assert paragraph("mutation receive", told)[1:] == [
        "shop_orders: narrowed by customer_id",
        'tag does not narrow: it is optional in shop_orders, a filter; if it should, declare .where(tag=Arg("tag"))',
    ]
    assert paragraph("mutation merge", told)[1:] == [
        "user: WHOLE",
        f'user_id does not narrow: dict[str, int] here, int in user; {ONE_TYPE} .where(user_id=Arg("user_id"))',
    ]
    assert paragraph("mutation rain", told) == [
        "mutation rain()",
        "weather: whole, for it has no parameters",
        "user: spared, as declared",
    ]
    assert paragraph("mutation log", told) == ["mutation log()", "user: spared, as declared"]


def test_check_shows_what_the_identity_fills_in() -> None:
    told = run("check", target("graph")).stdout
    assert paragraph("context cart", told)[0] == (
        "context cart(guide: claim guide or null, org_id: claim org, page=1, region: claim region or eu, "
        "shop_id: claim shop or 1, user_id: the caller's id)"
    )
    assert paragraph("context cart", told)[1] == (
        "kept     until purged, for all callers with the same guide and org_id and region and shop_id and user_id"
    )
    assert paragraph("mutation add_line", told) == [
        "mutation add_line(user_id: the caller's id, to, sku)",
        "cart: narrowed by user_id",
        "cart: narrowed by org_id = claim org, user_id = argument to",
    ]


def test_check_says_whole_only_with_the_remedy() -> None:
    told = run("check", target("graph")).stdout
    why = (
        "whole only: {} is no parameter, so one user's bundle is purged with everybody's; "
        "let the readers take user_id: Annotated[int, Me], and the mutations too"
    )
    mine, filtered = why.format("me: Identity of my_lines"), why.format("caller: Identity of my_filtered")
    assert paragraph("context mine()", told)[-1] == f"scopes   {mine}"
    assert paragraph("context filtered", told)[-1] == f"scopes   {filtered}"
    assert paragraph("context told", told)[-1] == "scopes   whole"
    assert paragraph("mutation add_mine", told)[1:] == [
        f"mine: {mine}",
        f"filtered: {filtered}",
        "told: whole, for it has no parameters",
        "mine_of_a_shop: WHOLE: no argument is called shop; see .where(...)",
        "mine: WHOLE, as declared",
    ]


def test_check_tells_of_equal_names_with_different_types() -> None:
    told = run("check", target("graph")).stdout
    assert paragraph("mutation close", told) == [
        "mutation close(slug, page)",
        "ticket: narrowed by slug",
        "org: narrowed by slug",
        'page does not narrow: it is optional in org, a filter; if it should, declare .where(page=Arg("page"))',
        "board: WHOLE",
        f'slug does not narrow: int here, TicketId in board; {ONE_TYPE} .where(slug=Arg("slug"))',
        "ticket/ticket: narrowed by slug",
        f"WARNING: one slug narrows ticket and org; {DIFFERENT_THINGS}",
    ]
    assert paragraph("mutation sort", told) == ["mutation sort(slug)", "board: narrowed by slug"]


@pytest.mark.parametrize("name", ["shared", "engine"])
def test_purge_purges_the_shared_cache_and_prints_the_urls(name: str) -> None:
    base = "/m" if name == "shared" else "/api/mizan"
    result = run("purge", target(name), "user", "user_id=05")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["X-Mizan-Invalidate: user;user_id=5", f"{base}/ctx/user/*", "/profile/5/"],
    )
    result = run("purge", target(name), "user", "user_id=5", "page=1")
    assert result.stdout.splitlines() == [
        "X-Mizan-Invalidate: user;page=1;user_id=5",
        f"{base}/ctx/user/?user_id=5",
        "/profile/5/",
    ]
    result = run("purge", target(name), "messages")
    assert result.stdout.splitlines() == ["X-Mizan-Invalidate: inbox/messages", f"{base}/ctx/inbox/"]


@pytest.mark.asyncio
async def test_a_purged_bundle_is_computed_again() -> None:
    first = await shared.engine.fetch("user", {"user_id": 5})
    assert (await shared.engine.fetch("user", {"user_id": 5})).status == "hit"
    result = await asyncio.to_thread(run, "purge", target("shared"), "user", "user_id=5")
    assert result.exit_code == 0
    again = await shared.engine.fetch("user", {"user_id": 5})
    assert (again.status, again.body) == ("miss", first.body)


@pytest.mark.parametrize("name", ["mizan", "graph"])
def test_purge_refuses_a_cache_that_no_other_process_could_purge(name: str) -> None:
    assert "memory of each server process" in refused(run("purge", target(name), "user"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("purge", target("shared"), "nothing"), "'nothing'"),
        (("purge", target("shared"), "user", "user_id"), "name=value"),
        (("purge", target("shared"), "user", "customer_id=5"), "'customer_id'"),
        (("check", "no_such_module:app"), "no_such_module"),
        (("check", f"{__name__}:nothing"), "'nothing'"),
        (("check", target("number")), "int"),
        (("manifest", ":"), "module:attribute"),
        (("manifest", target("graph"), "--out", "/nowhere/at/all.json"), "/nowhere/at/all.json"),
        (("token", target("graph"), "--user", "ada"), "MIZAN_MWT_SECRET"),
        (("token", target("mizan"), "--user", "ada", "--ttl", "0"), "ttl"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(words: tuple[str, ...], named: str) -> None:
    assert named in refused(run(*words))


def test_an_unusable_environment_variable_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_MWT_SECRET", "short")
    told = refused(run("token", target("graph"), "--user", "ada"))
    assert "5 bytes" in told
    assert "short" not in told


def test_the_entry_point_is_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mizan", "check", target("number")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("mizan: ")


@pytest.mark.parametrize("words", [["nonsense"], ["check"], ["token", "x"], ["check", "x", "--nonsense"]])
def test_a_misspelled_command_exits_with_2_and_shows_usage(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage" in result.stderr
    assert "Traceback" not in result.output


def test_token_uses_the_apps_newest_key_and_ttl() -> None:
    result = run("token", target("mizan"), "--user", "0", "--staff", "--permission", "ship", "--permission", "buy")
    assert result.exit_code == 0
    now = time.time()
    told = verify_mwt(result.stdout.strip(), KEYS, audience="shop", now=now)
    ada = Identity("0", staff=True, permissions=frozenset({"ship", "buy"}))
    assert (told.user_id, told.staff, told.permission_key) == ("0", True, permission_key(ada))
    assert not told.superuser


def test_token_carries_claims_of_json() -> None:
    text = run("token", target("mizan"), "--user", "5", "--claim", "org=1", "--claim", 'role="owner"').stdout.strip()
    told = verify_mwt(text, KEYS, audience="shop", now=time.time())
    assert (told.user_id, told.claims) == ("5", {"org": 1, "role": "owner"})
    assert "is no JSON" in refused(run("token", target("mizan"), "--user", "5", "--claim", "org=acme"))
    assert "4096" in refused(run("token", target("mizan"), "--user", "5", "--claim", f'org="{"x" * 4096}"'))


def test_token_of_a_superuser_with_a_given_ttl() -> None:
    text = run("token", target("mizan"), "--user", "ada", "--superuser", "--ttl", "7200").stdout.strip()
    assert verify_mwt(text, KEYS, audience="shop", now=time.time() + 7000).superuser


def test_token_takes_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_MWT_KEYS", f"old={'m' * 32},new={'n' * 32}")
    text = run("token", target("graph"), "--user", "ada").stdout.strip()
    assert verify_mwt(text, {"new": "n" * 32}, now=time.time()).user_id == "ada"


def test_the_installed_command_finds_a_target_in_the_folder() -> None:
    command = str(Path(sys.executable).with_name("mizan"))
    checked, missing = (
        subprocess.run([command, "check", name], check=False, cwd=ROOT, capture_output=True, text=True, timeout=50)
        for name in ("tests.cli.test_commands:mizan", "tests.cli.nothing:mizan")
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "context user(page=1, user_id)" in checked.stdout
    assert (missing.returncode, missing.stdout) == (2, "")
    assert re.fullmatch(r"mizan: .*'tests\.cli\.nothing'.*\n", missing.stderr)
