"""Tags of URLs and of invalidations (protocol, section 15)."""

from typing import Any

import pytest
from starlette.responses import HTMLResponse

from mizan_core import Context, DeclarationError, Invalidation, build, build_manifest, decode_header, encode_header
from mizan_core.edge import EVERYTHING, EdgeMap, locate, read_manifest, tags_of_invalidations, tags_of_url
from mizan_core.protocol.invalidation import touches
from tests.declaring import mutation, reader
from tests.edge.graphs import RandomWorld

Orders = Context("orders", scopes=[("customer_id", "day")])
Tree = Context("tree", scopes=[("leaf",), ("node", "leaf"), ("node",)])
GRAPH = build(
    [
        reader("user_profile", "user", user_id=int, page=(int, 1)),
        reader("list_orders", Orders, customer_id=int, day=str, tags=(list[str], []), state=(str | None, None)),
        reader("order_page", Orders, HTMLResponse, options={"route": "/orders/{customer_id}/"}, customer_id=int),
        reader("inbox", "inbox", options={"auth": True}, user_id=int),
        reader("news", "news", options={"cache": False}),
        reader("leaves", Tree, node=str, leaf=str),
        reader("leaf_page", Tree, HTMLResponse, options={"route": "/leaf/{leaf:path}"}, leaf=str),
        reader("tree_page", Tree, HTMLResponse, options={"route": "/tree"}),
        mutation("rename", "user", user_id=int),
        mutation("tag", Orders.by_body(), tags=list[str]),
        mutation("state", Orders, options={"route": "/state/{state}/"}, state=str | None),
        mutation(
            "state2", [Orders, "user"], options={"route": "/state/{state}/", "methods": ["PUT"]}, state=str | None
        ),
    ]
)
EDGE = read_manifest(build_manifest(GRAPH, page_routes={"user": ["/about/{user_id}"]}))
CTX = "/api/mizan/ctx/"


def purged(header: str) -> tuple[str, ...]:
    return tags_of_invalidations(EDGE, decode_header(header))


class TestUrls:
    def test_a_url_has_a_tag_for_each_known_shape(self) -> None:
        assert tags_of_url(EDGE, f"{CTX}user/?user_id=5") == ("*", "user", "user;user_id=5")
        assert tags_of_url(EDGE, f"{CTX}orders/?customer_id=7&day=%C3%A9%2F") == (
            "*",
            "orders",
            "orders;customer_id=7;day=%C3%A9%2F",
        )

    def test_context_and_texts_are_told_with_defaults(self) -> None:
        kept = locate(EDGE, f"{CTX}user/?user_id=5")
        assert kept is not None
        assert [(one.context, one.texts) for one in kept.matches] == [("user", {"user_id": "5", "page": "1"})]
        kept = locate(EDGE, f"{CTX}orders/?customer_id=7&day=a%20b&tags=x&tags=y")
        assert kept is not None
        assert [one.texts for one in kept.matches] == [{"customer_id": "7", "day": "a b"}]

    @pytest.mark.parametrize(
        "query",
        [
            *("?page=2&user_id=5&", "?", "?user_id=5&page=2", "?user_id=5&user_id=5", "?user_id=%35", "?user_id=a+b"),
            *("?user_id=%c3%a9", "?x=1", "?user_id", "?user_id=5#a", "?user_id=5%", '?user_id="', "?user_id=5\n"),
        ],
    )
    def test_another_spelling_of_a_query_is_passed_on(self, query: str) -> None:
        assert tags_of_url(EDGE, f"{CTX}user/{query}") == ()

    def test_a_final_slash_too_many_or_too_few_is_mended(self) -> None:
        for sent, canonical in [
            (f"{CTX}user?user_id=5", f"{CTX}user/?user_id=5"),
            (f"{CTX}user/?user_id=5", f"{CTX}user/?user_id=5"),
            ("/orders/5", "/orders/5/"),
            ("/tree/", "/tree"),
            ("/leaf/a/b/", "/leaf/a/b/"),
        ]:
            kept = locate(EDGE, sent)
            assert kept is not None
            assert kept.url == canonical
        assert locate(EDGE, f"{CTX}user//?user_id=5") is None

    def test_only_what_is_sent_public_is_kept(self) -> None:
        for url in [f"{CTX}inbox/?user_id=5", f"{CTX}news/", "/about/5", "/", "/api/mizan/call/", f"{CTX}usr/"]:
            assert locate(EDGE, url) is None

    def test_a_page_has_no_query(self) -> None:
        assert tags_of_url(EDGE, "/orders/5/?utm=1") == ()
        assert tags_of_url(EDGE, "/orders/5/") == ("*", "orders", "orders/*;customer_id=5")

    def test_a_slash_in_a_path_is_encoded_in_its_tag(self) -> None:
        assert tags_of_url(EDGE, "/leaf/a/b%20c") == (
            *("*", "tree", "tree/*"),
            *("tree;leaf=a%2Fb%20c", "tree/*;leaf=a%2Fb%20c"),
        )

    def test_routes_that_overlap_have_the_tags_of_both(self) -> None:
        def page(name: str, context: str, route: str, **inputs: Any) -> Any:
            return reader(name, context, HTMLResponse, options={"route": route}, **inputs)

        graph = build([page("a", "a", "/{x}/y", x=str), page("b", "b", "/x/{y}/", y=str)])
        edge = read_manifest(build_manifest(graph))
        assert tags_of_url(edge, "/x/y") == ("*", "a", "b")
        for url in ("/x/y", "/x/y/"):
            kept = locate(edge, url)
            assert kept is not None
            assert kept.url == url
        graph = build(
            [page("a", "a", "/{x}/y", x=str), reader("b", "b", options={"route": "/x/{y}", "auth": True}, y=str)]
        )
        assert tags_of_url(read_manifest(build_manifest(graph)), "/x/y") == ()

    def test_convertors_and_roots_are_kept_apart(self) -> None:
        def page(name: str, route: str, kind: Any) -> Any:
            return reader(name, name, HTMLResponse, options={"route": route}, x=kind)

        graph = build(
            [
                page("i", "/i/{x:int}.html", int),
                page("f", "/f/{x:float}", float),
                page("u", "/u/{x:uuid}", str),
                reader("root", "root", HTMLResponse, options={"route": "/"}),
            ]
        )
        edge = read_manifest(build_manifest(graph))
        uuid = "0f3b1a52-3c6b-4f0e-9a0f-3c9a4a6f0e9a"
        found = [
            url for url in ("/i/5.html", "/i/a.html", "/f/1.5", "/f/x", f"/u/{uuid}", "/u/1", "/") if locate(edge, url)
        ]
        assert found == ["/i/5.html", "/f/1.5", f"/u/{uuid}", "/"]


class TestInvalidations:
    def test_the_largest_known_shape_is_purged_not_the_entry(self) -> None:
        assert purged("user/user_profile;user_id=5") == ("user;user_id=5",)
        assert purged("user;page=2;user_id=5") == ("user;user_id=5",)
        assert purged("user;page=2") == ("user",)
        assert purged("user;unheard=1") == ("user",)

    def test_pages_that_lack_a_parameter_are_named_too(self) -> None:
        assert purged("orders;customer_id=7;day=x") == ("orders;customer_id=7;day=x", "orders/*;customer_id=7")
        assert purged("orders;customer_id=7") == ("orders",)
        assert purged("tree;leaf=a%2Fb;node=n") == ("tree;leaf=a%2Fb;node=n", "tree/*;leaf=a%2Fb", "tree/*")
        assert purged("tree;node=n") == ("tree;node=n", "tree/*")

    def test_a_shape_with_a_list_is_purged_by_a_wider_one(self) -> None:
        context = Context("c", scopes=[("a",), ("a", "l"), ("l",)])
        graph = build([reader("r", context, a=int, l=(list[int], []))])
        edge = read_manifest(build_manifest(graph))
        assert tags_of_url(edge, f"{CTX}c/?a=1&l=2") == ("*", "c", "c;a=1")
        assert tags_of_invalidations(edge, [Invalidation("c", {"a": 1, "l": [2]})]) == ("c;a=1",)
        assert tags_of_invalidations(edge, [Invalidation("c", {"l": [2]})]) == ("c",)

    def test_a_null_has_no_tag_and_is_purged_more_widely(self) -> None:
        context = Context("c", scopes=[("a",)])
        edge = read_manifest(build_manifest(build([reader("r", context, a=(int | None, None))])))
        assert tags_of_url(edge, f"{CTX}c/") == ("*", "c")
        assert tags_of_invalidations(edge, [Invalidation("c", {"a": None}, nulls=frozenset("a"))]) == ("c",)

    def test_unknown_contexts_and_too_many_entries_purge_all(self) -> None:
        assert purged("orders;customer_id=7, unheard_of") == (EVERYTHING,)
        assert purged(", ".join(f"user;user_id={one}" for one in range(33))) == (EVERYTHING,)
        assert len(purged(", ".join(f"user;user_id={one}" for one in range(32)))) == 32
        assert purged("") == ()

    def test_a_mutation_is_known_by_its_name_and_its_route(self) -> None:
        assert EDGE.calls == {
            "rename": ("user",),
            "state": ("orders",),
            "state2": ("orders", "user"),
            "tag": ("orders",),
        }
        assert list(EDGE.routes.values()) == [("orders", "user")]
        assert EDGE.identity_headers == ("Authorization", "X-Mizan-Token", "Cookie")


def kept_in(world: RandomWorld, edge: EdgeMap) -> list[tuple[str, str, dict[str, str | None]]]:
    """URLs that an edge may keep, with the context and the texts of each."""
    found = []
    for context in world.pools:
        for _ in range(6):
            values = world.values(context)
            texts = world.texts(context, values)
            found.append((world.url(context, values), context, texts))
            if context in world.pages and all(texts[name] for name in world.pages[context]):
                own = {name: texts[name] for name in world.pages[context]}
                found.append((world.page(context, values), context, own))
    return [one for one in found if locate(edge, one[0]) is not None]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_stale_has_a_tag_that_is_purged(seed: int) -> None:
    """And what the largest known shape does not concern has none."""
    world = RandomWorld(seed)
    edge = read_manifest(build_manifest(world.graph))
    urls = kept_in(world, edge)
    for _ in range(20):
        write = world.invalidation(world.random.choice(list(world.pools)))
        header = decode_header(encode_header([write]))
        tags = set(tags_of_invalidations(edge, header))
        names = header[0].texts.keys()
        shape = next(one.names for one in edge.shapes[write.context] if names >= set(one.names))
        widened = Invalidation(write.context, {name: header[0].texts[name] for name in shape})
        for url, context, texts in urls:
            hit = not tags.isdisjoint(tags_of_url(edge, url))
            assert hit or not touches(write, context, texts), (url, write)
            assert not hit or touches(widened, context, texts), (url, write)


def test_most_random_graphs_have_something_to_keep() -> None:
    """So that the test above is not about nothing."""
    worlds = [RandomWorld(seed) for seed in range(60)]
    kept = [len(kept_in(world, read_manifest(build_manifest(world.graph)))) for world in worlds]
    assert sum(count > 0 for count in kept) > 40
    assert sum(kept) > 600


class TestRefusals:
    @pytest.mark.parametrize("route", ["/a'b/", '/a"b/', "/a b/", "/a\\b/", "/a{b", "/é/", "/a{b c}/", "/a\n/", "/`/"])
    def test_a_route_with_quotes_or_odd_characters_is_refused(self, route: str) -> None:
        manifest = build_manifest(GRAPH, page_routes={"user": [route]})
        with pytest.raises(DeclarationError, match=r"No edge can be written for .*the path .*; paths of these and"):
            read_manifest(manifest)

    def test_an_odd_name_in_a_manifest_is_refused(self) -> None:
        manifest = build_manifest(GRAPH)
        for name in ("a b", 'a"', "", "-", "1a", "a;b"):
            changed = {**manifest, "mutations": {name: {"affects": [], "targets": []}}}
            with pytest.raises(DeclarationError, match="No edge can be written for the name "):
                read_manifest(changed)
