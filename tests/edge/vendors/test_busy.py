"""Vendors that are busy or far behind: what a mutation waits for, what is sent once they take purges again."""

import asyncio
import time

import pytest
from botocore.credentials import Credentials
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mizan_asgi import Mizan
from mizan_asgi.edge import CloudFront
from mizan_core import Context, Invalidation, build, build_manifest, client
from mizan_core.edge.surfaces import read_manifest
from mizan_core.telling.queue import EdgeQueue
from tests.edge.vendors.apis import KEY_ID, SECRET_KEY, CloudflareApi, CloudFrontApi, VendorApi
from tests.edge.vendors.test_vendors import TABLES, VENDORS, Making, cloudflare, told, users
from tests.http.servers import listening

User, List = Context("user"), Context("list", scopes=[("owner",)])


@client(context=User)
async def profile(user_id: int) -> str:
    return f"user {user_id}"


@client(affects=User)
async def rename(user_id: int) -> None: ...


@client(context=List)
async def entries(owner: int) -> list[int]:
    return [owner]


@client(context=List, route="/lists/")
async def lists() -> HTMLResponse:
    """Every purge of the context names this page too, by a tag of its own."""
    return HTMLResponse("")


@pytest.mark.parametrize(("kind", "make", "batch"), VENDORS)
class TestBusyVendors:
    def test_far_behind_whole_contexts_are_purged_in_few_requests(
        self, kind: type[VendorApi], make: Making, batch: int
    ) -> None:
        async def story() -> None:
            api = kind()
            api.answers = [Response(status_code=503, headers={"retry-after": "0"})]
            async with told(api, make) as edge:
                queue = EdgeQueue(edge)
                await asyncio.gather(
                    *(queue.add(users(*range(start, start + 50))) for start in range(0, edge.pending + 500, 50))
                )
            assert api.refused == []
            assert all(len(tags) <= batch for tags in api.purged)
            assert ["user"] in api.purged
            assert len(api.times) < 50

        asyncio.run(story())

    def test_a_purge_of_several_requests_passes_a_budget_of_one(
        self, kind: type[VendorApi], make: Making, batch: int
    ) -> None:
        """Taken one by one, the second request would never find a token, and the first be sent again and again."""

        async def story() -> None:
            api = kind()
            async with listening(api.app) as (host, port):
                front = make(f"http://{host}:{port}", rate=20.0, burst=1)
                (edge,) = front.edges(read_manifest(build_manifest(build([entries, lists]))))
                queue = EdgeQueue(edge)
                async with asyncio.timeout(20):
                    await queue.add([Invalidation("list", {"owner": str(number)}) for number in range(batch)])
                    await queue.add([Invalidation("list", {"owner": "0"})])
                await edge.aclose()
            assert [len(tags) for tags in api.purged] == [batch, 1, 2]

        asyncio.run(story())


def test_a_mutation_does_not_wait_for_a_busy_vendor() -> None:
    async def story() -> None:
        api = CloudflareApi()
        async with listening(api.app) as (host, port):
            front = cloudflare(f"http://{host}:{port}", again=None)
            async with Mizan(build([profile, rename]), edge=front).engine as engine:
                while engine.health().owed_to_edges:
                    await asyncio.sleep(0.01)
                api.answers = [Response(status_code=429, headers={"retry-after": "2"})]
                began = time.monotonic()
                await engine.call("rename", {"user_id": 5})
                took = time.monotonic() - began
                health = engine.health()
                assert (health.owed_to_edges, len(health.failing_edges)) == (1, 1)
                assert 0.95 < took < 1.9, "a call waits for a second, and not for the vendor"
                while engine.health().owed_to_edges:
                    await asyncio.sleep(0.01)
                assert time.monotonic() - began > 1.95
        assert api.purged[1:] == [["user;user_id=5"]]

    asyncio.run(story())


def test_temporary_credentials_send_their_token() -> None:
    """A role's: docs.aws.amazon.com, "Using temporary credentials with AWS resources"."""

    class Api(CloudFrontApi):
        def _create(self, request: Request, body: bytes) -> Response:
            assert request.headers["x-amz-security-token"] == "of a role"
            assert "x-amz-security-token" in request.headers["authorization"]
            return super()._create(request, body)

    async def story() -> None:
        api = Api()
        async with listening(api.app) as (host, port):
            credentials = Credentials(KEY_ID, SECRET_KEY, "of a role")
            (edge,) = CloudFront("EDFDVBD6EXAMPLE", credentials, api=f"http://{host}:{port}").edges(TABLES)
            await edge.purge(users(5))
            await edge.aclose()
        assert api.purged == [["user;user_id=5"]]

    asyncio.run(story())
