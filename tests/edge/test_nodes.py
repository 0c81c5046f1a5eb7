"""Real nodes of Varnish and nginx: what they keep, what they pass on, and how they learn what is stale."""

import asyncio
from typing import Any

import pytest

from tests.edge.differential import EDGES, Edge
from tests.edge.lossy import BAD_GATEWAY, losing
from tests.edge.nodes import (
    Node,
    folder,
    nginx_in,
    nginx_of,
    nginx_program,
    reload_nginx,
    reload_varnish,
    request,
    varnish,
    varnish_of,
)
from tests.edge.origins import Headers, Origin

pytestmark = pytest.mark.timeout(120)

THING = "/api/mizan/ctx/things/?item="
CALL = "/api/mizan/call/"


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest) -> Edge:
    return EDGES[request.param]


async def shown(node: Node, url: str, **headers: str) -> tuple[str, str]:
    answer = await node.get(url, **headers)
    assert answer.status == 200, answer
    return answer.edge, answer.body.rpartition(":")[2].rstrip("}")


class TestKeeping:
    @pytest.mark.asyncio
    async def test_what_is_for_everyone_is_kept_until_it_is_purged(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for url in (f"{THING}1", "/things/1/"):
                    assert [await shown(node, url) for _ in range(2)] == [("fwd=uri-miss", "0"), ("hit", "0")]
                purged = await origin.change_past_edges(1)
                assert await shown(node, f"{THING}1") == ("hit", "0"), "the edge has not been told"
                assert (await node.purge(purged)).status == 200
                for url in (f"{THING}1", "/things/1/"):
                    assert [await shown(node, url) for _ in range(2)] == [("fwd=uri-miss", "1"), ("hit", "1")]

    @pytest.mark.asyncio
    async def test_nothing_of_who_asks_goes_with_what_is_for_everyone(self, edge: Edge) -> None:
        who = {"Cookie": "session=1", "Authorization": "Basic x", "X_Mizan_Token": "t"}
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                assert await shown(node, f"{THING}1", **who) == ("fwd=uri-miss", "0")
                assert await shown(node, f"{THING}1") == ("hit", "0")
                assert (await node.get("/host/me", **who)).body == "session=1 Basic x"
                assert (await node.get("/api/mizan/ctx/mine/?item=1", **who)).status == 401
                [public, _, private] = [sent for _, _, sent in origin.requests]
                assert public.keys().isdisjoint({"cookie", "authorization", "x-mizan-token"})
                assert (private["cookie"], private["x-mizan-token"]) == ("session=1", "t")

    @pytest.mark.asyncio
    async def test_an_answer_that_is_not_public_is_not_kept(self, edge: Edge) -> None:
        changes: list[tuple[int, Headers]] = [
            (200, [(b"set-cookie", b"a=b")]),
            (200, [(b"vary", b"Accept-Language")]),
            (200, [(b"cache-control", b"private, no-cache")]),
            (200, [(b"cache-control", b"no-store")]),
            (200, [(b"cache-control", b"public, max-age=60")]),
            (500, []),
        ]
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for number, (status, more) in enumerate(changes):

                    def change(
                        _scope: Any, _status: int, headers: Headers, to: int = status, more: Headers = more
                    ) -> Any:
                        names = {name for name, _ in more}
                        return to, [*(pair for pair in headers if pair[0] not in names), *more]

                    origin.change = change
                    answers = [await node.get(f"{THING}{number}") for _ in range(2)]
                    assert [(one.status, one.edge) for one in answers] == [(status, "fwd=uri-miss")] * 2, more
                origin.change = lambda _scope, status, headers: (status, [*headers, (b"vary", b"Accept-Encoding")])
                assert [await shown(node, f"{THING}99") for _ in range(2)] == [("fwd=uri-miss", "0"), ("hit", "0")]

    @pytest.mark.asyncio
    async def test_caches_behind_it_have_to_ask(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                answers = [await node.get(f"{THING}1") for _ in range(2)]
                assert [one.headers["cache-control"] for one in answers] == ["public, max-age=0, must-revalidate"] * 2
                again = await node.get(f"{THING}1", If_None_Match=answers[0].headers["etag"])
                assert (again.status, again.body) == (304, "")
                assert "s-maxage" not in again.headers["cache-control"]

    @pytest.mark.asyncio
    async def test_both_spellings_of_the_final_slash_are_one(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                assert await shown(node, "/api/mizan/ctx/things?item=1") == ("fwd=uri-miss", "0")
                assert await shown(node, f"{THING}1") == ("hit", "0")
                assert await shown(node, "/things/1") == ("fwd=uri-miss", "0")
                assert await shown(node, "/things/1/") == ("hit", "0")
                assert [target for _, target, _ in origin.requests] == [f"{THING}1", "/things/1/"]

    @pytest.mark.asyncio
    async def test_another_spelling_of_a_query_is_passed_on(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for query in ("?item=01", "?kind=a&item=1", "?item=%31", "?kind=a&item=1&"):
                    assert [await shown(node, f"/api/mizan/ctx/things/{query}") for _ in range(2)] in (
                        [("", "0")] * 2,
                        [("fwd=uri-miss", "0")] * 2,
                    )

    @pytest.mark.asyncio
    async def test_another_host_is_passed_on(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                assert await shown(node, f"{THING}1", Host="EXAMPLE.com:8080") == ("fwd=uri-miss", "0")
                assert await shown(node, f"{THING}1") == ("hit", "0")
                for host in ("example.org", "example.com.evil", "xexample.com"):
                    assert await shown(node, f"{THING}1", Host=host) == ("", "0")

    @pytest.mark.asyncio
    async def test_a_call_and_a_head_pass(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                answer = await node.post(f"{CALL}nothing/")
                assert (answer.status, answer.body) == (200, '{"result":1}')
                head = await request(node.public, "HEAD", f"{THING}1")
                assert (head.status, head.body) == (200, "")
                assert await shown(node, f"{THING}1") == ("hit", "0")


class TestPurging:
    @pytest.mark.asyncio
    async def test_purge_is_405_for_the_public(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                await shown(node, f"{THING}1")
                for url in ("/", f"{THING}1", "/host/a"):
                    answer = await request(node.public, "PURGE", url, {"X-Mizan-Invalidate": "*"})
                    assert (answer.status, "GET" in answer.headers["allow"]) == (405, True)
                assert await shown(node, f"{THING}1") == ("hit", "0")
                assert [method for method, _, _ in origin.requests] == ["GET"]

    @pytest.mark.asyncio
    async def test_the_purging_address_takes_nothing_but_purges(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for method in ("GET", "POST", "HEAD"):
                    answer = await request(node.purging, method, f"{THING}1")
                    assert (answer.status, answer.headers["allow"]) == (405, "PURGE")
                assert (await request(node.purging, "PURGE", "/")).status == 400
                assert (await request(node.purging, "PURGE", "/any/path?x", {"X-Mizan-Invalidate": ""})).status in (
                    200,
                    400,
                )
                assert origin.requests == []

    @pytest.mark.asyncio
    async def test_exactly_what_is_named_is_forgotten(self, edge: Edge) -> None:
        urls = [
            f"{THING}1",
            f"{THING}2",
            "/api/mizan/ctx/things/?item=1&kind=b%20c",
            "/things/1/",
            "/api/mizan/ctx/others/",
        ]
        entries = {
            "things;item=1": [0, 2, 3],
            "things/thing;item=1": [0, 2, 3],
            "things;item=1;kind=b%20c": [0, 2, 3],
            "things;kind=b%20c": [2, 3],
            "things;kind=a": [0, 1, 3],
            "things": [0, 1, 2, 3],
            "things;unheard=1": [0, 1, 2, 3],
            "others;item=1": [4],
            ", others ,, things;item=2\t": [1, 4],
            ", ".join(f"things;item={item}" for item in range(2, 34)): [1],
            # Not understood, or too much: all.
            "*": [0, 1, 2, 3, 4],
            "unheard": [0, 1, 2, 3, 4],
            "others, unheard;a=1": [0, 1, 2, 3, 4],
            "things;item": [0, 1, 2, 3, 4],
            "things;kind=b+c": [0, 1, 2, 3, 4],
            "things;kind=%62": [0, 1, 2, 3, 4],
            "things;kind=%c3%a9": [0, 1, 2, 3, 4],
            "others things": [0, 1, 2, 3, 4],
            ", ".join(f"things;item={item}" for item in range(100, 133)): [0, 1, 2, 3, 4],
        }
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for entry, forgotten in entries.items():
                    for url in urls:
                        await shown(node, url)
                    assert [(await node.get(url)).edge for url in urls] == ["hit"] * 5
                    assert (await node.purge(entry)).status == 200
                    missed = [number for number, url in enumerate(urls) if (await node.get(url)).edge != "hit"]
                    assert missed == forgotten, entry

    @pytest.mark.asyncio
    async def test_several_lines_of_the_header_are_one(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                await shown(node, f"{THING}1")
                await shown(node, "/api/mizan/ctx/others/")
                lines = {"X-Mizan-Invalidate": "things;item=1\r\nX-Mizan-Invalidate: others"}
                assert (await request(node.purging, "PURGE", "/", lines)).status == 200
                assert (await shown(node, f"{THING}1"))[0] == "fwd=uri-miss"
                assert (await shown(node, "/api/mizan/ctx/others/"))[0] == "fwd=uri-miss"

    @pytest.mark.asyncio
    async def test_an_answer_that_passes_through_purges(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for call, body in [
                    (f"{CALL}write/", '{"item": 1}'),
                    ("/things/1/", "{}"),
                    (f"{CALL}write_many/", '{"entries": [1, 5]}'),
                    (CALL, '{"fn": "write", "args": {"item": 1}}'),
                ]:
                    for url in (f"{THING}1", f"{THING}2", "/api/mizan/ctx/others/"):
                        await shown(node, url)
                    answer = await node.post(call, body)
                    assert answer.status == 200
                    assert "things;item=1" in answer.headers["x-mizan-invalidate"]
                    assert await shown(node, f"{THING}1") == ("fwd=uri-miss", str(origin.versions[1]))
                    assert await shown(node, f"{THING}2") == ("hit", "0")
                    assert (await shown(node, "/api/mizan/ctx/others/"))[0] == "hit"

    @pytest.mark.asyncio
    async def test_two_nodes_that_the_origin_tells_are_fresh(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as one, edge(origin.manifest, origin.url) as two:
                for version in range(5):
                    assert [await shown(node, f"{THING}1") for node in (one, two)] == [
                        ("fwd=uri-miss", str(version))
                    ] * 2
                    assert [await shown(node, f"{THING}1") for node in (one, two)] == [("hit", str(version))] * 2
                    purged = await origin.change_past_edges(1)
                    assert [(await node.purge(purged)).status for node in (one, two)] == [200, 200]


class TestRaces:
    async def _raced(self, node: Node, origin: Origin) -> tuple[str, str]:
        """A purge while an answer from old data is under way to the edge, and the next read."""
        origin.held = asyncio.Event()
        slow = asyncio.create_task(node.get(f"{THING}1"))
        await origin.reached.wait()
        purged = await origin.change_past_edges(1)
        assert (await node.purge(purged)).status == 200
        origin.held.set()
        assert version_of((await slow).body) == "0"
        origin.held = None
        return await shown(node, f"{THING}1")

    @pytest.mark.asyncio
    async def test_a_slow_old_answer_is_not_found_after_a_purge(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                assert await self._raced(node, origin) == ("fwd=uri-miss", "1")
                assert await shown(node, f"{THING}1") == ("hit", "1")

    @pytest.mark.asyncio
    async def test_purging_alone_keeps_the_old_answer(self) -> None:
        """What the generation in the key is for: the same program without it, which bans instead, serves old data."""
        async with Origin().serving() as origin:
            with varnish_of(origin.manifest, origin.url) as node:
                text = (node.folder / "mizan.vcl").read_text()
            generation = [line for line in text.splitlines() if "hash_data(var.global_get(" in line]
            assert len(generation) == 2
            for line in generation:
                text = text.replace(line, "")
            text = text.replace("sub mizan_advance {", 'sub mizan_advance {\n    std.ban("obj.status == 200");')
            with varnish(text) as node:
                assert await shown(node, f"{THING}2") == ("fwd=uri-miss", "0")
                assert await shown(node, f"{THING}2") == ("hit", "0")
                assert await self._raced(node, origin) == ("hit", "0"), "stale"
                assert await shown(node, f"{THING}2") == ("fwd=uri-miss", "0"), "the ban itself works"

    @pytest.mark.asyncio
    async def test_no_read_is_stale_while_writes_go_on(self, edge: Edge) -> None:
        """Readers and writers at once, with answers that take their time; none sees less than was acknowledged."""
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                stale, hits = await contended(node, origin)
                assert stale == 0
                assert hits > 0


async def contended(node: Node, origin: Origin, *, reads: int = 150, writes: int = 30) -> tuple[int, int]:
    """Stale reads and hits of several readers while writes go through the edge and past it."""
    acknowledged = [0]
    stale = hits = 0
    gate = origin.held = asyncio.Event()

    async def read() -> None:
        nonlocal stale, hits
        for _ in range(reads):
            least = acknowledged[0]
            answer = await node.get(f"{THING}1")
            hits += answer.edge == "hit"
            stale += int(version_of(answer.body)) < least

    async def write() -> None:
        for number in range(writes):
            if number % 2:
                answer = await node.post(f"{CALL}write/", '{"item": 1}')
                assert answer.status == 200
            else:
                purged = await origin.change_past_edges(1)
                assert (await node.purge(purged)).status == 200
            acknowledged[0] = origin.versions[1]

    async def let_through() -> None:
        """Answers arrive in bunches, some turns of the loop after they were made."""
        while True:
            await asyncio.sleep(0.003)
            origin.held, passing = asyncio.Event(), origin.held
            if passing is not None:
                passing.set()

    letting = asyncio.create_task(let_through())
    await asyncio.gather(*(read() for _ in range(6)), write())
    letting.cancel()
    gate.set()
    if origin.held is not None:
        origin.held.set()
    origin.held = None
    return stale, hits


def version_of(body: str) -> str:
    return body.rpartition(":")[2].rstrip("}")


class TestUnknownOutcomes:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("call", "forgotten"),
        [
            (f"{CALL}write/", ["things"]),
            (f"{CALL}write_other", ["others"]),
            ("/things/1", ["things"]),
            (CALL, ["others", "things"]),
            ("/api/mizan/call", ["others", "things"]),
            (f"{CALL}unheard/", ["others", "things"]),
            (f"{CALL}wr%69te_other/", ["others", "things"]),
            (f"{CALL}thing/", []),
            ("/host/a", []),
        ],
    )
    @pytest.mark.parametrize("instead", [b"", BAD_GATEWAY], ids=["cut", "502"])
    async def test_what_a_lost_call_affects_is_forgotten(
        self, edge: Edge, call: str, forgotten: list[str], instead: bytes
    ) -> None:
        async with Origin().serving() as origin, losing(origin.url, instead=instead) as url:
            with edge(origin.manifest, url) as node:
                urls = {"others": "/api/mizan/ctx/others/", "things": f"{THING}1"}
                for one in urls.values():
                    await shown(node, one)
                assert (await node.post(call)).status >= 500
                assert [name for name, one in urls.items() if (await node.get(one)).edge != "hit"] == forgotten

    @pytest.mark.asyncio
    async def test_a_refusal_of_the_origins_forgets_nothing(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                await shown(node, f"{THING}1")
                assert (await node.post(f"{CALL}write/", '{"item": "x"}')).status == 422
                problem = [(b"content-type", b"application/problem+json")]
                origin.change = lambda scope, status, headers: (
                    (503, problem) if scope["method"] == "POST" else (status, headers)
                )
                assert (await node.post(f"{CALL}nothing/")).status == 503
                assert await shown(node, f"{THING}1") == ("hit", "0")


class TestLives:
    @pytest.mark.asyncio
    async def test_another_rev_has_other_keys(self) -> None:
        async with Origin().serving() as old, Origin(rev=1).serving() as new:
            with varnish_of(old.manifest, old.url) as node:
                await shown(node, f"{THING}1")
                with varnish_of(new.manifest, new.url) as other:
                    text = (other.folder / "mizan.vcl").read_text()
                reload_varnish(node, text, "second")
                assert [await shown(node, f"{THING}1") for _ in range(2)] == [("fwd=uri-miss", "1000"), ("hit", "1000")]
            with nginx_of(old.manifest, old.url) as node:
                await shown(node, f"{THING}1")
                reload_nginx(node, nginx_program(new.manifest, new.url, node.folder))
                while (found := await shown(node, f"{THING}1"))[1] == "0":  # workers of before end by and by
                    assert found[0] == "hit"
                assert found == ("fwd=uri-miss", "1000")

    @pytest.mark.asyncio
    async def test_a_reload_keeps_generations_and_answers(self) -> None:
        async with Origin().serving() as origin:
            with varnish_of(origin.manifest, origin.url) as node:
                await shown(node, f"{THING}1")
                await node.purge(await origin.change_past_edges(1))
                await shown(node, f"{THING}1")
                reload_varnish(node, (node.folder / "mizan.vcl").read_text(), "second")
                assert await shown(node, f"{THING}1") == ("hit", "1")

    @pytest.mark.asyncio
    async def test_a_restart_finds_nothing_of_before(self) -> None:
        """nginx keeps its files over a restart, and forgets its generations."""
        async with Origin().serving() as origin:
            with folder() as here:
                text = nginx_program(origin.manifest, origin.url, here)
                with nginx_in(here, text) as node:
                    await shown(node, f"{THING}1")
                    assert await shown(node, f"{THING}1") == ("hit", "0")
                kept = [one for one in (here / "cache").rglob("*") if one.is_file()]
                await origin.change_past_edges(1)
                with nginx_in(here, text) as node:
                    assert await shown(node, f"{THING}1") == ("fwd=uri-miss", "1")
                assert len(kept) == 1
                assert kept[0].exists()

    @pytest.mark.asyncio
    async def test_a_write_of_a_client_that_goes_away_is_heard(self, edge: Edge) -> None:
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                await shown(node, f"{THING}1")
                assert await shown(node, f"{THING}1") == ("hit", "0")
                origin.awaited = asyncio.Event()
                _, writer = await asyncio.open_unix_connection(node.public)
                writer.write(b"POST /things/1/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n")
                await origin.reached.wait()
                writer.close()
                await writer.wait_closed()
                assert await shown(node, f"{THING}1") == ("hit", "0")
                origin.awaited.set()
                while await shown(node, f"{THING}1") != ("hit", "1"):  # the edge hears of it by and by
                    await asyncio.sleep(0.01)

    @pytest.mark.asyncio
    async def test_long_urls_and_headers_are_served_and_fresh(self, edge: Edge) -> None:
        """Near the limits of what an edge takes: a program that runs out of memory must not forget a generation."""
        async with Origin().serving() as origin:
            with edge(origin.manifest, origin.url) as node:
                for length in (900, 990, 1500, 6000):
                    url = f"{THING}1&kind={'k' * length}"
                    for size in (0, 3000, 7000):
                        fillers = {f"X-Filler-{number}": "f" * size for number in range(4 if size < 7000 else 3)}
                        for _ in range(2):
                            answer = await request(node.public, "GET", url, fillers)
                            assert answer.status in (200, 400, 414, 431)
                            if answer.status == 200:
                                assert version_of(answer.body) == str(origin.versions.get(1, 0))
                        assert (await node.post(f"{CALL}write/", '{"item": 1}')).status == 200
