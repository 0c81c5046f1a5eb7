"""The URLs that an invalidation names outright."""

from typing import Any

import pytest
from starlette.responses import HTMLResponse

from mizan_core import Context, Invalidation, build, build_manifest, decode_header
from mizan_core.edge import locate, read_manifest, tags_of_invalidations, tags_of_url, urls_of_invalidations
from mizan_core.protocol.invalidation import touches
from tests.declaring import reader
from tests.edge.graphs import RandomWorld

CTX = "/api/mizan/ctx/"


def page(name: str, context: Any, route: str, **inputs: Any) -> Any:
    return reader(name, context, HTMLResponse, options={"route": route}, **inputs)


Orders = Context("orders", scopes=[("customer_id", "day"), ("state",)])
EDGE = read_manifest(
    build_manifest(
        build(
            [
                reader("user_profile", "user", user_id=int, page=(int, 1)),
                page("user_page", "user", "/u/{user_id}/", user_id=int),
                reader("list_orders", Orders, customer_id=int, day=str, state=(str | None, None)),
                page("order_page", Orders, "/orders/{customer_id}/", customer_id=int),
                page("state_page", "states", "/state/{customer_id}", customer_id=int, state=(str, "open")),
                page("leaf_page", "tree", "/leaf/{leaf:path}", leaf=str),
                page("home", "tree", "/"),
                reader("tagged", "tags", tags=(list[str], [])),
                reader("inbox", "inbox", options={"auth": True}, user_id=int),
                page("hidden", "hidden", "/hidden/{x}/", x=str),
                reader("hiding", "hiding", HTMLResponse, options={"route": "/hidden/5/", "auth": True}),
                reader("sized", "sized", size=int | None, least=(int | None, None)),
            ]
        )
    )
)


def named(header: str) -> tuple[str, ...]:
    return urls_of_invalidations(EDGE, decode_header(header))


class TestUrls:
    def test_a_scope_names_bundles_and_pages_of_its_texts(self) -> None:
        assert named("user;user_id=5") == (f"{CTX}user/?user_id=5", "/u/5/")
        assert named("user/user_profile;user_id=5") == (f"{CTX}user/?user_id=5", "/u/5/")
        assert named("orders;customer_id=7;day=%C3%A9%20%2F") == (
            f"{CTX}orders/?customer_id=7&day=%C3%A9%20%2F",
            "/orders/7/",
        )

    def test_a_default_is_left_out_and_another_value_is_not(self) -> None:
        assert named("user;page=1;user_id=5") == (f"{CTX}user/?user_id=5", "/u/5/")
        assert named("user;page=2;user_id=5") == (f"{CTX}user/?page=2&user_id=5", "/u/5/")

    def test_a_page_of_other_defaults_is_not_named(self) -> None:
        """The page at this path is that of `state=open`."""
        assert named("states;customer_id=7") == ("/state/7",)
        assert named("states;customer_id=7;state=open") == ("/state/7",)
        assert named("states;customer_id=7;state=closed") == ()

    def test_a_scope_that_leaves_a_parameter_open_names_nothing(self) -> None:
        assert named("user") == ()
        assert named("user;page=2") == ()
        assert named("orders;day=x") == ()
        assert named("orders;state=x") == ()

    def test_pages_without_parameters_are_named_by_their_context(self) -> None:
        assert named("tree") == ("/",)
        assert named("tree;leaf=a%2Fb%20c") == ("/", "/leaf/a/b%20c")

    def test_a_null_is_left_out(self) -> None:
        assert named("sized") == (f"{CTX}sized/",)
        assert named("sized;size=3") == (f"{CTX}sized/?size=3",)
        nulls = Invalidation("sized", {"least": 2}, nulls=frozenset({"size"}))
        assert urls_of_invalidations(EDGE, [nulls]) == (f"{CTX}sized/?least=2",)

    def test_lists_private_and_unknown_urls_are_not_named(self) -> None:
        for header in ("tags", "tags;tags=%5B%5D", "inbox;user_id=5", "unheard;user_id=5", ""):
            assert named(header) == ()

    def test_a_text_that_no_path_has_is_not_named(self) -> None:
        assert named("user;user_id=") == (f"{CTX}user/?user_id=",)
        assert named("hidden;x=") == ()

    def test_a_path_where_another_page_may_answer_is_not_named(self) -> None:
        assert named("hidden;x=4") == ("/hidden/4/",)
        assert named("hidden;x=5") == ()

    def test_urls_are_named_once(self) -> None:
        assert named("user;user_id=5, user;page=1;user_id=5, user/user_profile;user_id=5") == (
            f"{CTX}user/?user_id=5",
            "/u/5/",
        )


@pytest.mark.parametrize("seed", range(60))
def test_what_is_named_is_kept_and_was_purged(seed: int) -> None:
    world = RandomWorld(seed)
    edge = read_manifest(build_manifest(world.graph))
    for _ in range(20):
        write = world.invalidation(world.random.choice(list(world.pools)))
        tags = set(tags_of_invalidations(edge, [write]))
        for url in urls_of_invalidations(edge, [write]):
            kept = locate(edge, url)
            assert kept is not None
            assert kept.url == url
            assert touches(write, write.context, kept.matches[0].texts)
            assert not tags.isdisjoint(tags_of_url(edge, url))


@pytest.mark.parametrize("seed", range(60))
def test_a_scope_of_all_parameters_names_the_bundle(seed: int) -> None:
    world = RandomWorld(seed)
    edge = read_manifest(build_manifest(world.graph))
    for context in world.pools:
        values = world.values(context)
        url, texts = world.url(context, values), world.texts(context, values)
        kept = locate(edge, url)
        if kept is None or not kept.matches[0].surface.lists.isdisjoint(texts):
            continue
        scope = {name: text for name, text in texts.items() if text is not None}
        nulls = frozenset(name for name, text in texts.items() if text is None)
        assert url in urls_of_invalidations(edge, [Invalidation(context, scope, nulls=nulls)])
