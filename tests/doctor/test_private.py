"""Answers for one person: given by a cache, without what keeps caches out, or to people taken for nobody."""

import pytest

from mizan_asgi.edge import HeaderOnly

from . import sites
from .sites import IGNORING, Examined, Front, Site, doctored, token_of

BASE = "/api/mizan/ctx"
PRIVATE = {"inbox", "drafts", "greeting"}


def contexts(found: Examined, code: str) -> set[str]:
    return {url.rstrip("/").rpartition("/")[2] for url in found.by_code.get(code, ())}


def secrets_of(found: Examined) -> list[str]:
    """What must not be printed, and is."""
    return [one for one in (token_of(7), token_of(8), "to 7", "to 8", "of 7", "hello") if one in found.text]


@pytest.mark.asyncio
@pytest.mark.parametrize("edge", [(), HeaderOnly()], ids=["no-edge", "edge"])
async def test_an_edge_that_ignores_everything_is_found(edge: object) -> None:
    found = await doctored(Site(edge=edge), sites.nginx(f"{IGNORING} Vary;"))
    assert contexts(found, "private-kept") == PRIVATE, found.text
    assert found.by_code["no-store-kept"], found.text
    assert "asked with a token that nobody issued: 200" in found.text
    assert secrets_of(found) == []
    assert found.report.exit_code == 1


@pytest.mark.asyncio
async def test_an_edge_that_keeps_by_token_is_found() -> None:
    """It honours `Vary`, so each person has a copy, which nothing purges. What is never stored cannot show that."""
    found = await doctored(Site(), sites.nginx(f"{IGNORING};"))
    assert contexts(found, "private-kept") == PRIVATE - {"drafts"}, found.text
    assert found.by_code["no-store-kept"]
    assert secrets_of(found) == []


@pytest.mark.asyncio
async def test_whose_answer_was_given_is_told() -> None:
    found = await doctored(Site(), sites.nginx(f"{IGNORING} Vary;"))
    (drafts,) = (one for one in found.report.findings if "/drafts/" in one.url and one.wrong.code == "private-kept")
    assert "asked as the 1st --as: the same answer" in drafts.evidence
    assert "asked as the 2nd --as: the same answer" in drafts.evidence
    assert "asked as nobody: the same answer" not in drafts.evidence, "nobody was refused before anyone was let in"


@pytest.mark.asyncio
async def test_a_kept_refusal_is_found() -> None:
    """Nobody asks first, and everyone is refused after that."""
    settings = "proxy_cache kept; proxy_cache_valid any 1m; proxy_ignore_headers Cache-Control Vary;"
    found = await doctored(Site(), sites.nginx(settings))
    assert contexts(found, "private-kept") == PRIVATE, found.text
    assert "401, the answer to nobody" in found.text


@pytest.mark.asyncio
async def test_without_people_a_cache_that_keeps_is_found() -> None:
    found = await doctored(Site(), sites.nginx(f"{IGNORING} Vary;"), people=[])
    assert contexts(found, "private-kept") == {"greeting"}, "nobody gets it, and after that an invalid token"
    assert found.by_code["no-store-kept"]
    assert "give --as TOKEN twice" in found.text


@pytest.mark.asyncio
async def test_a_replaced_cache_control_is_found() -> None:
    found = await doctored(Site(), sites.nginx("expires 1h;"))
    assert contexts(found, "private-control") == PRIVATE, found.text
    assert "Cache-Control: max-age=3600" in found.text


@pytest.mark.asyncio
async def test_a_field_for_caches_on_private_answers_is_found() -> None:
    found = await doctored(Site(), sites.nginx("add_header CDN-Cache-Control 'max-age=60';"))
    assert contexts(found, "private-control") == PRIVATE, found.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "people"),
    [
        ('proxy_set_header X-Mizan-Token "";', [token_of(7)]),
        ('proxy_set_header Authorization "";', [f"Authorization: Bearer {token_of(7)}"]),
    ],
)
async def test_a_header_that_is_lost_is_found(settings: str, people: list[str]) -> None:
    found = await doctored(Site(), sites.nginx(settings), people=people)
    assert found.codes == {"identity-lost"}, found.text
    assert secrets_of(found) == []


@pytest.mark.asyncio
async def test_a_header_that_is_lost_at_one_path_is_found() -> None:
    settings = f'if ($uri ~ inbox) {{ set $kept ""; }} if ($uri !~ inbox) {{ set $kept $http_x_mizan_token; }} {TOKEN}'
    found = await doctored(Site(), sites.nginx(settings))
    assert contexts(found, "identity-lost") == {"inbox"}, found.text
    assert found.codes == {"identity-lost"}


TOKEN = "proxy_set_header X-Mizan-Token $kept;"


@pytest.mark.asyncio
async def test_a_token_that_is_refused_could_not_be_asked_with() -> None:
    found = await doctored(Site(), people=["not-a-token", token_of(8)])
    assert found.codes == set(), found.text
    assert "as the 1st --as: it is refused: The token is not valid." in found.text
    assert found.report.exit_code == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.varnish_by_mizan, sites.nginx_by_mizan], ids=["varnish", "nginx"])
async def test_one_person_is_enough_to_ask(front: Front) -> None:
    found = await doctored(Site(edge=HeaderOnly()), front, people=[token_of(7)])
    assert found.codes == set(), found.text
    assert "fewer than two people" in found.text
    assert found.report.exit_code == 0
