"""The example's Worker in workerd, in front of a real origin: what it keeps, and how it learns what is stale."""

import asyncio
from pathlib import Path

import pytest

from mizan_asgi.edge import Nodes
from tests.edge.lossy import BAD_GATEWAY, losing, relaying
from tests.edge.origins import Origin
from tests.edge.pages.shop import Shop
from tests.edge.worker.running import SECRET, Worker, worker_of

pytestmark = pytest.mark.timeout(60)

THING = "/api/mizan/ctx/things/?item="
CALL = "/api/mizan/call/"
URLS = (f"{THING}1", "/things/1/")


async def version(worker: Worker, target: str) -> str:
    return (await worker.get(target)).body.rpartition(":")[2].rstrip("}")


@pytest.mark.asyncio
async def test_what_is_for_everyone_is_kept_until_a_mutation(tmp_path: Path) -> None:
    """Through the Worker, and past it by a PURGE."""
    async with Origin().serving() as origin, worker_of(origin.manifest, origin.url, tmp_path) as worker:
        for url in URLS:
            assert (await worker.get(url)).edge == "fwd=uri-miss"
            kept = await worker.kept(url)
            assert kept.headers["cache-control"] == "public, max-age=0, must-revalidate"
            assert int(kept.headers["age"]) < 60
            known = await worker.get(url, If_None_Match=kept.headers["etag"])
            assert (known.status, known.body, known.edge) == (304, "", "hit")
            head = await worker.ask("HEAD", url)
            assert (head.status, head.body, head.edge) == (200, "", "hit")
        await worker.kept(f"{THING}2")
        answer = await worker.post(f"{CALL}write/", '{"item": 1}')
        assert "things;item=1" in answer.headers["x-mizan-invalidate"]
        assert [await version(worker, url) for url in URLS] == ["1", "1"]
        assert (await worker.get(f"{THING}2")).edge == "hit"
        purged = await origin.change_past_edges(1)
        await worker.kept(URLS[0])
        assert await version(worker, URLS[0]) == "1", "the Worker has not been told"
        assert (await worker.purge(purged)).status == 200
        assert [await version(worker, url) for url in URLS] == ["2", "2"]
        assert (await worker.purge("*")).status == 200
        assert (await worker.get(f"{THING}2")).edge == "fwd=uri-miss"


@pytest.mark.asyncio
async def test_purges_need_the_secret(tmp_path: Path) -> None:
    async with Origin().serving() as origin, worker_of(origin.manifest, origin.url, tmp_path) as worker:
        await worker.kept(URLS[0])
        for refused in (
            await worker.purge("*", "wrong"),
            await worker.purge("*", "secretsecret"),
            await worker.ask("PURGE", "/"),
        ):
            assert refused.status == 405
            assert "PURGE" not in refused.headers["allow"]
        assert (await worker.ask("PURGE", "/", Authorization=f"Bearer {SECRET}")).status == 400
        assert (await worker.get(URLS[0])).edge == "hit"


@pytest.mark.asyncio
async def test_no_identity_gets_into_what_is_kept(tmp_path: Path) -> None:
    who = {"Cookie": "session=1", "Authorization": "Basic x", "X_Mizan_Token": "t", "X_Forwarded_Host": "evil"}
    async with Origin().serving() as origin, worker_of(origin.manifest, origin.url, tmp_path) as worker:
        assert (await worker.get(URLS[0], **who)).edge == "fwd=uri-miss"
        [(_, _, public)] = origin.requests
        assert public.keys().isdisjoint({"cookie", "authorization", "x-mizan-token", "x-forwarded-host"})
        assert (await worker.get("/host/me", **who)).body == "session=1 Basic x"
        for _ in range(2):
            private = await worker.get("/api/mizan/ctx/mine/?item=1", **who)
            assert (private.status, private.edge) == (401, "")
        origin.change = lambda _scope, status, headers: (status, [*headers, (b"set-cookie", b"a=b")])
        assert [(await worker.get(f"{THING}7")).edge for _ in range(3)] == ["fwd=uri-miss"] * 3


@pytest.mark.asyncio
async def test_an_old_answer_under_way_is_not_served_later(tmp_path: Path) -> None:
    async with Origin().serving() as origin, worker_of(origin.manifest, origin.url, tmp_path) as worker:
        origin.held = asyncio.Event()
        slow = asyncio.create_task(worker.get(URLS[0]))
        await origin.reached.wait()
        assert (await worker.purge(await origin.change_past_edges(1))).status == 200
        origin.held.set()
        assert (await slow).body.endswith(":0}")
        origin.held = None
        for _ in range(20):
            assert await version(worker, URLS[0]) == "1"
        assert (await worker.kept(URLS[0])).body.endswith(":1}")


@pytest.mark.asyncio
@pytest.mark.parametrize("instead", [b"", BAD_GATEWAY], ids=["cut", "502"])
async def test_what_a_lost_call_affects_is_forgotten(tmp_path: Path, instead: bytes) -> None:
    async with (
        Origin().serving() as origin,
        losing(origin.url, instead=instead) as url,
        worker_of(origin.manifest, url, tmp_path) as worker,
    ):
        for target in (URLS[0], "/api/mizan/ctx/others/"):
            await worker.kept(target)
        assert (await worker.post(f"{CALL}write/", '{"item": 1}')).status == 502
        assert await version(worker, URLS[0]) == "1"
        assert (await worker.get("/api/mizan/ctx/others/")).edge == "hit"


@pytest.mark.asyncio
async def test_the_origin_tells_it_and_purged_pages_are_fetched_again(tmp_path: Path) -> None:
    there: list[Path | str] = []
    told = asyncio.Event()
    async with relaying(there, 0, told) as public, relaying(there, 1) as behind:
        shop = Shop(Nodes(public, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30))
        async with worker_of(shop.manifest, behind, tmp_path, refetch=5) as worker:
            there.append(worker.url)
            async with shop.serving():
                there.append(shop.url)
                await told.wait()
                while shop.made["/"] < 1:  # forgotten at the start, and named by its context
                    await asyncio.sleep(0.01)
                await shop.mizan.engine.run("set_price_in", {"number": 5, "currency": "usd", "value": 9})
                while not (shop.made["/product/5/"] and shop.made["/"] > 1):
                    await asyncio.sleep(0.01)
                for target, text in (("/product/5/", "product 5 for 9"), ("/", "all for 9")):
                    assert (await worker.kept(target)).body == f"<h1>{text}</h1>"
                assert shop.made["/product/6/"] == 0
