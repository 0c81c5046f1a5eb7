"""The command line: `mizan doctor URL TARGET`, what it prints, its exit codes, and its errors on bad input."""

import asyncio
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mizan_asgi import Mizan
from mizan_asgi.cli import cli
from mizan_asgi.doctor.findings import Finding, Report, Wrong, lines_of
from mizan_asgi.edge import Fastly, HeaderOnly, Nodes
from mizan_core import RedisCache, build, client
from mizan_core.testing.redis_server import RedisServer
from tests.http.servers import listening

from . import sites
from .sites import IGNORING, Front, Site, deployed, relayed, token_of

TARGET = f"{__name__}:mizan"
PEOPLE = ("--as", token_of(7), "--as", token_of(8))
site = Site()
mizan: Any = site.mizan  # what the command finds; some tests set it up
graph = site.graph
VALUES = ("--with", "user_id=5")
CLOSED = "http://127.0.0.1:1"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words])


async def doctor(*words: str, at: Site = site, front: Front | None = None, target: str = TARGET) -> Result:
    async with deployed(at, front) as url:
        return await asyncio.to_thread(run, url, target, *words)


@pytest.mark.asyncio
@pytest.mark.parametrize("target", [TARGET, f"{__name__}:graph"])
async def test_a_right_deployment_exits_with_0(target: str) -> None:
    result = await doctor(*PEOPLE, *VALUES, target=target)
    assert (result.exit_code, result.output) == (0, "Nothing is wrong, as far as 6 URLs and 88 requests tell.\n")


@pytest.mark.asyncio
async def test_a_finding_exits_with_1_and_says_what_to_do() -> None:
    result = await doctor(*PEOPLE, *VALUES, front=sites.nginx(f"{IGNORING} Vary;"))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "private-kept: a cache gives answers that are for one person"
    assert lines[1].startswith("  http://127.0.0.1:")
    assert lines[1].endswith("/api/mizan/ctx/inbox/")
    assert any(line.startswith("  Let the cache obey Cache-Control") for line in lines)
    assert lines[-1].startswith("3 things are wrong, as far as 6 URLs")


@pytest.mark.asyncio
async def test_what_was_left_out_is_told() -> None:
    result = await doctor()
    assert result.exit_code == 0, result.output
    assert "note: user was not asked for: it needs user_id: --with user_id=..." in result.output
    assert "note: /users/{user_id}/ was not asked for: it needs user_id: --with user_id=..." in result.output
    assert "give --as TOKEN twice" in result.output


@pytest.mark.asyncio
async def test_a_url_is_asked_for_alone() -> None:
    result = await doctor("--url", "/users/5", "--url", "/api/mizan/ctx/user?user_id=05")
    assert result.output == "Nothing is wrong, as far as 2 URLs and 33 requests tell.\n"
    async with deployed(site) as url:
        result = await asyncio.to_thread(run, url, TARGET, "--url", f"{url}/users/5/")
    assert result.output == "Nothing is wrong, as far as 1 URL and 21 requests tell.\n"


@pytest.mark.asyncio
async def test_a_person_may_be_a_header_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{token_of(7)}\n")
    people = ("--as", f"@{tmp_path / 'token'}", "--as", f"Authorization: Bearer {token_of(8)}")
    result = await doctor(*people, *VALUES)
    assert result.exit_code == 0, result.output
    assert "note" not in result.output


@pytest.mark.asyncio
async def test_the_deployment_may_be_named_with_its_base_url() -> None:
    async with deployed(site) as url:
        result = await asyncio.to_thread(run, f"{url}/api/mizan/", TARGET, *PEOPLE, *VALUES)
    assert result.exit_code == 0, result.output


@pytest.mark.asyncio
async def test_a_target_that_is_mounted_elsewhere_is_not_there() -> None:
    result = await doctor("--base-url", "/other")
    assert result.exit_code == 1
    assert result.output.startswith("not-there: Mizan does not answer at base_url\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("example.com", TARGET), "'example.com' is no URL of a deployment, such as https://example.com."),
        (("http://[::1", TARGET), "is no URL of a deployment"),
        (("http://a@example.com", TARGET), "is no URL of a deployment"),
        (("https://example.com/blog", TARGET), "has a path. Name the deployment alone"),
        ((CLOSED, "tests.doctor.nothing:mizan"), "There is no module 'tests.doctor.nothing'"),
        ((CLOSED, f"{__name__}:VALUES"), "is a tuple, and neither a Mizan, an Engine nor a Graph"),
        ((CLOSED, TARGET, "--as", "a b"), "the 1st --as is neither a token"),
        ((CLOSED, TARGET, "--as", "Cookie:"), "the 1st --as is neither a token"),
        ((CLOSED, TARGET, "--as", "@/nowhere"), "the 1st --as names the file '/nowhere', which cannot be read"),
        ((CLOSED, TARGET, *["--as", "t"] * 2), "the 2nd --as is the same as one before it"),
        ((CLOSED, TARGET, "--with", "user_id"), "--with 'user_id' is not of the form name=value"),
        ((CLOSED, TARGET, "--with", "use_id=5"), "--with names use_id, and no context or page has such a parameter"),
        ((CLOSED, TARGET, "--url", "/nowhere/"), "--url /nowhere/: the target has neither a bundle nor a page there"),
        ((CLOSED, TARGET, "--url", "//else.where/"), "--url //else.where/: name a path of http://127.0.0.1:1"),
        ((CLOSED, TARGET, "--url", "/users/x/"), "--url /users/x/: user_id: Input should be a valid integer"),
        ((CLOSED, TARGET, "--timeout", "0"), "--timeout 0 is not a number of seconds above 0"),
        ((CLOSED, TARGET, "--purge"), "is in the memory of each server process, which --purge cannot reach"),
    ],
)
def test_bad_input_is_told_in_one_line(words: tuple[str, ...], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1


def test_a_url_has_to_be_given() -> None:
    assert run().exit_code == 2


def test_a_deployment_that_does_not_answer_is_told() -> None:
    result = run(CLOSED, TARGET)
    assert result.exit_code == 2
    assert result.output.startswith(f"mizan: GET {CLOSED}/api/mizan/ctx/mizan-doctor-")
    assert "got no answer: " in result.output


def test_a_deployment_that_is_too_slow_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        result = run(f"http://{host}:{port}", TARGET, "--timeout", "0.05")
    assert result.exit_code == 2
    assert result.output.endswith("got no answer: nothing within 0.05 s.\n")


@pytest.mark.asyncio
async def test_a_deployment_that_moved_to_https_is_named() -> None:
    result = await doctor(front=sites.nginx("return 301 https://$host$request_uri;"))
    assert result.exit_code == 2
    assert "redirects to https://127.0.0.1. Ask there: mizan doctor https://127.0.0.1 ..." in result.output


@pytest.mark.asyncio
@pytest.mark.parametrize("is_told", [True, False])
async def test_a_purge_reaches_nodes_from_the_command(
    redis: RedisServer, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = uuid.uuid4().hex

    def shared(edge: Any) -> Site:
        return Site(edge=edge, cache=RedisCache(redis.url, prefix=prefix), cache_secret="s" * 32, shutdown=0.2)

    at = shared(HeaderOnly())
    async with deployed(at) as origin:
        with sites.varnish_by_mizan(at, origin) as node:
            async with relayed(node.public) as url, relayed(node.purging) as listener:
                own = shared(Nodes(listener if is_told else CLOSED))
                monkeypatch.setitem(globals(), "mizan", own.mizan)
                result = await asyncio.to_thread(run, url, TARGET, *PEOPLE, *VALUES, "--purge")
    assert result.exit_code == (0 if is_told else 1), result.output
    assert ("not-forgotten" in result.output) is not is_told
    assert (f"{CLOSED} could not be told of purges" in result.output) is not is_told


@pytest.mark.asyncio
async def test_an_edge_of_a_vendor_is_asked_with_patience(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps nothing here, so the doctor need not wait for it."""
    own = Site(
        edge=Fastly("a", "t", api=CLOSED), cache=RedisCache(redis.url, prefix=uuid.uuid4().hex), cache_secret="s" * 32
    )
    monkeypatch.setitem(globals(), "mizan", own.mizan)
    result = await doctor(*PEOPLE, *VALUES, "--purge", at=Site())
    assert "nothing was purged" in result.output


@pytest.mark.asyncio
async def test_a_deployment_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target has a context more, another reader in one, and lets everyone in where the deployment does not."""

    @client(context="news")
    async def titles() -> list[str]:
        return []

    @client(context="weather")
    async def weather() -> str:
        return ""

    @client(context="drafts")
    async def drafts() -> list[str]:
        return []

    @client(context="greeting", per="user")
    async def wishes() -> str:
        return ""

    monkeypatch.setitem(globals(), "mizan", Mizan(build([titles, weather, drafts, wishes])))
    result = await doctor(*PEOPLE)
    assert result.exit_code == 1
    assert result.output.startswith("other-version: the deployment runs another version than the target\n")
    assert "the bundle has headlines; the target has titles" in result.output
    assert "the bundle has greeting; the target has wishes" in result.output
    assert "404: There is no context of this name. The target has weather." in result.output
    assert "401 to nobody: " in result.output


@pytest.mark.asyncio
async def test_what_is_broken_could_not_be_asked() -> None:
    async with listening(site.app) as (host, port):
        settings = "if ($uri ~ users) { return 502; }"
        with sites.nginx(settings)(site, f"http://{host}:{port}") as node:
            async with relayed(node.public) as url:
                result = await asyncio.to_thread(run, url, TARGET, "--url", "/users/5/")
    assert result.exit_code == 2
    assert "not asked: " in result.output
    assert "/users/5/: answered 502" in result.output


@pytest.mark.asyncio
async def test_a_value_may_be_for_one_context() -> None:
    result = await doctor(*PEOPLE, "--with", "user.user_id=5")
    assert "as far as 6 URLs" in result.output
    result = await doctor(*PEOPLE, "--with", "user_id=x")
    assert result.exit_code == 0
    assert "note: user was not asked for: user_id: Input should be a valid integer" in result.output


def test_many_places_of_a_finding_are_counted() -> None:
    findings = tuple(
        Finding(Wrong.COOKIE, f"https://a.example/{number}", ("Set-Cookie: a=...",)) for number in range(7)
    )
    lines = list(lines_of(Report(findings, asked=("/",), requests=9)))
    assert lines[-4] == "  and 2 more URLs"
    assert sum("Set-Cookie" in line for line in lines) == 5
    assert lines[-1] == "1 thing is wrong, as far as 1 URL and 9 requests tell."


def test_every_code_is_explained_on_the_page_of_edges() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "edge.md").read_text(encoding="utf-8")
    assert [wrong.code for wrong in Wrong if f"`{wrong.code}`" not in page] == []
