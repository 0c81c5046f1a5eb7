"""The narrowing rules (protocol, section 4) against a model that decides, bundle by bundle, what is out of date.

Worlds, calls and outcomes are generated. The model knows no scopes, tags, products or canonical texts: it looks values
up in a table of what fits which type, and asks of every bundle whether each parameter that narrows has a value that was
named.
"""

import datetime
import enum
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from mizan_core import (
    Arg,
    Context,
    Graph,
    Identity,
    Invalidation,
    Me,
    Result,
    build,
    canonical,
    decode_header,
    encode_header,
)
from mizan_core.engine.cache_keys import CacheKeys
from mizan_core.graph.narrowing import Outcome, Refused, Returned, Running, Unknown, named, resolve
from mizan_core.protocol.keys import KeyMaker
from tests.declaring import mutation, reader


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


DAY = datetime.date(2026, 1, 2)

# The values that are sent, by the type they are sent as.
SENT: dict[Any, list[Any]] = {
    int: [1, 2],
    str: ["1", "01", "x", "null", "true", "red", "2026-01-02"],
    bool: [True, False],
    float: [1.0, 0.5],
    Color: [Color.RED, Color.BLUE],
    datetime.date: [DAY],
}
EVERYTHING = [value for values in SENT.values() for value in values]

# For each type of a parameter the values of `SENT` that fit it, by their canonical text. All others do not fit.
FITS: dict[Any, dict[str, list[Any]]] = {
    int: {"0": [False], "1": [1, "1", "01", True, 1.0], "2": [2]},
    str: {**{text: [text] for text in SENT[str]}, "red": ["red", Color.RED], "blue": [Color.BLUE]},
    bool: {"true": [True, "true", "1", 1, 1.0], "false": [False]},
    float: {"0": [False], "0.5": [0.5], "1": [1, "1", "01", True, 1.0], "2": [2]},
    Color: {"red": ["red", Color.RED], "blue": [Color.BLUE]},
    datetime.date: {"2026-01-02": [DAY, "2026-01-02"]},
}
FITS[str]["2026-01-02"].append(DAY)
LISTS = {(): "[]", (1,): "[1]", (2,): "[2]", (1, 2): "[1,2]", (2, 1): "[2,1]"}  # of a parameter that is a list[int]


def text_of(value: Any, kind: Any) -> str | None:
    """How a parameter of this type writes the value; None where it does not fit."""
    for text, spellings in FITS[kind].items():
        if any(type(one) is type(value) and one == value for one in spellings):
            return text
    return str(value) if kind in (int, float) and type(value) is int else None


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("value", EVERYTHING, ids=repr)
def test_the_models_table_agrees_with_pydantic(kind: Any, value: Any) -> None:
    plain = to_jsonable_python(value)
    try:
        found = canonical(TypeAdapter(kind).validate_python(plain))
    except ValidationError:
        found = None
    assert text_of(value, kind) == found


@dataclass(frozen=True)
class Param:
    kind: Any  # list for a parameter that is a list[int]
    nullable: bool
    optional: bool

    @property
    def annotation(self) -> Any:
        if self.kind is list:
            return list[int]
        return self.kind | None if self.nullable else self.kind

    @property
    def declared(self) -> Any:
        """The annotation, or a pair of that and the default."""
        if not self.optional:
            return self.annotation
        return self.annotation, [] if self.kind is list else None if self.nullable else SENT[self.kind][0]

    @property
    def texts(self) -> list[str | None]:
        """How bundles may have it; None is null."""
        texts = list(LISTS.values()) if self.kind is list else list(FITS[self.kind])
        return [*texts, None] if self.nullable else [*texts]

    def is_named_by(self, argument: "Argument") -> bool:
        """Whether an argument of the same name is the same thing, and this is no filter."""
        if self.optional or self.nullable:
            return False
        if self.kind is list:
            return (argument.collection, argument.kind, argument.nullable) == (list, int, False)
        return argument.kind is self.kind

    def named_by(self, value: Any) -> set[str] | None:
        """The texts that a value names, if it narrows at all."""
        if self.kind is list:
            return self._named_list(value)
        members = value if isinstance(value, list | tuple | set | frozenset) else [value]
        texts = {None if one is None else text_of(one, self.kind) for one in members}
        return None if not texts or None in texts else {text for text in texts if text is not None}

    def _named_list(self, value: Any) -> set[str] | None:
        if not isinstance(value, list | tuple | set | frozenset):
            return None
        if any(text_of(one, int) is None for one in value):
            return None
        numbers = [text_of(one, int) for one in (sorted(value) if isinstance(value, set) else value)]
        return {f"[{','.join(map(str, numbers))}]"}


Bundle = Mapping[str, str | None]


@dataclass(frozen=True)
class World:
    graph: Graph
    contexts: dict[str, dict[str, Param]]
    targets: list[tuple[str, str, dict[str, Any]]]  # a context, how it is narrowed, and the bindings
    arguments: Mapping[str, "Argument"]

    def bundles(self) -> Iterable[tuple[str, Bundle]]:
        """Every bundle of every context, by what its parameters are."""
        for context, params in self.contexts.items():
            for texts in itertools.product(*(param.texts for param in params.values())):
                yield context, dict(zip(params, texts, strict=True))

    def matches(self, context: str, values: Mapping[str, Any], bundle: Bundle) -> bool:
        """Whether a bundle is among those that these values name. Parameters that do not narrow name all of them."""
        entries = 1
        for name in sorted(values):
            texts = self.contexts[context][name].named_by(values[name])
            if texts is None or entries * len(texts) > 64:
                continue
            entries *= len(texts)
            if bundle[name] not in texts:
                return False
        return True

    def matches_by_body(self, context: str, values: Mapping[str, Any], bundle: Bundle) -> bool:
        """The same where a body names them, for which a null of a nullable parameter is one of its values."""
        params = self.contexts[context]
        nulls = [name for name, value in values.items() if value is None and params[name].nullable]
        rest = {name: value for name, value in values.items() if name not in nulls}
        return all(bundle[name] is None for name in nulls) and self.matches(context, rest, bundle)

    def is_stale(self, context: str, bundle: Bundle, call: "Call") -> bool:
        """Whether the bundle is stale after the call, by the protocol."""
        of_body = [values for name, values in call.body if name == context]
        if any(self.matches_by_body(context, values, bundle) for values in of_body):
            return True
        return not isinstance(call.outcome, Refused) and any(
            self._is_hit(context, how, bindings, bundle, call, of_body)
            for name, how, bindings in self.targets
            if name == context
        )

    def _is_hit(
        self, context: str, how: str, bindings: dict[str, Any], bundle: Bundle, call: "Call", of_body: Sequence[Any]
    ) -> bool:
        match how:
            case "whole":
                return True
            case "by_body":
                return isinstance(call.outcome, Unknown) or not of_body
            case "by_name":
                params = self.contexts[context]
                names = [one for one in call.sent if one in params and params[one].is_named_by(self.arguments[one])]
                return self.matches(context, {name: call.sent[name] for name in names}, bundle)
        values = {name: call.value_of(binding) for name, binding in bindings.items()}
        return None in values.values() or self.matches(context, values, bundle)


@dataclass(frozen=True)
class Call:
    sent: dict[str, Any]
    user_id: str | None
    outcome: Outcome
    body: list[tuple[str, dict[str, Any]]]

    def value_of(self, binding: Any) -> Any:
        match binding:
            case Arg(name=name):
                return self.sent.get(name)
            case Result(field=name):
                result: Any = self.outcome.result if isinstance(self.outcome, Returned) else {}
                return result.get(name)
        return self.user_id


NAMES = ["p", "q", "r"]
kinds = st.sampled_from([*SENT])
params = st.one_of(
    st.builds(Param, kinds, st.booleans(), st.booleans()),
    st.builds(Param, st.just(list), st.just(False), st.booleans()),
)


@dataclass(frozen=True)
class Argument:
    kind: Any
    collection: Any  # None, list or set
    nullable: bool
    optional: bool

    @property
    def declared(self) -> Any:
        one = (
            self.kind if self.collection is None else self.collection[self.kind | None if self.nullable else self.kind]
        )
        annotation = one | None if self.collection is None and self.nullable else one
        default = SENT[self.kind][0] if self.collection is None else self.collection()
        return (annotation, default) if self.optional else annotation

    def values(self) -> st.SearchStrategy[Any]:
        one = st.sampled_from(SENT[self.kind])
        if self.collection is None:
            return one | st.none() if self.nullable else one
        member = one | st.none() if self.nullable and self.collection is list else one
        some: st.SearchStrategy[Any] = st.lists(member, max_size=3)
        if self.kind is int:
            many = [list(range(9)), list(range(64)), list(range(65)), [2] * 100]
            some |= st.sampled_from(many)
        return some.map(set) if self.collection is set else some


arguments = st.builds(Argument, kinds, st.sampled_from([None, None, None, list, set]), st.booleans(), st.booleans())
any_value = st.one_of(
    st.sampled_from(EVERYTHING), st.none(), st.lists(st.sampled_from(EVERYTHING), max_size=3), st.just(list(range(65)))
)


def bindings_for(param: Param, given_arguments: Mapping[str, Argument]) -> list[Any]:
    """The bindings of this parameter that `build` accepts, because their values may fit it."""
    if param.kind is list:
        return [Result("one"), *(Arg(name) for name, one in given_arguments.items() if one.collection is not None)]
    fitting = [Arg(name) for name, one in given_arguments.items() if one.kind in (str, param.kind)]
    return [Me, Result("one"), Result("other"), *fitting]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, dict[str, Argument]]:
    """One or two contexts, and one mutation on them, declared in any way that the graph takes."""
    given_arguments = draw(st.dictionaries(st.sampled_from([*NAMES, "x"]), arguments, max_size=4))
    contexts, functions, affects, targets = {}, [], [], []
    for name in draw(st.sampled_from([["c"], ["c", "d"]])):
        own = contexts[name] = draw(st.dictionaries(st.sampled_from(NAMES), params, min_size=1, max_size=3))
        some = st.sets(st.sampled_from(sorted(own)))
        context = Context(name, scopes=draw(st.lists(some, max_size=2)))
        readers = [
            reader(f"{name}_all", context, **{key: param.declared for key, param in own.items()}),
            reader(f"{name}_some", context, **{key: own[key].declared for key in draw(some)}),
        ]
        functions += readers
        for how in draw(st.lists(st.sampled_from(["by_name", "where", "whole", "by_body"]), min_size=1, max_size=2)):
            bound = sorted(draw(some) or own)
            bindings = {key: draw(st.sampled_from(bindings_for(own[key], given_arguments))) for key in bound}
            affects.append(
                {
                    "by_name": draw(st.sampled_from([context, name, *readers])),
                    "where": context.where(**bindings),
                    "whole": context.whole(),
                    "by_body": context.by_body(),
                }[how]
            )
            targets.append((name, how, bindings))
    declared = {key: argument.declared for key, argument in given_arguments.items()}
    graph = build([*functions, mutation("m", affects, dict[str, Any], **declared)])
    return World(graph, contexts, targets, given_arguments), given_arguments


@st.composite
def calls(draw: st.DrawFn, world: World, given_arguments: Mapping[str, Argument]) -> Call:
    sent = {
        name: draw(argument.values())
        for name, argument in given_arguments.items()
        if not argument.optional or draw(st.booleans())
    }
    result = draw(st.dictionaries(st.sampled_from(["one", "other"]), any_value))
    outcome: Outcome = draw(st.sampled_from([Returned(result), Returned(result), Refused(), Unknown()]))
    body = [
        (name, draw(st.dictionaries(st.sampled_from(sorted(world.contexts[name])), any_value)))
        for name in draw(st.lists(st.sampled_from(sorted(world.contexts)), max_size=2))
    ]
    return Call(sent, draw(st.sampled_from(["1", "x", "red", None])), outcome, body)


@st.composite
def worlds_with_calls(draw: st.DrawFn) -> tuple[World, list[Call]]:
    """Several calls for each world, because a world costs more than a call."""
    world, given_arguments = draw(worlds())
    return world, draw(st.lists(calls(world, given_arguments), min_size=1, max_size=5))


def invalidations(world: World, call: Call) -> tuple[Invalidation, ...]:
    """The invalidations of the call, by the library."""
    function = world.graph.functions["m"]
    body = [one for name, values in call.body for one in named(world.graph, name, values)]
    sent = function.validator.validate(call.sent)
    return resolve(world.graph, function, sent, Identity(call.user_id), call.outcome, body)


def are_named(context: str, bundle: Bundle, found: Iterable[Invalidation]) -> bool:
    """Whether one of the invalidations names this bundle."""
    return any(one.context == context and all(bundle[key] == text for key, text in one.scope.items()) for one in found)


@settings(max_examples=80)
@given(worlds_with_calls())
def test_exactly_the_stale_bundles_of_the_model_are_named(drawn: tuple[World, list[Call]]) -> None:
    world, several = drawn
    for call in several:
        found = invalidations(world, call)
        for context, bundle in world.bundles():
            assert are_named(context, bundle, found) == world.is_stale(context, bundle, call), (context, bundle)


@settings(max_examples=60)
@given(worlds_with_calls())
def test_the_cache_keeps_exactly_the_fresh_bundles(
    drawn: tuple[World, list[Call]],
) -> None:
    world, several = drawn
    addresses = CacheKeys(world.graph, KeyMaker("s" * 32))
    for call in several:
        found = invalidations(world, call)
        purged = {scope.tag for scope in addresses.purged(found)}
        for context, bundle in world.bundles():
            plan = world.graph.contexts[context]
            exact = all(tuple(sorted(one.scope)) in plan.shapes for one in found if one.context == context)
            texts = {name: text for name, text in bundle.items() if text is not None}
            is_dead = not purged.isdisjoint(addresses.page(plan, texts).tags)
            is_stale = world.is_stale(context, bundle, call)
            assert is_dead == is_stale if exact else is_dead >= is_stale, (context, bundle)


@settings(max_examples=60)
@given(worlds_with_calls())
def test_no_reader_alone_outlives_a_bundle_that_it_is_in(drawn: tuple[World, list[Call]]) -> None:
    world, several = drawn
    addresses = CacheKeys(world.graph, KeyMaker("s" * 32))
    for call in several:
        purged = {scope.tag for scope in addresses.purged(invalidations(world, call))}
        for context, bundle in world.bundles():
            plan = world.graph.contexts[context]
            texts = {name: text for name, text in bundle.items() if text is not None}
            is_dead = not purged.isdisjoint(addresses.page(plan, texts).tags)
            for alone in plan.readers_alone.values():
                own = {name: text for name, text in texts.items() if name in alone.parameters}
                dies = not purged.isdisjoint(addresses.page(alone, own).tags)
                assert dies >= is_dead, (alone.label, bundle)
                assert alone.loose or dies == is_dead, (alone.label, bundle)


@settings(max_examples=40)
@given(worlds_with_calls())
def test_arguments_always_narrow_to_a_known_scope(drawn: tuple[World, list[Call]]) -> None:
    world, several = drawn
    for call in several:
        if all(how != "where" for _, how, _ in world.targets):
            for one in invalidations(world, replace(call, outcome=Unknown(), body=[])):
                assert tuple(sorted(one.texts)) in world.graph.contexts[one.context].shapes


@settings(max_examples=40)
@given(worlds_with_calls())
def test_held_scopes_are_stale_after_success(drawn: tuple[World, list[Call]]) -> None:
    world, several = drawn
    for call in several:
        held = invalidations(world, replace(call, outcome=Running(), body=[]))
        ended = replace(call, outcome=Returned({}))
        for context, bundle in world.bundles():
            if are_named(context, bundle, held):
                assert world.is_stale(context, bundle, ended), (context, bundle)


@settings(max_examples=40)
@given(worlds_with_calls())
def test_a_header_names_every_stale_scope_without_overlap(drawn: tuple[World, list[Call]]) -> None:
    world, several = drawn
    for call in several:
        found = invalidations(world, call)
        assert len(set(found)) == len(found)
        for context in {one.context for one in found if one.is_whole and one.function is None}:
            assert [one for one in found if one.context == context] == [Invalidation(context)]
        read = decode_header(encode_header(found))
        for context, bundle in world.bundles():
            assert are_named(context, bundle, read) >= are_named(context, bundle, found)
