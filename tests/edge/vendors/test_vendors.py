"""Contracts with vendors' purge APIs and with nodes: batches, budgets, 429, 503, signatures, and what errors say."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.credentials import Credentials
from starlette.responses import JSONResponse, PlainTextResponse, Response

from mizan_asgi.edge import Cloudflare, CloudFront, Fastly, HeaderOnly, Nodes
from mizan_asgi.edge.front import Front, InFront, joined
from mizan_asgi.edge.requests import EdgeError, Requests, TokenBucket
from mizan_core import Context, DeclarationError, Invalidation, build, build_manifest, client
from mizan_core.edge.profiles import CACHE_TAG, SURROGATE_KEY
from mizan_core.edge.surfaces import EdgeMap, read_manifest
from mizan_core.telling.edge import Edge, EdgeBusy
from tests.edge.vendors.apis import (
    KEY_ID,
    SECRET_KEY,
    TOKEN,
    ZONE,
    CloudflareApi,
    CloudFrontApi,
    FastlyApi,
    NodeApi,
    VendorApi,
)
from tests.http.servers import listening

User = Context("user", scopes=[("user_id",)])


@client(context=User)
async def profile(user_id: int) -> str:
    return f"user {user_id}"


TABLES: EdgeMap = read_manifest(build_manifest(build([profile])))


def users(*numbers: int) -> list[Invalidation]:
    return [Invalidation("user", {"user_id": str(number)}) for number in numbers]


def cloudflare(api: str, **options: Any) -> InFront:
    return Cloudflare(ZONE, TOKEN, api=api, **options)


def fastly(api: str, **options: Any) -> InFront:
    return Fastly("SU1Z0isxPaozGVKXdv0eY", TOKEN, api=api, **options)


def cloudfront(api: str, **options: Any) -> InFront:
    return CloudFront("EDFDVBD6EXAMPLE", Credentials(KEY_ID, SECRET_KEY), api=api, **options)


VENDORS = [
    pytest.param(CloudflareApi, cloudflare, 100, id="cloudflare"),
    pytest.param(FastlyApi, fastly, 256, id="fastly"),
    pytest.param(CloudFrontApi, cloudfront, 100, id="cloudfront"),
]
Making = Callable[..., InFront]


@asynccontextmanager
async def told(api: VendorApi, make: Making, **options: Any) -> AsyncIterator[Edge]:
    async with listening(api.app) as (host, port):
        (edge,) = make(f"http://{host}:{port}", **options).edges(TABLES)
        try:
            yield edge
        finally:
            await edge.aclose()


@pytest.mark.parametrize(("kind", "make", "batch"), VENDORS)
class TestVendors:
    def test_a_purge_names_the_tags_of_its_scopes(self, kind: type[VendorApi], make: Making, batch: int) -> None:
        async def story() -> None:
            api = kind()
            async with told(api, make) as edge:
                await edge.purge([*users(5, 6), Invalidation("user")])
            assert api.purged == [["user;user_id=5", "user;user_id=6", "user"]]
            assert edge.batch == batch

        asyncio.run(story())

    def test_a_full_batch_is_one_request(self, kind: type[VendorApi], make: Making, batch: int) -> None:
        async def story() -> None:
            api = kind()
            async with told(api, make) as edge:
                await edge.purge(users(*range(batch)))
                await edge.purge(users(*range(batch + 1)))
            assert [len(tags) for tags in api.purged] == [batch, batch, 1]
            assert api.refused == []

        asyncio.run(story())

    def test_a_long_or_forbidden_tag_is_hashed(self, kind: type[VendorApi], make: Making, batch: int) -> None:
        async def story() -> None:
            api = kind()
            async with told(api, make) as edge:
                assert edge.batch == batch
                await edge.purge([Invalidation("user", {"user_id": "ü, " * 500})])
            ((tag,),) = api.purged
            assert len(tag) == 14
            assert tag.isalpha()

        asyncio.run(story())

    def test_a_budget_holds_requests_back_and_says_how_long(
        self, kind: type[VendorApi], make: Making, batch: int
    ) -> None:
        async def story() -> None:
            api = kind()
            async with told(api, make, rate=0.5, burst=2) as edge:
                assert edge.batch == batch
                await edge.purge(users(1))
                await edge.purge(users(2))
                with pytest.raises(EdgeBusy) as busy:
                    await edge.purge(users(3))
            assert 0 < busy.value.after <= 2
            assert len(api.purged) == 2

        asyncio.run(story())

    @pytest.mark.parametrize(
        ("answer", "after"),
        [
            (Response(status_code=429, headers={"retry-after": "7"}), 7.0),
            (Response(status_code=503, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.0),
            (Response(status_code=429), 1.0),
            (Response(status_code=503, headers={"retry-after": "soon"}), 1.0),
        ],
        ids=["seconds", "date", "nothing", "garbage"],
    )
    def test_a_busy_vendor_is_asked_later(
        self, kind: type[VendorApi], make: Making, batch: int, answer: Response, after: float
    ) -> None:
        async def story() -> None:
            api = kind()
            api.answers = [answer]
            async with told(api, make) as edge:
                assert edge.batch == batch
                with pytest.raises(EdgeBusy) as busy:
                    await edge.purge(users(5))
                assert busy.value.after == after
                await edge.purge(users(5))
            assert api.purged == [["user;user_id=5"]]

        asyncio.run(story())

    @pytest.mark.parametrize("status", [302, 400, 403, 500, 502])
    def test_an_error_is_no_purge_and_tells_no_secret(
        self, kind: type[VendorApi], make: Making, batch: int, status: int
    ) -> None:
        async def story() -> None:
            api = kind()
            api.answers = [PlainTextResponse("what was wrong " * 100, status, headers={"location": "/"})]
            async with told(api, make) as edge:
                assert edge.batch == batch
                with pytest.raises(EdgeError) as error:
                    await edge.purge(users(5))
            assert str(status) in str(error.value)
            assert "what was wrong" in str(error.value)
            assert len(str(error.value)) < 300
            assert TOKEN not in f"{error.value!r} {edge!r} {edge.name}"

        asyncio.run(story())

    def test_settings_show_no_secret(self, kind: type[VendorApi], make: Making, batch: int) -> None:
        shown = repr(make("http://127.0.0.1:1"))
        assert kind.__name__.removesuffix("Api") in shown
        assert TOKEN not in shown
        assert SECRET_KEY not in shown
        assert batch


def test_cloudflare_that_does_not_say_success_has_not_purged() -> None:
    async def story() -> None:
        api = CloudflareApi()
        api.answers = [JSONResponse({"success": False, "errors": [{"code": 1000}]})]
        async with told(api, cloudflare) as edge:
            with pytest.raises(EdgeError, match="success"):
                await edge.purge(users(5))

    asyncio.run(story())


@pytest.mark.parametrize("code", ["TooManyInvalidationsInProgress", "Throttling"])
def test_cloudfront_that_is_at_its_limit_is_asked_later(code: str) -> None:
    async def story() -> None:
        api = CloudFrontApi()
        body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
        api.answers = [Response(body, 400, media_type="text/xml")]
        async with told(api, cloudfront) as edge:
            with pytest.raises(EdgeBusy):
                await edge.purge(users(5))

    asyncio.run(story())


def test_the_fake_of_cloudfront_refuses_another_signature() -> None:
    async def story() -> None:
        api = CloudFrontApi()
        async with listening(api.app) as (host, port):
            wrong = CloudFront("EDFDVBD6EXAMPLE", Credentials(KEY_ID, "wrong"), api=f"http://{host}:{port}")
            (edge,) = wrong.edges(TABLES)
            with pytest.raises(EdgeError, match="SignatureDoesNotMatch"):
                await edge.purge(users(5))
            await edge.aclose()

    asyncio.run(story())


def test_cloudfront_takes_credentials_as_programs_of_aws_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(settings: Callable[[str], CloudFront]) -> None:
        api = CloudFrontApi()
        async with listening(api.app) as (host, port):
            (edge,) = settings(f"http://{host}:{port}").edges(TABLES)
            await edge.purge(users(5))
            await edge.aclose()
        assert api.purged == [["user;user_id=5"]]

    asyncio.run(story(lambda api: CloudFront("EDFDVBD6EXAMPLE", lambda: Credentials(KEY_ID, SECRET_KEY), api=api)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    asyncio.run(story(lambda api: CloudFront("EDFDVBD6EXAMPLE", api=api)))


def test_cloudfront_without_credentials_says_so_at_start_up() -> None:
    with pytest.raises(DeclarationError, match="credentials"):
        CloudFront("EDFDVBD6EXAMPLE", lambda: None).edges(TABLES)


class TestNodes:
    def test_each_node_is_sent_what_is_stale(self) -> None:
        async def story() -> None:
            nodes = [NodeApi(), NodeApi()]
            async with listening(nodes[0].app) as first, listening(nodes[1].app) as second:
                front = Nodes(*(f"http://{host}:{port}/" for host, port in (first, second)))
                edges = front.edges(TABLES)
                assert [edge.name for edge in edges] == [f"http://127.0.0.1:{port}" for _, port in (first, second)]
                for edge in edges:
                    await edge.purge([*users(5), Invalidation("user", nulls=frozenset({"user_id"}))])
                    await edge.aclose()
            assert nodes[0].heard == nodes[1].heard == ["user"]

        asyncio.run(story())

    def test_a_node_that_fails_has_not_forgotten(self) -> None:
        async def story() -> None:
            node = NodeApi()
            node.status = 500
            async with listening(node.app) as (host, port):
                (edge,) = Nodes(f"http://{host}:{port}").edges(TABLES)
                with pytest.raises(EdgeError):
                    await edge.purge(users(5))
                await edge.aclose()

        asyncio.run(story())

    def test_a_node_that_is_down_is_an_error(self) -> None:
        async def story() -> None:
            (edge,) = Nodes("http://127.0.0.1:1").edges(TABLES)
            with pytest.raises(Exception, match=r"connection|attempts"):
                await edge.purge(users(5))
            await edge.aclose()

        asyncio.run(story())

    @pytest.mark.parametrize(
        "url",
        [
            "varnish-1:8611",
            "ftp://varnish-1",
            "http://",
            "http://[",
            "http://a:0",
            "http://a/b",
            "http://a?b",
            "",
            "http://user:password@a",
        ],
    )
    def test_what_is_no_address_is_refused(self, url: str) -> None:
        with pytest.raises(DeclarationError, match="address of a node"):
            Nodes(url)

    def test_no_node_at_all_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="names no node"):
            Nodes()


class TestSettings:
    @pytest.mark.parametrize("lifetime", [0, -1, 1.5, True, None])
    def test_a_lifetime_is_a_whole_number_of_seconds(self, lifetime: Any) -> None:
        with pytest.raises(DeclarationError, match="lifetime"):
            HeaderOnly(lifetime)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Nodes("http://a", timeout=0),
            lambda: Cloudflare(ZONE, TOKEN, again=-1),
            lambda: Fastly("a", TOKEN, timeout=float("inf")),
            lambda: CloudFront("a", again=0),
            lambda: Cloudflare("", TOKEN),
            lambda: Fastly("a", ""),
            lambda: CloudFront(""),
            lambda: TokenBucket(0, 1),
            lambda: TokenBucket(1, 0),
            lambda: HeaderOnly(targeted="Surrogate-Control"),
        ],
    )
    def test_what_cannot_work_is_refused(self, make: Callable[[], object]) -> None:
        with pytest.raises(DeclarationError):
            make()

    def test_several_caches_share_tags_and_the_shortest_lifetime(self) -> None:
        fronts = [HeaderOnly(60).front, Cloudflare(ZONE, TOKEN).front, Fastly("a", TOKEN, lifetime=90).front]
        assert joined(fronts) == Front(60, (CACHE_TAG, SURROGATE_KEY))
        assert joined([]) is None

    def test_caches_that_read_different_fields_have_lifetimes_each(self) -> None:
        targeted = [
            HeaderOnly(seconds, targeted=field).front
            for field, seconds in (("A-Cache-Control", 5), ("B-Cache-Control", 7))
        ]
        again = HeaderOnly(6, targeted="b-cache-control").front
        assert joined([*targeted, again]) == Front(5, targeted="a-cache-control", further=(("b-cache-control", 6),))
        mixed = joined([*targeted, HeaderOnly(90).front])
        assert mixed == Front(90, further=(("a-cache-control", 5), ("b-cache-control", 7)))

    def test_a_header_alone_tells_no_edge(self) -> None:
        assert HeaderOnly().edges(TABLES) == ()


class TestTheBudget:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    def test_it_fills_up_to_its_size_and_no_further(self, clock: list[float]) -> None:
        bucket = TokenBucket(rate=2.0, burst=3)
        for _ in range(3):
            bucket.take()
        with pytest.raises(EdgeBusy) as busy:
            bucket.take()
        assert busy.value.after == pytest.approx(0.5)
        clock[0] += 0.5
        bucket.take()
        clock[0] += 1_000
        for _ in range(3):
            bucket.take()
        with pytest.raises(EdgeBusy):
            bucket.take()


def test_a_client_is_made_anew_for_another_loop() -> None:
    node = NodeApi()
    requests = Requests(5.0)

    async def story() -> None:
        async with listening(node.app) as (host, port):
            headers = {"X-Mizan-Invalidate": "user"}
            await requests.send("PURGE", f"http://{host}:{port}/", headers=headers)
            await requests.aclose()
            await requests.aclose()

    asyncio.run(story())
    asyncio.run(story())
    assert node.heard == ["user", "user"]
