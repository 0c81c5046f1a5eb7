"""Caches in front that nobody tells, that keep nothing, that anyone can purge; and purges that do not reach them."""

import uuid
from typing import Any

import pytest

from mizan_asgi.doctor.deployment import examined
from mizan_asgi.doctor.edges import InFrontOf
from mizan_asgi.edge import Cloudflare, HeaderOnly, Nodes
from mizan_core import RedisCache
from mizan_core.edge import varnish_text
from mizan_core.testing.redis_server import RedisServer
from tests.edge.vendors.apis import TOKEN, ZONE, CloudflareApi
from tests.http.servers import listening

from . import sites
from .sites import Examined, Front, Site, deployed, doctored, relayed

PUBLIC = 3  # places of a site
SHOWING = "proxy_cache kept; add_header X-Cache-Status $upstream_cache_status always;"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "settings",
    [
        "proxy_cache kept; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;",
        f"{SHOWING} proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;",
    ],
    ids=["silent", "showing"],
)
async def test_a_cache_that_nothing_tells_is_found(settings: str) -> None:
    found = await doctored(Site(), sites.nginx(settings))
    assert len(found.by_code["untold-edge"]) == PUBLIC, found.text
    assert ("X-Cache-Status: HIT" in found.text) is (SHOWING in settings)


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.varnish_by_mizan, sites.nginx_by_mizan], ids=["varnish", "nginx"])
async def test_a_node_without_an_application_that_lets_it_keep(front: Front) -> None:
    found = await doctored(Site(), front)
    assert found.codes - {"etag"} == {"unused-edge"}, found.text
    assert len(found.by_code["unused-edge"]) == PUBLIC


@pytest.mark.asyncio
async def test_settings_of_another_deployment_are_found() -> None:
    """The deployment has edge=, and the target that the doctor was given has none."""
    site = Site(edge=HeaderOnly())
    async with deployed(site) as url:
        found = Examined(await examined(Site().examination(url)))
    assert found.codes == {"lifetime"}, found.text


@pytest.mark.asyncio
@pytest.mark.parametrize("edge", [HeaderOnly(), Nodes("http://127.0.0.1:1")], ids=["header", "nodes"])
async def test_an_edge_that_is_not_there_is_found(edge: Any) -> None:
    found = await doctored(Site(edge=edge, shutdown=0.1))
    assert found.codes == {"no-edge"}, found.text
    assert "s-maxage=31536000" in found.text


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.stock_varnish, sites.nginx("proxy_cache kept;")], ids=["varnish", "nginx"])
async def test_a_stock_cache_under_edge_is_found(front: Front) -> None:
    """Both keep it for a year, as they are told, and act on no purge."""
    found = await doctored(Site(edge=HeaderOnly()), front)
    assert found.codes - {"etag"} == {"foreign-edge"}, found.text
    assert len(found.by_code["foreign-edge"]) == PUBLIC


@pytest.mark.asyncio
async def test_a_node_with_an_old_program_keeps_nothing() -> None:
    """Something behind it takes away what lets it keep."""
    site = Site(edge=HeaderOnly())
    inner = site.app

    async def without_lifetime(scope: Any, receive: Any, send: Any) -> None:
        async def changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, value.partition(b", s-maxage")[0] if name == b"cache-control" else value)
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        await inner(scope, receive, changed)

    site.app = without_lifetime
    found = await doctored(site, sites.varnish_by_mizan)
    assert found.codes == {"keeps-nothing"}, found.text


@pytest.mark.asyncio
async def test_a_vendor_is_believed() -> None:
    """Its cache passes `s-maxage` on, and shows what it does in a header of its own."""
    async with listening(CloudflareApi().app) as (host, port):
        site = Site(edge=Cloudflare(ZONE, TOKEN, api=f"http://{host}:{port}"))
        found = await doctored(site, sites.stock_varnish, told=InFrontOf(has_edge=True, nodes=False))
    assert found.codes == set(), found.text


@pytest.mark.asyncio
async def test_a_graph_says_nothing_of_edges() -> None:
    found = await doctored(Site(edge=HeaderOnly()), sites.stock_varnish, told=None)
    assert found.codes == set(), found.text


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.varnish_by_mizan, sites.nginx_by_mizan], ids=["varnish", "nginx"])
async def test_the_address_of_purges_is_not_for_the_public(front: Front) -> None:
    site = Site(edge=HeaderOnly())
    async with deployed(site) as origin:
        with front(site, origin) as node:
            async with relayed(node.purging) as url:
                found = Examined(await examined(site.examination(url)))
    assert found.codes == {"purge-open"}, found.text


@pytest.mark.asyncio
async def test_a_cache_that_the_public_can_purge_is_found() -> None:
    found = await doctored(Site(), sites.nginx("if ($request_method = PURGE) { return 200; }"))
    assert found.codes == {"purge-open"}, found.text


async def purging(site: Site, front: Front, *, tells: Any = None) -> Examined:
    """A doctor that purges at the origin, with the engine of a process of its own."""
    async with deployed(site) as origin:
        with front(site, origin) as node:
            async with relayed(node.public) as url, relayed(node.purging) as listener:
                own = tells(listener)
                async with own.mizan.engine:

                    async def purge(place: Any) -> None:
                        await own.mizan.engine.invalidate(place.context, **place.params)

                    return Examined(await examined(site.examination(url, purge=purge, patience=0.5)))


def shared(redis: RedisServer, prefix: str, edge: Any) -> Site:
    return Site(edge=edge, cache=RedisCache(redis.url, prefix=prefix), cache_secret="s" * 32)


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.varnish_by_mizan, sites.nginx_by_mizan], ids=["varnish", "nginx"])
async def test_a_node_that_is_told_forgets(front: Front, redis: RedisServer) -> None:
    prefix = uuid.uuid4().hex
    site = shared(redis, prefix, HeaderOnly())
    found = await purging(site, front, tells=lambda listener: shared(redis, prefix, Nodes(listener)))
    assert found.codes == set(), found.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "front",
    [sites.varnish_by_mizan, sites.stock_varnish, sites.nginx("proxy_cache kept;")],
    ids=["by-varnish", "varnish", "silent-nginx"],
)
async def test_a_cache_that_is_not_told_goes_on(front: Front, redis: RedisServer) -> None:
    prefix = uuid.uuid4().hex
    site = shared(redis, prefix, HeaderOnly())
    found = await purging(site, front, tells=lambda _: shared(redis, prefix, HeaderOnly()))
    assert len(found.by_code["not-forgotten"]) == PUBLIC, found.text


@pytest.mark.asyncio
async def test_nothing_is_purged_where_nothing_is_kept(redis: RedisServer) -> None:
    prefix = uuid.uuid4().hex
    site = shared(redis, prefix, ())
    found = await purging(site, sites.stock_varnish, tells=lambda _: shared(redis, prefix, ()))
    assert found.codes == set(), found.text
    assert "nothing was purged" in found.text


def under_another_name(site: Site, origin: str) -> Any:
    """A node that shows its hits in a name of its own."""
    manifest = sites.build_manifest(site.mizan.graph)
    return sites.nodes.varnish(varnish_text(manifest, origin=origin).replace('"mizan-edge; ', '"other; '))


@pytest.mark.asyncio
@pytest.mark.parametrize("is_told", [True, False])
async def test_a_purge_proves_a_cache_that_is_unknown(redis: RedisServer, is_told: bool) -> None:
    prefix = uuid.uuid4().hex
    site = shared(redis, prefix, HeaderOnly())
    edge = Nodes if is_told else lambda _: HeaderOnly()
    found = await purging(site, under_another_name, tells=lambda listener: shared(redis, prefix, edge(listener)))
    assert found.codes == (set() if is_told else {"foreign-edge", "not-forgotten"}), found.text
