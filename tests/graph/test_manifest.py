"""The manifest for edges, and the URLs to purge (protocol, section 12)."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from mizan_core import (
    Arg,
    Claim,
    Context,
    DeclarationError,
    Graph,
    Identity,
    Invalidation,
    Me,
    Result,
    build,
    build_manifest,
    client,
    decode_header,
    encode_header,
    manifest_json,
    urls_to_purge,
)
from mizan_core.engine.bundle_requests import spell
from mizan_core.protocol.urls import page_url
from tests.declaring import mutation, reader
from tests.world import World

# The example of the protocol, with the targets that it leaves out as `[...]`.
EXAMPLE = """
    {"version": 1, "base_url": "/api/mizan",
     "identity": {"headers": ["Authorization", "X-Mizan-Token"], "cookies": ["*"]},
     "contexts": {"user": {
        "functions": [{"name": "user_profile", "path": "rpc", "rev": 2, "cache": 60},
                      {"name": "profile_page", "path": "view", "route": "/profile/{user_id}/", "methods": ["GET"]}],
        "endpoints": ["/api/mizan/ctx/user/"], "params": ["user_id"], "page_routes": ["/profile/{user_id}/"],
        "pages": [{"function": "profile_page", "route": "/profile/{user_id}/", "params": ["user_id"],
                   "public": true, "rev": 2, "cache": 60}],
        "per": "all", "public": true, "user_scoped": true, "render_strategy": "dynamic_cached",
        "rev": 2, "cache": 60, "scopes": [[], ["user_id"]], "fingerprint": "d9a8a7792cb23162"}},
     "mutations": {"update_profile": {
        "affects": ["user"], "auto_scoped_params": ["user_id"],
        "targets": [{"context": "user", "params": {"user_id": {"arg": "user_id"}}}]},
      "stripe_webhook": {"affects": ["subscription"], "targets": [{"context": "subscription", "params": {}}],
        "private": true, "route": "/webhooks/stripe/", "methods": ["POST"]}}}
"""

WRITTEN = """\
{
  "base_url": "/api/mizan",
  "contexts": {
    "user": {
      "defaults": {
        "page": "1"
      },
      "endpoints": [
        "/api/mizan/ctx/user/"
      ],
      "fingerprint": "FINGER",
      "functions": [
        {
          "name": "profile",
          "path": "rpc"
        }
      ],
      "params": [
        "page",
        "user_id"
      ],
      "per": "all",
      "public": true,
      "render_strategy": "dynamic_cached",
      "scopes": [
        []
      ],
      "user_scoped": true
    }
  },
  "identity": {
    "cookies": [
      "*"
    ],
    "headers": [
      "Authorization",
      "X-Mizan-Token"
    ]
  },
  "mutations": {},
  "version": 1
}
"""


LISTED = [reader("p", "c", HTMLResponse, options={"route": "/p/{a}"}, a=int, b=(int, 1))]


class Shipment(BaseModel):
    customer_id: int


def of_the_protocol() -> Graph:
    user = Context("user")

    @client(context=user, rev=2, cache=60)
    async def user_profile(user_id: int) -> str: ...

    @client(context=user, route="/profile/{user_id}/")
    async def profile_page(user_id: int) -> HTMLResponse: ...

    @client(context="subscription")
    async def subscription() -> str: ...

    @client(affects=user)
    async def update_profile(user_id: int, name: str) -> str: ...

    @client(affects="subscription", private=True, route="/webhooks/stripe/", methods=["POST"])
    async def stripe_webhook(request) -> Response: ...

    return build([user_profile, profile_page, subscription, update_profile, stripe_webhook])


class TestManifest:
    def test_the_protocols_example_manifest_is_reproduced(self) -> None:
        example = json.loads(EXAMPLE)
        graph = of_the_protocol()
        made = build_manifest(graph)
        for name, plan in graph.contexts.items():
            assert made["contexts"][name].pop("fingerprint") == plan.fingerprint.hex()
        del example["contexts"]["user"]["fingerprint"]
        assert made["contexts"].pop("subscription") == {
            "functions": [{"name": "subscription", "path": "rpc"}],
            "endpoints": ["/api/mizan/ctx/subscription/"],
            "params": [],
            "per": "all",
            "public": True,
            "user_scoped": False,
            "render_strategy": "psr",
            "scopes": [[]],
        }
        assert made == example

    def test_the_manifest_is_sorted_json_with_two_spaces(self) -> None:
        graph = build([reader("profile", "user", user_id=int, page=(int, 1))])
        assert manifest_json(graph) == WRITTEN.replace("FINGER", graph.contexts["user"].fingerprint.hex())

    def test_the_manifest_does_not_depend_on_function_order(self, world: World) -> None:
        written = manifest_json(world.graph)
        assert json.loads(written) == build_manifest(world.graph)
        by_context = sorted(world.functions, key=lambda one: one.__name__ != "my_messages")
        assert by_context != world.functions
        assert manifest_json(build(by_context)) == written
        assert list(build_manifest(build(by_context))["contexts"]) == ["inbox", "orders", "user"]

    def test_the_base_url_is_taken_without_its_slash(self) -> None:
        for base in ("/x/y", "/x/y/"):
            made = build_manifest(of_the_protocol(), base_url=base)
            assert made["base_url"] == "/x/y"
            assert made["contexts"]["user"]["endpoints"] == ["/x/y/ctx/user/"]
        assert build_manifest(of_the_protocol(), base_url="/")["contexts"]["user"]["endpoints"] == ["/ctx/user/"]

    @pytest.mark.parametrize(
        ("name", "options", "user_scoped"),
        [
            ("user", {}, True),
            ("user_id", {}, True),
            ("owner_id", {}, True),
            ("account_id", {}, True),
            ("team_id", {}, False),
            ("team_id", {"per": "user"}, True),
            ("team_id", {"auth": True}, True),
            ("team_id", {"per": "permissions"}, False),
        ],
    )
    def test_a_context_is_user_scoped_by_policy_or_parameter_name(
        self, name: str, options: dict[str, Any], user_scoped: bool
    ) -> None:
        made = build_manifest(build([reader("r", "c", options=options, **{name: int})]))["contexts"]["c"]
        assert made["user_scoped"] is user_scoped
        assert made["render_strategy"] == ("dynamic_cached" if user_scoped else "psr")
        assert made["per"] == options.get("per", "user" if "auth" in options else "all")

    def test_a_policy_is_shown_unless_it_is_the_default(self) -> None:
        readers = [reader("a", "c", options={"cache": False}), reader("b", "c", options={"rev": 3})]
        made = build_manifest(build(readers))["contexts"]["c"]
        assert made["functions"] == [
            {"name": "a", "path": "rpc", "cache": False},
            {"name": "b", "path": "rpc", "rev": 3},
        ]
        assert (made["rev"], made["cache"]) == (3, False)

    def test_defaults_that_a_url_leaves_out_are_listed(self) -> None:
        parameters: Any = {"a": int, "b": (float, 1), "c": (str | None, None), "d": (list[int], [])}
        made = build_manifest(build([reader("r", "c", **parameters)]))["contexts"]["c"]
        assert made["defaults"] == {"b": "1", "d": "[]"}
        assert "defaults" not in build_manifest(build([reader("r", "c", a=int)]))["contexts"]["c"]

    def test_lists_and_parameters_that_may_be_null_are_named(self) -> None:
        parameters: Any = {"a": int, "b": (int | None, None), "c": (list[int], []), "d": str | None}
        made = build_manifest(build([reader("r", "c", **parameters), reader("s", "d", a=int)]))["contexts"]
        assert (made["c"]["lists"], made["c"]["nullable"]) == (["c"], ["b", "d"])
        assert made["d"].keys().isdisjoint({"lists", "nullable"})

    def test_public_is_what_is_sent_public(self) -> None:
        def public(options: dict[str, Any], **inputs: Any) -> list[bool]:
            graph = build(
                [
                    reader("r", "c", options=options, **inputs),
                    reader("p", "c", HTMLResponse, options={"route": "/p/"}),
                    reader("q", "c", HTMLResponse, options={"route": "/q/", "auth": "staff", "rev": 4}),
                ]
            )
            entry = build_manifest(graph)["contexts"]["c"]
            pages = {page["function"]: page for page in entry["pages"]}
            assert pages["q"] == {"function": "q", "route": "/q/", "params": [], "rev": 4} | (
                {"cache": options["cache"]} if "cache" in options else {}
            )
            return ["public" in entry, "public" in pages["p"]]

        assert public({}) == [True, True]
        assert public({"cache": 60}) == [True, True]
        assert public({"cache": False}) == [False, False]
        assert public({"auth": True, "per": "all"}) == [False, False]
        assert public({"per": "user"}) == [False, False]
        assert public({}, me=Annotated[int, Me]) == [False, False]

    def test_pages_have_their_own_parameters(self) -> None:
        graph = build([reader("r", "c", a=int, b=(int, 1)), *LISTED])
        made = build_manifest(graph, page_routes={"c": ["/host/{a}/{b:int}", "/p/{a}"]})["contexts"]["c"]
        assert made["pages"] == [
            {"function": "p", "route": "/p/{a}", "params": ["a", "b"], "public": True},
            {"route": "/host/{a}/{b:int}", "params": ["a", "b"]},
        ]

    def test_page_routes_are_get_routes_and_added_ones(self) -> None:
        def routed(name: str, returns: Any = int, /, **options: Any) -> Any:
            return reader(name, "c", returns, options={"route": f"/{name}/", **options})

        graph = build(
            [
                reader("plain", "c"),
                routed("data"),
                routed("page", HTMLResponse),
                routed("secret", private=True),
                routed("form", methods=["POST"]),
                reader("other", "d"),
            ]
        )
        made = build_manifest(graph, page_routes={"c": ["/added/", "/page/"]})["contexts"]
        assert made["c"]["page_routes"] == ["/page/", "/secret/", "/data/", "/added/"]
        assert [one["name"] for one in made["c"]["functions"]] == ["data", "form", "plain", "page", "secret"]
        assert {one["name"]: one["path"] for one in made["c"]["functions"]}["page"] == "view"
        assert "page_routes" not in made["d"]

    def test_a_context_of_pages_alone_has_no_endpoint(self) -> None:
        graph = build([reader("page", "c", HTMLResponse, options={"route": "/{a}/"}, a=int)])
        made = build_manifest(graph)["contexts"]["c"]
        assert (made["endpoints"], made["params"], made["page_routes"]) == ([], ["a"], ["/{a}/"])

    def test_a_page_route_of_a_context_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="page_routes names the context 'usr', and the graph has c"):
            build_manifest(build([reader("r", "c")]), page_routes={"c": [], "usr": ["/"]})
        with pytest.raises(DeclarationError, match="the graph has none at all"):
            manifest_json(build([]), page_routes={"usr": ["/"]})

    def test_a_mutations_targets_list_their_narrowing(self) -> None:
        orders, profile = Context("orders"), reader("profile", "user", user_id=int)
        targets = [
            orders.where(customer_id=Result("customer_id"), team=Arg("from_team")),
            Context("user").where(user_id=Me),
            orders.whole(),
            orders.by_body(),
            profile,
        ]
        functions = [
            profile,
            reader("list_orders", orders, customer_id=int, team=int),
            mutation("ship", targets, Shipment, from_team=int, team=int, user_id=int, me=Identity),
            mutation("twice", ["orders", "user", orders], team=int),
        ]
        made = build_manifest(build(functions))["mutations"]
        assert made["ship"] == {
            "affects": ["orders", "user"],
            "auto_scoped_params": ["user_id"],
            "targets": [
                {
                    "context": "orders",
                    "params": {"customer_id": {"result": "customer_id"}, "team": {"arg": "from_team"}},
                },
                {"context": "user", "params": {"user_id": {"me": True}}},
                {"context": "orders", "params": {}},
                {"context": "orders", "params": {}, "by_body": True},
                {"context": "user", "function": "profile", "params": {"user_id": {"arg": "user_id"}}},
            ],
        }
        assert made["twice"]["affects"] == ["orders", "user"]
        assert made["twice"]["auto_scoped_params"] == ["team"]
        assert set(made) == {"ship", "twice"}


LIBRARY = build(
    [
        reader("books", "books", author=str, page=(int, 1), tags=(list[str], []), year=(int | None, None)),
        reader("plain", "plain"),
        reader("shelf", "shelf", HTMLResponse, options={"route": "/shelf/{place:path}/{row}/"}, place=str, row=int),
    ]
)
MANIFEST = build_manifest(LIBRARY, page_routes={"plain": ["/", "/about/{topic}/"]})
BOOKS = "/api/mizan/ctx/books/"


def urls(*invalidations: Invalidation) -> list[str]:
    return urls_to_purge(MANIFEST, invalidations)


def matches(pattern: str, url: str) -> bool:
    """Whether an edge that is told this forgets this URL; `*` stands for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), url) is not None


class TestPurging:
    def test_a_full_scope_purges_exactly_its_canonical_url(self) -> None:
        graph = build([reader("r", "user", user_id=int, page=(int, 1))])
        manifest = build_manifest(graph)
        for scope, url in [
            ({"user_id": 5, "page": 2}, "/api/mizan/ctx/user/?page=2&user_id=5"),
            ({"user_id": "5", "page": "2"}, "/api/mizan/ctx/user/?page=2&user_id=5"),
            ({"user_id": 5, "page": 1}, "/api/mizan/ctx/user/?user_id=5"),
            ({"user_id": 5}, "/api/mizan/ctx/user/*"),
            ({}, "/api/mizan/ctx/user/*"),
            ({"user_id": 5, "page": None}, "/api/mizan/ctx/user/*"),
        ]:
            assert urls_to_purge(manifest, [Invalidation("user", scope)]) == [url]

    def test_a_context_without_parameters_is_one_url(self) -> None:
        assert urls(Invalidation("plain")) == ["/api/mizan/ctx/plain/", "/", "/about/*/"]
        assert urls(Invalidation("plain", {}, "plain")) == ["/api/mizan/ctx/plain/", "/", "/about/*/"]

    def test_a_star_in_a_value_is_encoded_not_a_pattern(self) -> None:
        scope = {"author": "a*b &é/", "page": 2, "tags": ["x*", "y z"], "year": 1999}
        expected = f"{BOOKS}?author=a%2Ab%20%26%C3%A9%2F&page=2&tags=x%2A&tags=y%20z&year=1999"
        assert urls(Invalidation("books", scope)) == [expected]

    def test_a_list_is_repeated_and_its_text_is_a_pattern(self) -> None:
        scope: dict[str, object] = {"author": "x", "page": 1, "year": 5}
        assert urls(Invalidation("books", {**scope, "tags": ("b", "a")})) == [f"{BOOKS}?author=x&tags=b&tags=a&year=5"]
        assert urls(Invalidation("books", {**scope, "tags": []})) == [f"{BOOKS}?author=x&year=5"]
        assert urls(Invalidation("books", {**scope, "tags": '["b","a"]'})) == [f"{BOOKS}*"]
        assert urls(Invalidation("books", {**scope, "tags": [], "author": "[x"})) == [f"{BOOKS}*"]

    def test_an_unknown_context_is_purged_as_a_pattern(self) -> None:
        assert urls(Invalidation("new thing", {"id": 5})) == ["/api/mizan/ctx/new%20thing/*"]

    def test_pages_are_filled_in_as_far_as_the_scope_goes(self) -> None:
        assert urls(Invalidation("shelf", {"place": "a/b c", "row": 5})) == ["/shelf/a/b%20c/5/"]
        assert urls(Invalidation("shelf", {"row": "5/6"})) == ["/shelf/*/5%2F6/"]
        assert urls(Invalidation("shelf")) == ["/shelf/*/*/"]

    def test_no_url_comes_twice(self) -> None:
        assert urls(Invalidation("plain"), Invalidation("plain"), Invalidation("books")) == [
            "/api/mizan/ctx/plain/",
            "/",
            "/about/*/",
            f"{BOOKS}*",
        ]
        assert urls() == []

    def test_a_path_is_filled_in_with_texts(self) -> None:
        assert page_url("/a/{x}/{y:int}/{z:path}", {"x": "é/", "z": "p/q*"}) == "/a/%C3%A9%2F/*/p/q%2A"
        assert page_url("/fixed/", {"x": "1"}) == "/fixed/"


def bundles() -> Iterator[tuple[dict[str, Any], str]]:
    """Bundles of books by their parameters, and the canonical URL of each."""
    pools = {"author": ["a", "[b]", "*"], "page": [1, 2], "tags": [[], ["x"], ["x", "y"]], "year": [None, 0, 5]}
    for values in itertools.product(*pools.values()):
        params = dict(zip(pools, values, strict=True))
        query = spell(LIBRARY.contexts["books"], params).query
        yield params, f"{BOOKS}?{query}" if query else BOOKS


@pytest.mark.parametrize("over_the_wire", [False, True])
def test_exactly_the_stale_bundles_urls_are_purged(over_the_wire: bool) -> None:
    everything = list(bundles())
    assert len({url for _, url in everything}) == len(everything) == 54
    for params, url in everything:
        for chosen in itertools.chain.from_iterable(itertools.combinations(params, count) for count in range(5)):
            stale = Invalidation("books", {name: params[name] for name in chosen})
            (told,) = urls_to_purge(MANIFEST, decode_header(encode_header([stale])) if over_the_wire else [stale])
            assert matches(told, url)
            if "*" not in told:
                assert [one for _, one in everything if matches(told, one)] == [url]
            elif not over_the_wire:
                assert len(stale.texts) < 4 or params["author"] == "[b]"


def test_a_manifest_does_not_depend_on_the_order_of_declarations() -> None:
    @client(context="user")
    async def profile(user_id: int) -> int: ...

    @client(context="user")
    async def letters(user_id: int, page: int = 1) -> int: ...

    @client(context="user", route="/z/{user_id}/")
    async def page_z(user_id: int) -> int: ...

    @client(context="user", route="/a/{user_id}/")
    async def page_a(user_id: int) -> int: ...

    @client(affects=["user", "team"])
    async def rename(user_id: int) -> None: ...

    @client(context="team")
    async def members(team_id: int) -> int: ...

    functions = [profile, letters, page_z, page_a, rename, members]
    texts = {manifest_json(build(order)) for order in (functions, functions[::-1], functions[3:] + functions[:3])}
    assert len(texts) == 1


class TestIdentityParams:
    def test_they_are_named_and_are_in_no_url(self) -> None:
        @client(context="cart")
        async def cart_lines(user_id: Annotated[int, Me], page: int = 1) -> int:
            return page

        @client(affects="cart")
        async def add_line(user_id: Annotated[int, Me], sku: str) -> None: ...

        @client(affects=Context("cart").where(user_id=Claim("owner")))
        async def sell() -> None: ...

        made = build_manifest(build([cart_lines, add_line, sell]))
        cart = made["contexts"]["cart"]
        assert (cart["params"], cart["identity_params"], cart["user_scoped"]) == (["page"], ["user_id"], True)
        assert cart["functions"][0]["identity_params"] == ["user_id"]
        assert cart["scopes"] == [[], ["user_id"]]
        assert made["mutations"]["add_line"]["identity_params"] == ["user_id"]
        assert made["mutations"]["add_line"]["targets"] == [{"context": "cart", "params": {"user_id": {"me": True}}}]
        assert made["mutations"]["sell"]["targets"][0]["params"] == {"user_id": {"claim": "owner"}}
        assert urls_to_purge(made, [Invalidation("cart", {"user_id": 5})]) == ["/api/mizan/ctx/cart/*"]
