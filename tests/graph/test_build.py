"""`build` and `discover`: every defect that takes the other functions to see, and what the graph knows."""

import enum
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Never, NoReturn, Optional, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, ImportString, Json, PositiveInt, Secret, computed_field
from starlette.responses import HTMLResponse
from typing_extensions import TypedDict

from mizan_core import Arg, Claim, Context, Graph, GraphError, Identity, Me, Result, build, client, discover
from mizan_core.protocol import cache_policy as policies
from mizan_core.protocol.cache_policy import CachePolicy, Per, Seconds, UntilPurged
from tests.declaring import function, mutation, reader
from tests.world import World


class Unfinished(BaseModel):
    """A model that names what is never defined."""

    what: "Never_Defined"  # type: ignore[name-defined]  # noqa: F821


class Opaque:
    """Nothing that Pydantic knows."""


class Broken:
    """A type whose own hook raises when its schema is made."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        raise LookupError("no such schema\nat all")


class Wrapped(BaseModel):
    """A model that takes what Pydantic does not know."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: Opaque


class Shipment(BaseModel):
    order_id: int
    customer_id: int
    lines: list[int] = []

    @computed_field
    def total(self) -> int:
        return len(self.lines)


@dataclass
class Receipt:
    number: str


class Row(NamedTuple):
    customer_id: int


Maybe = Optional[int]  # noqa: UP045  # another way to write int | None


class Found(TypedDict):
    customer_id: int


def view(name: str, context: str, route: str, /, *, returns: Any = HTMLResponse, **inputs: Any) -> Any:
    return reader(name, context, returns, options={"route": route}, **inputs)


def defects_of(*functions: Any) -> tuple[str, ...]:
    with pytest.raises(GraphError) as refused:
        build(functions)
    return refused.value.defects


def shouted(one: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that does something on every call."""

    @functools.wraps(one)
    def wrapper(**given: Any) -> Any:
        return str(one(**given)).upper()

    return wrapper


# Things that are written behind a colon, by mistake or for other purposes.
ODD_ANNOTATIONS = [
    Never,
    NoReturn,
    ClassVar[int],
    Hashable,
    Callable,
    TypeVar("T"),
    type,
    type[int],
    object,
    Ellipsis,
    NotImplemented,
    Iterator[int],
    AsyncIterator[int],
    Awaitable[int],
    enum.Flag,
    Literal[b"x"],
    ImportString,
    Json[int],
    Secret[int],
    "int",
    "nothing",
    5,
    1.5,
    [int],
    {},
    len,
    BaseModel,
    Opaque,
    Broken,
    Unfinished,
    Identity,
]

ORDERS, USER = Context("orders"), Context("user")
USERS = reader("profile", "user", user_id=int)

# The functions, and what each defect has to say.
DEFECTS: dict[str, tuple[list[Any], list[list[str]]]] = {
    "not marked": ([function("lost"), 5], [["lost", "is not marked with @client"], ["5 is not marked"]]),
    "decorated above": (
        [shouted(reader("profile", "user"))],
        [["profile: another decorator stands above @client", "put @client on top"]],
    ),
    "one name twice": (
        [USERS, mutation("profile", "user")],
        [["two functions are called 'profile'", "tests.declaring.profile", "name='...'"]],
    ),
    "one context set up twice": (
        [reader("a", Context("user", concurrent=True)), reader("b", Context("user", scopes=[("x",)]), x=int)],
        [["context 'user' is declared twice with different settings", "declare it once"]],
    ),
    "per all with an identity": (
        [reader("inbox", "inbox", options={"per": "all"}, me=Identity)],
        [["inbox: per='all' cannot serve everyone", "per='user' or drop the parameter"]],
    ),
    "an input that Pydantic does not know": (
        [mutation("m", USER.where(user_id=Arg("thing")), thing=Opaque), USERS],
        [["m: parameter 'thing': Pydantic cannot validate Opaque (Unable to generate"]],
    ),
    "an input with a wrong constraint": (
        [mutation("m", "user", thing=Annotated[str, Field(pattern="(")]), USERS],
        [["m: parameter 'thing': Pydantic cannot validate"]],
    ),
    "types whose own code fails": (
        [reader("r", "user", Broken), mutation("m", "fine", thing=Broken), reader("fine", "fine")],
        [
            ["r: Pydantic cannot serialise what it returns, Broken (no such schema)"],
            ["m: parameter 'thing': Pydantic cannot validate Broken (no such schema)"],
        ],
    ),
    "an input that is never defined": (
        [mutation("m", "user", thing=Unfinished), USERS],
        [["m: parameter 'thing': Pydantic cannot validate Unfinished", "not fully defined"]],
    ),
    "a result that Pydantic does not know": (
        [reader("r", "user", Opaque), mutation("m", "user")],
        [["r: Pydantic cannot serialise what it returns, Opaque (Unable to generate"]],
    ),
    "a result that is never defined": (
        [reader("r", "user", list[Unfinished])],
        [["r: Pydantic cannot serialise what it returns", "Unfinished"]],
    ),
    "a default of another type": (
        [reader("r", "user", limit=(int, "ten")), reader("s", "user", ratio=(float, float("nan")))],
        [["r: parameter 'limit': its default 'ten' is not a int"], ["s: parameter 'ratio': its default nan"]],
    ),
    "types that diverge": (
        [reader("a", "user", page=int), reader("b", "user", page=str)],
        [["context 'user': parameter 'page' of a and b diverges: int here and str there"]],
    ),
    "constraints that diverge": (
        [reader("a", "user", page=Annotated[int, Field(gt=0)]), reader("b", "user", page=Annotated[int, Field(gt=1)])],
        [["context 'user': parameter 'page' of a and b diverges"]],
    ),
    "a default in one only": (
        [reader("a", "user", page=int), reader("b", "user", page=(int, 1))],
        [["parameter 'page' of a and b diverges: it has a default in one of them only"]],
    ),
    "defaults that diverge": (
        [reader("a", "user", page=(int, 1)), reader("b", "user", page=(int, 2)), reader("c", "user", page=(int, 1))],
        [["parameter 'page' of a and b diverges: its default is 1 here and 2 there"]],
    ),
    "what a URL cannot spell": (
        [reader("a", "user", x=dict[str, int], y=list[list[int]], z=Shipment, u=Any, v=list[int | None])],
        [
            ["a: parameter 'u' of context 'user' is a Any, which a URL cannot spell"],
            ["parameter 'v'", "which a URL cannot spell"],
            ["parameter 'x'", "use a scalar or a list of scalars"],
            ["parameter 'y'", "which a URL cannot spell"],
            ["parameter 'z' of context 'user' is a Shipment, which a URL cannot spell"],
        ],
    ),
    "a list with a default that is not empty": (
        [reader("a", "user", x=(list[int], [1]), y=(set[str], {"a"}))],
        [
            ["parameter 'x' of context 'user' is a list with the default [1]", "empty or absent"],
            ["parameter 'y' of context 'user' is a list with the default {'a'}", "empty or absent"],
        ],
    ),
    "a list that may be null": (
        [reader("a", "user", x=list[int] | None, y=(list[int] | None, None), z=(list[int] | None, []))],
        [[f"parameter '{name}' of context 'user' is a list that may be null", "a list alone"] for name in "xyz"],
    ),
    "a nullable parameter with another default": (
        [reader("a", "user", x=(int | None, 5))],
        [["parameter 'x' of context 'user' may be null and has the default 5", "let the default be None"]],
    ),
    "a view with parameters of its own": (
        [USERS, view("page", "user", "/{user_id}/", user_id=int, tab=(str, "x"), mode=(str, "y"))],
        [["page: a view of context 'user' takes only the context's parameters", "'mode', 'tab' is none of them"]],
    ),
    "a view with another type": (
        [USERS, view("page", "user", "/{user_id}/", user_id=str)],
        [["page: parameter 'user_id' is a str here and a int in context 'user'"]],
    ),
    "a scope of what is no parameter": (
        [reader("a", Context("user", scopes=[("usr_id",), ("zzz",)]), user_id=int)],
        [
            ["context 'user': scopes names 'usr_id'", "did you mean 'user_id'?"],
            ["context 'user': scopes names 'zzz', which is none of its parameters"],
        ],
    ),
    "one address twice": (
        [view("a", "user", "/x/"), view("b", "user", "/x"), mutation("c", "user", options={"route": "/x"})],
        [["a and b both answer GET /x"]],
    ),
    "affects nothing that is there": (
        [USERS, mutation("m", ["usr", "inbox", "profil", Context("user2")]), mutation("n", "m")],
        [
            ["m: affects 'usr'", "no reader has for its context and no reader is called", "did you mean 'user'?"],
            ["m: affects 'inbox', which no reader has", "build a reader of it as well"],
            ["m: affects 'profil'", "did you mean 'profile'?"],
            ["m: affects 'user2'", "did you mean 'user'?"],
            ["n: affects 'm', which no reader has"],
        ],
    ),
    "spares what it affects, or what is not there": (
        [
            USERS,
            mutation("m", [USERS], options={"spares": ["usr", "inbox", USER]}),
            mutation("n", "usr", options={"spares": USER}),
        ],
        [
            ["m: spares 'inbox', which no reader has for its context; build a reader of it as well"],
            ["m: spares 'user' and affects it; drop spares if its answers can change, affects if they cannot"],
            ["m: spares 'usr', which no reader has for its context; did you mean 'user'?"],
            ["n: affects 'usr'"],
        ],
    ),
    "affects a reader that was left out": (
        [mutation("m", [USERS]), reader("other", "user")],
        [["m: affects 'profile', which no reader has for its context and no reader is called"]],
    ),
    "a binding of what is no parameter": (
        [USERS, mutation("m", USER.where(user=Arg("id"), zzz=Me), id=int), mutation("n", USER.where(user=Claim("u")))],
        [
            ["m: affects 'user' where 'user' is Arg('id'), and the context has no parameter 'user'", "'user_id'?"],
            [
                "m: affects 'user' where 'zzz' is Me, and the",
                "no parameter 'zzz'; let its readers take zzz: Annotated[int, Me]",
            ],
            ["did you mean 'user_id'? Or let its readers take user: Annotated[int, Claim('u')]"],
        ],
    ),
    "a binding to what is no argument": (
        [USERS, mutation("m", USER.where(user_id=Arg("use_id")), user_id=int)],
        [["where 'user_id' is Arg('use_id'), and the function has no argument 'use_id'", "did you mean 'user_id'?"]],
    ),
    "a binding that never fits": (
        [
            reader("a", "user", user_id=int, tags=list[str]),
            mutation("m", USER.where(user_id=Arg("where")), where=Shipment),
            mutation("n", USER.where(tags=Me)),
            mutation("o", USER.where(user_id=Result("lines")), Shipment),
            mutation("p", USER.where(tags=Result("order_id")), Shipment),
            reader("b", "named", name=str),
            mutation("q", Context("named").where(name=Arg("id")), id=int),
        ],
        [
            ["m: affects 'user' where 'user_id' is Arg('where'), which never fits", "object for integer"],
            ["n: affects 'user' where 'tags' is Me, which never fits", "string for array"],
            ["p: affects 'user' where 'tags' is Result('order_id'), which never fits", "integer for array"],
            ["q: affects 'named' where 'name' is Arg('id'), which never fits", "integer for string"],
        ],
    ),
    "a result without fields": (
        [USERS, mutation("m", USER.where(user_id=Result("id")), int), mutation("n", USER.where(user_id=Result("id")))],
        [["m: affects 'user' where 'user_id' is Result('id'), and int has no fields"], ["n: affects", "has no fields"]],
    ),
    "a result without this field": (
        [
            USERS,
            mutation("m", USER.where(user_id=Result("costumer_id")), Shipment | Receipt),
            mutation("n", USER.where(user_id=Result("zzz")), Row | None),
        ],
        [
            ["m: affects 'user' where 'user_id' is Result('costumer_id')", "no field", "did you mean 'customer_id'?"],
            ["n: affects 'user' where 'user_id' is Result('zzz')", "has no field 'zzz'"],
        ],
    ),
    "several kinds at once": (
        [USERS, mutation("m", "usr"), function("lost"), mutation("n", USER.where(user_id=Arg("id")))],
        [["lost"], ["m: affects 'usr'"], ["n: affects 'user'"]],
    ),
}


class TestDefects:
    @pytest.mark.parametrize("name", DEFECTS)
    def test_the_graph_is_refused_with_every_defect_and_no_other(self, name: str) -> None:
        functions, expected = DEFECTS[name]
        found = defects_of(*functions)
        assert len(found) == len(expected)
        for defect, words in zip(found, expected, strict=True):
            assert all(word in defect for word in words), defect

    def test_the_error_counts_its_defects_and_has_a_line_for_each(self) -> None:
        with pytest.raises(GraphError) as refused:
            build([mutation("m", ["a", "b"])])
        lines = str(refused.value).splitlines()
        assert lines[0] == "2 defects in the graph:"
        assert lines[1:] == [f"  - {defect}" for defect in refused.value.defects]
        with pytest.raises(GraphError, match=r"^1 defect in the graph:"):
            build([mutation("m", "a")])

    @pytest.mark.parametrize("annotation", ODD_ANNOTATIONS, ids=repr)
    def test_every_bad_annotation_raises_a_graph_error(self, annotation: Any) -> None:
        takers = [reader("a", "abc", x=annotation), mutation("b", "abc", x=annotation), reader("c", "abc", annotation)]
        binder = mutation("d", Context("def").where(y=Arg("x")), x=annotation)
        for one in (*takers, binder, reader("e", "abc", x=(annotation, 5))):
            with suppress(GraphError):
                build([one, reader("f", "abc", x=str), reader("g", "def", y=str)])


class TestParameters:
    def test_a_context_has_all_parameters_of_its_readers_by_name(self) -> None:
        one = reader("one", "user", user_id=int, page=(int, 1))
        other = reader("other", "user", limit=(int, 10), page=(int, 1))
        graph = build([one, other])
        parameters = graph.contexts["user"].parameters
        assert list(parameters) == ["limit", "page", "user_id"]
        assert [(one.required, one.default_text) for one in parameters.values()] == [
            (False, "10"),
            (False, "1"),
            (True, None),
        ]

    def test_one_type_may_be_written_in_several_ways(self) -> None:
        positive = Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]
        assert positive[0] != positive[1]
        assert build([reader("a", "user", x=positive[0], y=int | None), reader("b", "user", x=positive[1], y=Maybe)])

    def test_equal_defaults_may_be_written_in_several_ways(self) -> None:
        graph = build([reader("a", "user", x=(float, 1)), reader("b", "user", x=(float, 1.0))])
        assert graph.contexts["user"].parameters["x"].default_text == "1"

    def test_a_nullable_parameter_may_be_left_out(self) -> None:
        parameter = build([reader("a", "user", x=int | None)]).contexts["user"].parameters["x"]
        assert (parameter.required, parameter.default_text) == (False, None)

    def test_private_readers_and_views_are_in_no_bundle(self) -> None:
        graph = build(
            [
                reader("a", "user", user_id=int),
                reader("secret", "user", options={"private": True}, key=str),
                view("page", "user", "/{user_id}/", user_id=int),
            ]
        )
        plan = graph.contexts["user"]
        assert [one.name for one in plan.readers] == ["a"]
        assert [one.name for one in plan.pages] == ["secret", "page"]
        assert list(plan.parameters) == ["user_id"]

    def test_a_context_of_views_alone_has_their_parameters(self) -> None:
        graph = build([view("one", "pages", "/1/{a}/", a=int), view("two", "pages", "/2/{b}/", b=int)])
        assert graph.contexts["pages"].readers == ()
        assert list(graph.contexts["pages"].parameters) == ["a", "b"]

    def test_a_contexts_settings_are_found_on_any_reader(self) -> None:
        plain, set_up = Context("user"), Context("user", scopes=[("user_id",)], concurrent=True)
        for contexts in ((plain, set_up, plain), (set_up, plain, set_up)):
            functions = [reader(name, one, user_id=int) for name, one in zip("abc", contexts, strict=True)]
            plan = build(functions).contexts["user"]
            assert plan.concurrent
            assert plan.shapes == ((), ("user_id",))


class TestBindings:
    @pytest.mark.parametrize(
        ("returns", "field"),
        [
            (Shipment, "customer_id"),
            (Shipment | None, "customer_id"),
            (Shipment, "total"),
            (Shipment, "lines"),
            (Receipt, "number"),
            (Row, "customer_id"),
            (Found, "customer_id"),
            (Receipt | Shipment, "order_id"),
            (Wrapped, "inner"),
            (dict[str, int], "whatever"),
            (Any, "whatever"),
        ],
    )
    def test_a_field_of_the_result_may_be_bound(self, returns: Any, field: str) -> None:
        graph = build([USERS, mutation("m", USER.where(user_id=Result(field)), returns)])
        assert graph.functions["m"].affects[0].bindings == (("user_id", Result(field)),)

    def test_fields_of_a_type_local_to_a_function_may_be_bound(self) -> None:
        @dataclass
        class Local:
            user_id: int
            copied_from: "Local | None"

        @client(affects=USER.where(user_id=Result("user_id")))
        def m() -> Local: ...

        assert build([USERS, m]).functions["m"].affects[0].bindings == (("user_id", Result("user_id")),)
        assert "has no field 'usr_id'; did you mean" in str(
            defects_of(USERS, mutation("n", USER.where(user_id=Result("usr_id")), Local))
        )

    def test_lists_bind_to_scalars_and_lists_and_ids_to_numbers(self) -> None:
        bound = USER.where(user_id=Arg("ids"))
        assert build([USERS, mutation("m", bound, ids=list[int]), mutation("n", USER.where(user_id=Me))])
        tagged = reader("t", "tags", tags=list[str])
        assert build([tagged, mutation("m", Context("tags").where(tags=Arg("t")), t=tuple[str, ...])])


class TestAffects:
    def test_a_text_names_a_context_or_where_there_is_none_a_reader(self) -> None:
        graph = build(
            [
                reader("user", "people", person=int),
                reader("profile", "user", user_id=int),
                mutation("m", ["user", "profile", USERS, reader("user", "x")], user_id=int),
            ]
        )
        affects = [(affect.context, affect.function) for affect in graph.functions["m"].affects]
        assert affects == [("user", None), ("user", "profile"), ("user", "profile"), ("people", "user")]

    def test_arguments_bind_to_the_parameters_of_the_same_name(self) -> None:
        graph = build([reader("a", "user", user_id=int, page=(int, 1)), mutation("m", "user", name=str, user_id=int)])
        assert graph.functions["m"].affects[0].bindings == (("user_id", Arg("user_id")),)

    def test_plain_calls_affect_nothing_and_are_in_no_bundle(self) -> None:
        ping = build([USERS, client(function("ping"))]).functions["ping"]
        assert ping.affects == ()
        assert not ping.in_bundle


class TestPolicies:
    @pytest.mark.parametrize(
        ("options", "policy"),
        [
            ([{}], CachePolicy(0, UntilPurged(), Per.ALL, False)),
            ([{"rev": 2}, {"rev": 7}, {"rev": 1}], CachePolicy(7, UntilPurged(), Per.ALL, False)),
            ([{}, {"cache": 60}, {"cache": 30}], CachePolicy(0, Seconds(30), Per.ALL, False)),
            ([{"cache": 60}, {"cache": False}, {}], CachePolicy(0, policies.Never(), Per.ALL, False)),
            ([{"per": "all"}, {"per": "permissions"}], CachePolicy(0, UntilPurged(), Per.PERMISSIONS, False)),
            ([{"per": "user"}, {"per": "permissions"}, {}], CachePolicy(0, UntilPurged(), Per.USER, False)),
            ([{"auth": True}], CachePolicy(0, UntilPurged(), Per.USER, True)),
            ([{"auth": "staff", "per": "all"}, {}], CachePolicy(0, UntilPurged(), Per.ALL, True)),
            ([{"auth": bool, "per": "permissions"}], CachePolicy(0, UntilPurged(), Per.PERMISSIONS, True)),
        ],
    )
    def test_a_bundles_policy_is_that_of_its_readers_together(self, options: list[Any], policy: CachePolicy) -> None:
        readers = [reader(f"r{number}", "user", options=one) for number, one in enumerate(options)]
        plan = build(readers).contexts["user"]
        assert plan.policy == policy
        assert plan.policy.for_everyone == (policy.per is Per.ALL and not policy.guarded)

    def test_a_reader_given_the_identity_is_per_user_by_default(self) -> None:
        def policy(**options: Any) -> Per:
            return build([reader("r", "user", options=options, me=Identity | None)]).contexts["user"].policy.per

        assert policy() is Per.USER
        assert policy(per="permissions") is Per.PERMISSIONS

    def test_private_readers_do_not_touch_the_bundles_policy(self) -> None:
        secret = reader("secret", "user", options={"private": True, "cache": False, "auth": True, "rev": 3})
        assert build([reader("a", "user"), secret]).contexts["user"].policy.lifetime == UntilPurged()
        assert build([secret]).contexts["user"].policy == CachePolicy(3, policies.Never(), Per.USER, True)

    def test_a_page_has_the_strictest_policy_of_bundle_and_itself(self) -> None:
        page = reader("page", "user", HTMLResponse, options={"route": "/", "cache": 30})
        plan = build([reader("a", "user", options={"auth": True, "rev": 2}), page]).contexts["user"]
        assert plan.policy == CachePolicy(2, UntilPurged(), Per.USER, True)
        assert plan.page_policies == {"page": CachePolicy(2, Seconds(30), Per.USER, True)}


B, C = (int, 2), (int, 3)


def shapes(*functions: Any, scopes: Any = ()) -> list[str]:
    """The scope shapes of a context with the required parameters a, b and c, each as a text."""
    context = Context("abc", scopes=scopes)
    graph = build([reader("r", context, a=int, b=int, c=int), *functions])
    return ["".join(shape) for shape in graph.contexts["abc"].shapes]


class TestShapes:
    def test_the_whole_context_is_always_one(self) -> None:
        assert shapes() == [""]
        assert shapes(mutation("m", "abc", x=int)) == [""]

    def test_a_required_argument_always_narrows(self) -> None:
        assert shapes(mutation("m", "abc", a=int, b=int)) == ["", "ab"]

    def test_optional_arguments_narrow_in_every_combination(self) -> None:
        assert shapes(mutation("m", "abc", a=int, b=B, c=int | None)) == ["", "a", "ab", "ac", "abc"]
        assert shapes(mutation("m", "abc", a=list[int], b=PositiveInt)) == ["", "a", "b", "ab"]
        assert shapes(mutation("m", "abc", a=str, b=int)) == ["", "b"]

    def test_an_optional_parameter_gives_no_shape_by_its_name(self) -> None:
        narrow = [mutation("m", "c", a=int, b=int), mutation("n", Context("c").where(b=Arg("b")), b=int)]
        shapes_of = [build([reader("r", "c", a=int, b=B), *narrow[:count]]).contexts["c"].shapes for count in (1, 2)]
        assert shapes_of == [((), ("a",)), ((), ("a",), ("b",))]

    def test_bindings_narrow_together_or_not_at_all(self) -> None:
        where = Context("abc").where(b=Arg("x"), a=Me)
        assert shapes(mutation("m", where, x=(int, 1))) == ["", "ab"]

    def test_bodies_narrow_by_the_contexts_scopes(self) -> None:
        by_body = mutation("m", [Context("abc").by_body(), Context("abc").whole()], a=int)
        assert shapes(by_body) == [""]
        assert shapes(by_body, scopes=[("c", "a"), ("b",), ()]) == ["", "b", "ac"]

    def test_there_are_at_most_16_and_the_widest_come_first(self) -> None:
        names = "abcdef"
        optional: dict[str, Any] = dict.fromkeys(names, (int, 1))
        narrow = [mutation("m", "many", **optional), mutation("n", "many", f=int)]
        graph = build([reader("r", "many", **dict.fromkeys(names, int)), *narrow])
        assert graph.contexts["many"].shapes == (
            (),
            *((name,) for name in names),
            *(("a", other) for other in "bcdef"),
            *(("b", other) for other in "cdef"),
        )

    def test_an_unknown_shape_is_purged_by_the_largest_known_inside(self) -> None:
        plan = build([reader("r", Context("abc", scopes=["a", ("a", "b")][1:]), a=int, b=B, c=C)]).contexts["abc"]
        assert plan.known_shape(frozenset("abc")) == ("a", "b")
        assert plan.known_shape(frozenset("ab")) == ("a", "b")
        assert plan.known_shape(frozenset("bc")) == ()
        assert plan.known_shape(frozenset()) == ()


class TestFingerprint:
    def test_the_fingerprint_does_not_depend_on_order(self) -> None:
        def fingerprint(*functions: Any, **changed: Any) -> bytes:
            context = Context("c", scopes=changed.pop("scopes", ()))
            one = reader(changed.pop("name", "one"), context, **{"x": int, "y": (int, 1), **changed})
            return build([one, *functions]).contexts["c"].fingerprint

        other = reader("other", "c", x=int)
        assert build([other, reader("one", "c", x=int, y=(int, 1))]).contexts["c"].fingerprint == fingerprint(other)
        versions = [
            fingerprint(),
            fingerprint(other),
            fingerprint(name="two"),
            fingerprint(x=str),
            fingerprint(x=(int, 5)),
            fingerprint(y=(int, 2)),
            fingerprint(z=int),
            fingerprint(scopes=[("x",)]),
            fingerprint(mutation("m", Context("c").where(y=Arg("y")), y=int)),
        ]
        assert len(set(versions)) == len(versions)
        assert fingerprint(mutation("m", "c")) == fingerprint()


class TestGraph:
    def test_it_cannot_be_changed(self, world: World) -> None:
        graph = world.graph
        assert set(graph.contexts) == {"user", "orders", "inbox"}
        for mapping in (graph.functions, graph.contexts, graph.contexts["user"].parameters):
            with pytest.raises(TypeError):
                mapping["x"] = None  # type: ignore[index]

    def test_two_graphs_of_the_same_functions_live_side_by_side(self, world: World) -> None:
        one, other = build(world.functions), build(world.functions[:2])
        assert set(other.functions) == {"user_profile", "user_badges"}
        assert len(one.functions) == len(world.functions)

    def test_a_function_given_twice_is_one_function(self) -> None:
        assert list(build([USERS, USERS]).functions) == ["profile"]

    def test_a_function_of_a_graph_is_called_as_written(self) -> None:
        assert build([USERS]).functions["profile"].call is USERS

    def test_a_graph_knows_its_sources(self, world: World) -> None:
        assert build(iter(world.functions)).sources == tuple(world.functions)


MODULE = """
from mizan_core import client

@client(context={context!r})
def {name}(user_id: int) -> int: ...
"""


@pytest.fixture
def blog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty package that can be imported, and is forgotten afterwards."""
    package = tmp_path / "blog"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "blog"]:
        del sys.modules[name]


def write(package: Path, module: str, name: str, *, more: str = "") -> None:
    """A module with one reader, in subpackages that are made as needed."""
    path = package / module
    for folder in [one for one in path.parents if one.is_relative_to(package)]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    path.write_text(MODULE.format(context=name, name=name) + more)


class TestDiscover:
    def test_every_clients_module_below_a_package_is_imported(self, blog: Path) -> None:
        write(blog, "clients.py", "top")
        write(blog, "shop/clients.py", "shop")
        write(blog, "shop/deep/clients/orders.py", "orders")
        write(blog, "shop/deep/clients/__init__.py", "deep")
        write(blog, "shop/other.py", "other")
        assert set(discover("blog").functions) == {"top", "shop", "orders", "deep"}

    def test_discover_imports_only_clients_and_their_packages(self, blog: Path) -> None:
        write(blog, "clients.py", "top")
        (blog / "broken").mkdir()
        (blog / "broken" / "__init__.py").write_text("raise RuntimeError('imported')")
        (blog / "__main__.py").write_text("raise RuntimeError('run')")
        assert list(discover("blog").functions) == ["top"]

    def test_a_module_may_be_named_itself(self, blog: Path) -> None:
        write(blog, "anything.py", "top")
        assert list(discover("blog.anything").functions) == ["top"]

    def test_a_clients_package_may_be_named_itself(self, blog: Path) -> None:
        write(blog, "clients/orders.py", "orders")
        (blog / "clients" / "__init__.py").write_text(MODULE.format(context="top", name="top"))
        assert set(discover("blog.clients").functions) == {"top", "orders"}

    def test_a_function_that_several_modules_import_is_one_function(self, blog: Path) -> None:
        write(blog, "clients.py", "top")
        more = "from blog.clients import top\nalso = top\n"
        write(blog, "shop/clients.py", "shop", more=more)
        (blog / "clients.py").write_text(MODULE.format(context="top", name="top"))
        assert set(discover("blog").functions) == {"top", "shop"}

    @pytest.mark.parametrize("where", ["shop/clients.py", "shop/__init__.py"])
    @pytest.mark.parametrize("error", ["ImportError", "RuntimeError"])
    def test_errors_of_the_modules_pass_through(self, blog: Path, where: str, error: str) -> None:
        write(blog, "clients.py", "top")
        write(blog, "shop/clients.py", "shop")
        (blog / where).write_text(f"raise {error}('broken')")
        with pytest.raises((ImportError, RuntimeError), match="broken"):
            discover("blog")

    @pytest.mark.parametrize(
        ("target", "where"), [("blog", "a 'clients' module below 'blog'"), ("blog.empty", "module 'blog.empty'")]
    )
    def test_no_function_at_all_is_a_defect(self, blog: Path, target: str, where: str) -> None:
        (blog / "empty.py").touch()
        with pytest.raises(GraphError, match=f"no function marked with @client was found in {where}"):
            discover(target)

    def test_other_objects_in_a_module_are_left_alone(self, blog: Path) -> None:
        lazy = "class Lazy:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\nsettings = Lazy()\n"
        write(blog, "clients.py", "top", more=lazy)
        assert list(discover("blog").functions) == ["top"]

    def test_a_marked_function_below_a_decorator_is_found(self, blog: Path) -> None:
        write(blog, "clients.py", "top", more="import functools\ntop = functools.lru_cache(top)\n")
        with pytest.raises(GraphError, match="another decorator stands above @client"):
            discover("blog")

    def test_a_package_that_is_not_there_is_an_import_error(self) -> None:
        with pytest.raises(ModuleNotFoundError):
            discover("no_such_package")

    def test_a_graph_is_what_comes_of_it(self, blog: Path) -> None:
        write(blog, "clients.py", "top")
        assert isinstance(discover("blog"), Graph)
