"""`@client`: what it marks, and every mistake that can be seen in one declaration by itself."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
from pydantic import Field
from starlette.responses import HTMLResponse, Response

from mizan_core import Arg, Context, DeclarationError, Identity, Me, Result, client
from mizan_core.graph.access import Anyone, Check, SignedIn, Staff, Superuser
from mizan_core.graph.declare import ByBody, ByName, Declaration, Target, Where, Whole, declaration_of
from mizan_core.protocol.cache_policy import Never, Per, Seconds, UntilPurged
from mizan_core.protocol.urls import route_parameters
from tests.protocol.test_values import BAD_NAMES, GOOD_NAMES


def read(user_id: int) -> str:
    return f"user {user_id}"


def page(user_id: int) -> Response:
    return HTMLResponse(str(user_id))


def marked(function: Callable[..., Any] = read, /, **options: Any) -> Declaration:
    """The declaration that `@client(**options)` notes on a copy of this function."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__annotations__ = dict(function.__annotations__)
    mark = client(**options)(copy)
    assert (mark is copy) != ("affects" in options)
    found = declaration_of(mark)
    assert found is not None
    return found


class TestMarking:
    def test_a_marked_function_is_the_function_itself(self) -> None:
        @client(context="user")
        def badges(user_id: int, limit: int = 10) -> list[int]:
            return [user_id, limit]

        assert badges(5) == [5, 10]
        assert inspect.isfunction(badges)
        assert [name for name in vars(badges) if name.startswith("__mizan")] == ["__mizan__"]

    def test_it_can_be_marked_without_options(self) -> None:
        @client
        async def ping() -> None: ...

        declaration = declaration_of(ping)
        assert declaration is not None
        assert (declaration.name, declaration.context, declaration.affects) == ("ping", None, ())
        assert declaration.function is ping

    def test_omitted_options_have_their_defaults(self) -> None:
        declaration = marked(context="user")
        assert declaration.guard == Anyone()
        assert declaration.lifetime == UntilPurged()
        assert (declaration.private, declaration.route, declaration.methods) == (False, None, ())
        assert (declaration.rev, declaration.per) == (0, None)

    def test_an_unmarked_function_has_no_declaration(self) -> None:
        assert declaration_of(read) is None
        assert declaration_of(None) is None

    def test_a_context_is_named_by_text_or_by_a_context(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)], concurrent=True)
        assert marked(context="user").context == Context("user")
        assert marked(context=orders).context is orders

    def test_clients_may_call_it_by_another_name(self) -> None:
        assert marked(name="user.profile-2").name == "user.profile-2"

    @pytest.mark.parametrize(
        ("auth", "guard"),
        [
            (None, Anyone()),
            (False, Anyone()),
            (True, SignedIn()),
            ("staff", Staff()),
            ("superuser", Superuser()),
            (max, Check(max)),  # without a signature, on every Python
        ],
    )
    def test_auth_takes_true_staff_superuser_and_guards(self, auth: object, guard: object) -> None:
        assert marked(auth=auth).guard == guard

    @pytest.mark.parametrize(
        ("cache", "lifetime"), [(True, UntilPurged()), (False, Never()), (1, Seconds(1)), (60, Seconds(60))]
    )
    def test_cache_says_how_long_and_one_second_is_not_true(self, cache: object, lifetime: object) -> None:
        assert marked(context="user", cache=cache).lifetime == lifetime

    def test_per_takes_all_user_and_permissions(self) -> None:
        assert [marked(context="user", per=per).per for per in ("all", "user", "permissions", None)] == [
            Per.ALL,
            Per.USER,
            Per.PERMISSIONS,
            None,
        ]

    def test_a_routes_default_method_is_get_or_post(self) -> None:
        route = "/users/{user_id}/"
        assert marked(context="user", route=route).methods == ("GET",)
        assert marked(affects="user", route=route).methods == ("POST",)
        assert marked(route=route).methods == ("POST",)
        assert marked(context="user", route=route, methods=("post", "GET", "POST")).methods == ("GET", "POST")
        assert marked(route=route, methods={"get"}).methods == ("GET",)
        assert marked(affects="user", route=route, methods=["PUT", "patch"]).methods == ("PATCH", "PUT")

    def test_route_parameters_are_read_with_and_without_convertors(self) -> None:
        assert route_parameters("/a/{user_id}/{rest:path}/") == ("user_id", "rest")
        assert marked(page, context="user", route="/a/{user_id:int}").route_parameters == ("user_id",)
        assert marked().route_parameters == ()


class TestAffects:
    def test_it_takes_contexts_names_readers_and_what_contexts_make(self) -> None:
        user = Context("user")

        @client(context=user, name="profile")
        def reader(user_id: int) -> str: ...

        assert marked(affects=[user, "inbox", reader, user.whole(), user.by_body()]).affects == (
            Target("user", ByName()),
            Target("inbox", ByName()),
            Target("profile", ByName(), reader_of="user"),
            Target("user", Whole()),
            Target("user", ByBody()),
        )

    def test_it_takes_one_thing_as_well_as_several(self) -> None:
        assert marked(affects="user").affects == marked(affects=("user",)).affects == marked(affects={"user"}).affects

    def test_spared_contexts_are_kept_once_and_in_order(self) -> None:
        assert marked(spares=["user", Context("inbox"), "user"]).spares == ("inbox", "user")
        assert marked(affects="user", spares="inbox").spares == ("inbox",)
        assert marked().spares == ()

    def test_a_set_of_targets_has_the_same_order_in_every_process(self) -> None:
        names = ["a", "b", "c", "d", "e"]
        assert [one.name for one in marked(affects=set(names)).affects] == names
        assert [one.name for one in marked(affects=names[::-1]).affects] == names[::-1]

    def test_bindings_are_kept_in_name_order(self) -> None:
        target = Context("orders").where(user_id=Me, team_id=Arg("from_team"), customer_id=Result("customer"))
        assert target.narrowing == Where(
            (("customer_id", Result("customer")), ("team_id", Arg("from_team")), ("user_id", Me))
        )


class TestContext:
    def test_its_scopes_are_sets_of_names(self) -> None:
        context = Context("orders", scopes=[("b", "a"), ["c"], ("a", "b", "a"), ()])
        assert context.scopes == (("a", "b"), ("c",), ("a", "b"), ())
        assert not context.concurrent

    def test_equal_settings_make_equal_contexts(self) -> None:
        assert Context("a", scopes=[("x", "y")]) == Context("a", scopes=[("y", "x")])
        assert Context("a") != Context("a", concurrent=True)

    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_a_good_name_names_contexts_and_functions(self, name: str) -> None:
        assert Context(name).name == name
        assert marked(name=name).name == name

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_bad_name_is_refused_in_every_place(self, name: str) -> None:
        for attempt in (
            lambda: Context(name),
            lambda: marked(context=name),
            lambda: marked(affects=name),
            lambda: marked(affects=["user", name]),
            lambda: marked(name=name),
        ):
            with pytest.raises(DeclarationError, match="a name starts with a letter") as refused:
                attempt()
            assert repr(name) in str(refused.value)

    @pytest.mark.parametrize(
        ("attempt", "words"),
        [
            (lambda: Context("a", scopes="xy"), ["Context 'a'", "scopes takes tuples", "scopes=[('x',)]"]),
            (lambda: Context("a", scopes=["x"]), ["Context 'a'", "scopes takes tuples", "scopes=[('x',)]"]),
            (lambda: Context("a").where(), ["Context 'a'", "without a binding narrows nothing", "use whole()"]),
            (
                lambda: Context("a").where(x="y"),
                ["Context 'a'", "where(x='y')", "neither Arg(...), Result(...) nor Me"],
            ),
            (
                lambda: Context("a").where(x=Arg),
                ["Context 'a'", "neither Arg(...), Result(...) nor Me"],
            ),
        ],
    )
    def test_settings_and_bindings_that_make_no_sense_are_refused(
        self, attempt: Callable[[], object], words: list[str]
    ) -> None:
        with pytest.raises(DeclarationError) as refused:
            attempt()
        assert all(word in str(refused.value) for word in words)


def yields(user_id: int) -> Iterator[int]:
    yield user_id


async def yields_later(user_id: int) -> AsyncIterator[int]:
    yield user_id


def takes_anything(*values: int) -> int: ...


def takes_any_name(**values: int) -> int: ...


def by_position(user_id: int, /) -> int: ...


def in_another_script(größe: int) -> int: ...  # noqa: PLC2401


def unannotated(user_id) -> int: ...


def of_an_instance(self, user_id: int) -> int: ...


def with_a_field(user_id: int = Field(gt=0)) -> int: ...


def returns_something(user_id: int):
    return user_id


def view_or_data(user_id: int) -> Response | int: ...


def maybe_a_view(user_id: int) -> HTMLResponse | None: ...


def misspelled(user_id: "int |") -> int: ...  # noqa: F722


def subscripted(user_id: "int[str]") -> int: ...


@client(affects="user", name="rename")
def not_a_reader(user_id: int) -> None: ...


USER = Context("user")

# The function, the options, and what the error has to say: the reason, and where it is not the same, the remedy.
MISTAKES: list[tuple[Callable[..., Any], dict[str, Any], list[str]]] = [
    (yields, {}, ["it yields", "returns its answer once"]),
    (yields_later, {}, ["it yields", "returns its answer once"]),
    (takes_anything, {}, ["*values takes anything", "name each argument"]),
    (takes_any_name, {}, ["**values takes anything", "name each argument"]),
    (of_an_instance, {}, ["takes 'self'", "mark a function of the module"]),
    (by_position, {}, ["'user_id' is positional-only", "drop the '/'"]),
    (in_another_script, {}, ["'größe' cannot name a parameter", "all ASCII"]),
    (unannotated, {}, ["'user_id' has no annotation", "cannot be validated"]),
    (with_a_field, {}, ["'user_id' has Field(...) for a default", "Annotated[..., Field(...)]"]),
    (returns_something, {}, ["return annotation is missing", "-> None"]),
    (misspelled, {}, ["its annotations cannot be read"]),
    (subscripted, {}, ["its annotations cannot be read"]),
    (page, {}, ["a web response needs a route", "route='/...'"]),
    (page, {"context": "user"}, ["a web response needs a route", "route='/...'"]),
    (view_or_data, {"route": "/{user_id}"}, ["a web response or data, depending", "one or the other"]),
    (maybe_a_view, {"route": "/{user_id}"}, ["a web response or data, depending", "one or the other"]),
    (
        page,
        {"route": "/{user_id}", "affects": USER.where(user_id=Result("user_id"))},
        ["Result(...) has no fields to read from a web response", "invalidate()"],
    ),
    (read, {"route": "/{id}/{page}/"}, ["its route has {id}, {page}", "does not take"]),
    (read, {"context": "user", "affects": "user"}, ["either reads (context=) or changes (affects=)", "split it"]),
    (read, {"rev": 1}, ["rev, cache and per", "give it a context or drop them"]),
    (read, {"affects": "user", "cache": 60}, ["rev, cache and per", "give it a context or drop them"]),
    (read, {"per": "user"}, ["rev, cache and per", "give it a context or drop them"]),
    (read, {"methods": ["GET"]}, ["methods belong to a route", "give it route='/...' or drop them"]),
    (
        read,
        {"affects": "user", "route": "/{user_id}", "methods": ["POST", "get"]},
        ["a mutation by GET would run whenever somebody follows a link", "use POST"],
    ),
    (read, {"context": 5}, ["context=5 is neither a Context nor a context's name"]),
    (read, {"context": ["user"]}, ["context=['user'] is neither a Context nor a context's name"]),
    (read, {"affects": []}, ["affects=[] names nothing", "leave it out"]),
    (read, {"affects": ()}, ["affects=[] names nothing", "leave it out"]),
    (read, {"affects": 5}, ["5 is neither a Context, a context's name nor a reader marked with @client"]),
    (read, {"affects": [read]}, ["neither a Context, a context's name nor a reader marked with @client"]),
    (read, {"affects": not_a_reader}, ["'rename' is not a reader", "nothing can make it out of date"]),
    (read, {"spares": []}, ["spares=[] names nothing", "leave it out"]),
    (read, {"spares": USER.whole()}, ["is neither a Context nor a context's name"]),
    (read, {"spares": ["a b"]}, ["'a b'"]),
    (read, {"context": "user", "spares": "user"}, ["a reader writes nothing", "drop it"]),
    (read, {"private": 1}, ["private=1 is neither True nor False"]),
    (read, {"private": None}, ["private=None is neither True nor False"]),
    *[
        (read, {"context": "user", "rev": rev}, [f"rev={rev!r} is not a whole number from 0"])
        for rev in (-1, True, 1.0)
    ],
    *[
        (
            read,
            {"context": "user", "cache": cache},
            [f"cache={cache!r} is neither True", "whole number of seconds from 1"],
        )
        for cache in (0, -1, 1.5, "60", None)
    ],
    *[
        (read, {"auth": auth}, [f"auth={auth!r} is neither True, 'staff', 'superuser'", "given the Identity"])
        for auth in (1, 0, "admin", "", ["staff"])
    ],
    *[
        (read, {"context": "user", "per": per}, [f"per={per!r} is neither 'all', 'user' nor 'permissions'"])
        for per in ("everyone", "", True, ["all"])
    ],
    *[(read, {"route": route}, [f"route={route!r} does not start with '/'"]) for route in ("", "a", "a/{user_id}", 5)],
    (read, {"route": "/{user_id}/{user_id:int}"}, ["has one parameter twice"]),
    (read, {"route": "/{user id}"}, ["'user id' cannot name a route parameter"]),
    (read, {"route": "/{}"}, ["'' cannot name a route parameter"]),
    *[
        (read, {"route": route}, [f"route={route!r} is a path such as '/profile/{{user_id}}/'", "without query"])
        for route in ("/a?b={user_id}", "/a#b", "/{user_id", "/user_id}", "/{user_id:}}", "/{{user_id}}")
    ],
    *[
        (read, {"route": "/{user_id}", "methods": methods}, [f"methods={methods!r} is not a list of HTTP methods"])
        for methods in ([], "POST", 5)
    ],
    (
        read,
        {"route": "/{user_id}", "methods": ["POST", "FETCH"]},
        ["methods=['POST', 'FETCH']: 'FETCH' is none of GET, POST, PUT, PATCH, DELETE"],
    ),
    (read, {"route": "/{user_id}", "methods": ["HEAD"]}, ["'HEAD' is none of GET"]),
]


class TestMistakes:
    @pytest.mark.parametrize(
        ("function", "options", "words"), MISTAKES, ids=[f"{one.__name__}: {words[0]}" for one, _, words in MISTAKES]
    )
    def test_a_mistake_is_refused_with_name_reason_and_remedy(
        self, function: Callable[..., Any], options: dict[str, Any], words: list[str]
    ) -> None:
        with pytest.raises(DeclarationError) as refused:
            marked(function, **options)
        said = str(refused.value)
        assert said.startswith(f"{function.__name__}: ")
        assert said.endswith(".")
        for word in words:
            assert word in said

    def test_a_function_with_another_name_is_named_by_it(self) -> None:
        with pytest.raises(DeclarationError, match=r"^profile: rev=-1"):
            marked(name="profile", context="user", rev=-1)

    def test_a_refused_function_is_not_marked(self) -> None:
        with pytest.raises(DeclarationError):
            client(rev=-1)(read)
        assert declaration_of(read) is None

    @pytest.mark.parametrize("thing", [5, Identity, functools.partial(print, 5), staticmethod(read), print, object()])
    def test_marking_something_else_than_a_function_is_refused(self, thing: Any) -> None:
        with pytest.raises(DeclarationError) as refused:
            client(context="user")(thing)
        assert repr(thing) in str(refused.value)
        assert "put it on a def, a bound method, a partial or an object" in str(refused.value)

    @pytest.mark.parametrize("thing", ["user", USER, USER.whole()])
    def test_targets_take_the_name_of_their_option(self, thing: Any) -> None:
        with pytest.raises(DeclarationError, match="use context= or affects="):
            client(thing)

    def test_a_lambda_has_no_name_that_could_be_called(self) -> None:
        with pytest.raises(DeclarationError, match="'<lambda>' cannot name a function"):
            client(lambda: 5)
