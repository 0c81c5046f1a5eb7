"""Right deployments: nothing is found, whatever is in front."""

import pytest

from mizan_asgi.edge import HeaderOnly

from . import sites
from .sites import Front, Site, doctored

RIGHT = [
    (None, ()),
    (sites.nginx(""), ()),
    (sites.stock_varnish, ()),
    (sites.varnish_by_mizan, HeaderOnly()),
    (sites.nginx_by_mizan, HeaderOnly()),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("front", "edge"), RIGHT, ids=["alone", "proxy", "varnish", "by-varnish", "by-nginx"])
async def test_nothing_is_found_in_a_right_deployment(front: Front | None, edge: object) -> None:
    site = Site(edge=edge)
    found = await doctored(site, front)
    assert found.codes == set(), found.text
    assert found.report.exit_code == 0
    assert found.report.notes == found.report.unasked == ()
    assert len(found.report.asked) == 6
    assert site.called == []


@pytest.mark.asyncio
async def test_a_cache_that_asks_each_time_may_lose_304() -> None:
    """nginx with `proxy_cache` keeps nothing that says `max-age=0`, and takes If-None-Match out of its requests."""
    found = await doctored(Site(), sites.nginx("proxy_cache kept;"))
    assert found.codes == {"etag"}, found.text
