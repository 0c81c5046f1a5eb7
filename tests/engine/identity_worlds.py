"""Worlds with identity parameters, made at random: contexts, readers, mutations, and a truth that these read and write.

The truth is a list of writes. A write names the bundles that it changes, as a mutation's author would: by the values
that its arguments, its result and its caller have. A reader counts the writes that meet its arguments, so two answers
are equal only if they saw the same writes, the same arguments and the same of the caller.
"""

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mizan_core import (
    ANONYMOUS,
    Arg,
    Claim,
    Conflict,
    Context,
    Graph,
    Identity,
    Me,
    Result,
    build,
    canonical,
    client,
    invalidate,
)

Texts = Mapping[str, str | None]
Outcome = Literal["returns", "refuses", "fails"]

READING = frozenset({"read"})

# Two users in two tenants, visitors with and without a tenant, one user with other permissions, and claims that differ
# in their types alone or that fit no number.
CALLERS: dict[str, Identity] = {
    "ann of 1": Identity(1, claims={"org": 1, "teams": [1, 2]}),
    "ann of 2": Identity(1, claims={"org": 2, "teams": [2]}),
    "bob of 1": Identity(2, claims={"org": 1, "teams": []}),
    "bob of 2": Identity(2, claims={"org": 2}),
    "nobody": ANONYMOUS,
    "nobody of 1": Identity(None, claims={"org": 1, "teams": [1]}),
    "nobody of 2": Identity(None, claims={"org": 2}),
    "ann who reads": Identity(1, permissions=READING, claims={"org": 1, "teams": [1, 2]}),
    "bob who reads": Identity(2, permissions=READING, staff=True),
    "ann of text 1": Identity(1, claims={"org": "1", "teams": ["1"]}),
    "bob of true": Identity(2, claims={"org": True, "teams": 1}),
    "cy of x": Identity("x", claims={"org": "x"}),
}

# The values that clients send, by type.
KINDS: dict[Any, list[Any]] = {int: [1, 2], str: ["1", "x"], list[int]: [[], [1], [1, 2]]}


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def text_of(value: object, kind: Any) -> str | None:
    """How a parameter of this type writes the value; None where it does not fit."""
    try:
        return canonical(_adapter(kind).validate_python(value))
    except ValidationError:
        return None


@dataclass(frozen=True)
class Param:
    """A parameter of a context, or an argument of a mutation. `source`: None if clients send it."""

    kind: Any
    source: Any = None
    nullable: bool = False
    optional: bool = False

    @property
    def declared(self) -> inspect.Parameter:
        annotation = self.kind | None if self.nullable else self.kind
        if self.source is not None:
            annotation = Annotated[annotation, self.source]
        default = self.default if self.optional else inspect.Parameter.empty
        return inspect.Parameter("_", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    @property
    def default(self) -> object:
        return None if self.nullable else KINDS[self.kind][0]

    @property
    def has_nobody(self) -> bool:
        """Whether null stands for callers without a value: these have null, or no bundle at all."""
        return self.source is not None and (self.nullable or not self.optional)

    def text(self, identity: Identity) -> str | None:
        """The text of the caller's value. Raises LookupError for a caller that has none that fits."""
        raw = self.source.of(identity)
        if raw is None and (self.optional or self.nullable):
            return None if self.nullable else canonical(self.default)
        text = None if raw is None else text_of(raw, self.kind)
        if text is None:
            raise LookupError
        return text

    def is_named_by(self, argument: "Param") -> bool:
        """Whether an argument of the same name says which bundle is meant: it is the same thing, and this no filter."""
        if self.source is None and (self.optional or self.nullable):
            return False
        return argument.kind == self.kind or argument.kind == list[self.kind]

    def named_by(self, value: object) -> frozenset[str] | None:
        """The texts that a value names; None where it names none in particular."""
        members = value if isinstance(value, list) and self.kind != list[int] else [value]
        texts = [None if one is None else text_of(one, self.kind) for one in members]
        return None if not texts or None in texts else frozenset(text for text in texts if text is not None)


@dataclass(frozen=True)
class Reader:
    """A reader of a context. `sees`: what it shows of an `Identity` that it takes. `guarded_by`: an argument's name."""

    takes: tuple[str, ...]
    sees: str | None = None
    per: str | None = None
    auth: bool | str | None = None


@dataclass(frozen=True)
class Group:
    """A context. `scopes`: whether it declares every scope, so that bodies purge exactly what they name."""

    params: Mapping[str, Param]
    readers: tuple[Reader, ...]
    scopes: bool

    def texts(self, identity: Identity, sent: Mapping[str, object]) -> Texts:
        """The texts of a bundle's parameters. Raises LookupError for a caller that has none."""
        return {name: self._text(name, one, identity, sent) for name, one in self.params.items()}

    def _text(self, name: str, param: Param, identity: Identity, sent: Mapping[str, object]) -> str | None:
        if param.source is not None:
            return param.text(identity)
        value = sent.get(name, param.default if param.optional else None)
        return None if value is None else text_of(value, param.kind)


@dataclass(frozen=True)
class Affected:
    """A member of `affects`."""

    group: str
    how: Literal["by name", "where", "whole", "by body"]
    bindings: Mapping[str, Any]


@dataclass(frozen=True)
class Mutation:
    """A mutation. `guarded`: only for users."""

    args: Mapping[str, Param]
    affects: tuple[Affected, ...]
    takes_me: bool
    guarded: bool


@dataclass(frozen=True)
class Plan:
    """A world before it is built."""

    groups: Mapping[str, Group]
    mutations: Mapping[str, Mutation]
    bundles: tuple[tuple[str, Mapping[str, object]], ...]


@dataclass(frozen=True)
class Call:
    """A call of a mutation, and what its body does.

    `sent`: the arguments of a client, or all arguments of a call within another mutation's body. `named`: the scopes
    that its body names. `nothing`: it says that there are none to name. `inner`: the mutations that it calls.
    """

    mutation: str
    caller: str
    sent: Mapping[str, object]
    outcome: Outcome = "returns"
    result: Mapping[str, object] | None = None
    named: tuple[tuple[str, Mapping[str, object]], ...] = ()
    nothing: bool = False
    inner: tuple["Call", ...] = ()


@dataclass(frozen=True)
class Told:
    """A change from outside of any mutation, which the program tells the engine of."""

    group: str
    scope: Mapping[str, object]


@dataclass(frozen=True)
class Write:
    """A change of all bundles that have one of these texts for each of these parameters."""

    group: str
    where: Mapping[str, frozenset[str | None]]

    def touches(self, group: str, texts: Texts) -> bool:
        return group == self.group and all(name in texts and texts[name] in one for name, one in self.where.items())


class World:
    """The functions of a plan, and the truth that they read and write."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.writes: list[Write] = []
        self.running: list[Call] = []  # the calls whose bodies have not begun, the next one last
        self._contexts = {
            name: Context(name, scopes=list(_subsets(group.params)) if group.scopes else ())
            for name, group in plan.groups.items()
        }
        self._mutations = {name: self._mutation(name, one) for name, one in plan.mutations.items()}
        readers = [
            self._reader(f"{name}_{number}", name, one)
            for name, group in plan.groups.items()
            for number, one in enumerate(group.readers)
        ]
        self.graph: Graph = build([*readers, *self._mutations.values()])

    def _reader(self, name: str, group: str, reader: Reader) -> Any:
        params = {key: self.plan.groups[group].params[key] for key in reader.takes}

        async def read(**passed: Any) -> dict[str, Any]:
            me: Identity = passed.pop("me", ANONYMOUS)
            given = {**{key: one.default for key, one in params.items() if one.optional}, **passed}
            texts = {key: None if value is None else canonical(value) for key, value in given.items()}
            seen = sum(write.touches(group, texts) for write in self.writes)
            return {"given": given, "seen": seen, "me": _shown(me, reader.sees)}

        function = _declared(name, read, params, takes_me=reader.sees is not None)
        return client(context=self._contexts[group], per=reader.per, auth=_guard(reader, name))(function)

    def _mutation(self, name: str, mutation: Mutation) -> Any:
        async def run(**given: Any) -> dict[str, Any]:
            call = self.running.pop()
            for inner in call.inner:
                self.running.append(inner)
                with contextlib.suppress(Conflict, RuntimeError):
                    await self._mutations[inner.mutation](**self._as_python(inner))
            for group, scope in call.named:
                self.writes.append(self.named(group, scope))
                invalidate(self._contexts[group], **scope)
            if call.nothing:
                invalidate.nothing()
            self.writes += self._written(mutation, call, given)
            if call.outcome == "refuses":
                raise Conflict
            if call.outcome == "fails":
                raise RuntimeError
            return dict(call.result or {})

        function = _declared(name, run, mutation.args, takes_me=mutation.takes_me)
        affects = [self._target(one) for one in mutation.affects]
        return client(affects=affects, auth=True if mutation.guarded else None)(function)

    def _as_python(self, call: Call) -> dict[str, Any]:
        me = {"me": CALLERS[call.caller]} if self.plan.mutations[call.mutation].takes_me else {}
        return {**call.sent, **me}

    def _target(self, affected: Affected) -> Any:
        context = self._contexts[affected.group]
        match affected.how:
            case "where":
                return context.where(**affected.bindings)
            case "whole":
                return context.whole()
            case "by body":
                return context.by_body()
        return context

    def named(self, group: str, scope: Mapping[str, object]) -> Write:
        """What a body changes that names this scope: a null is one of a nullable parameter's values."""
        where: dict[str, frozenset[str | None]] = {}
        for name, value in scope.items():
            param = self.plan.groups[group].params[name]
            texts = frozenset([None]) if value is None and param.nullable else param.named_by(value)
            if texts is not None:
                where[name] = texts
        return Write(group, where)

    def _written(self, mutation: Mutation, call: Call, given: Mapping[str, object]) -> Iterator[Write]:
        """What a body writes in the contexts that it affects: all that its declaration covers, and no more."""
        if call.outcome == "refuses":
            return
        for affected in mutation.affects:
            match affected.how:
                case "by name":
                    yield self._by_name(mutation, affected.group, call, given)
                case "where":
                    yield self._where(mutation, affected, call, given)
                case "whole":
                    yield Write(affected.group, {})
                case _:
                    names = call.nothing or any(group == affected.group for group, _ in call.named)
                    if call.outcome == "fails" or not names:
                        yield Write(affected.group, {})

    def _by_name(self, mutation: Mutation, group: str, call: Call, given: Mapping[str, object]) -> Write:
        where: dict[str, frozenset[str | None]] = {}
        for name, param in self.plan.groups[group].params.items():
            argument = mutation.args.get(name)
            if argument is None or not param.is_named_by(argument):
                continue
            if not _is_given(name, argument, call, given):
                continue
            value = given[name]
            texts = (
                frozenset([None]) if value is None and argument.source and param.has_nobody else param.named_by(value)
            )
            if texts is not None:
                where[name] = texts
        return Write(group, where)

    def _where(self, mutation: Mutation, affected: Affected, call: Call, given: Mapping[str, object]) -> Write:
        where: dict[str, frozenset[str | None]] = {}
        for name, binding in affected.bindings.items():
            param = self.plan.groups[affected.group].params[name]
            match binding:
                case Arg(name=argument):
                    is_given = _is_given(argument, mutation.args[argument], call, given)
                    is_of_identity = is_given and mutation.args[argument].source is not None
                    value = given[argument] if is_given else None
                case Result(field=field):
                    is_of_identity = False
                    value = (call.result or {}).get(field) if call.outcome == "returns" else None
                case _:
                    is_of_identity = True
                    value = binding.of(CALLERS[call.caller])
            if value is None and not (is_of_identity and param.has_nobody):
                return Write(affected.group, {})
            texts = frozenset([None]) if value is None else param.named_by(value)
            if texts is not None:
                where[name] = texts
        return Write(affected.group, where)


def _is_given(name: str, argument: Param, call: Call, given: Mapping[str, object]) -> bool:
    """Whether an argument has a value of the client's or the identity's, and not its default in a call in Python."""
    return name in call.sent or (argument.source is not None and name in given)


def _shown(me: Identity, sees: str | None) -> object:
    match sees:
        case "user":
            return me.user_id
        case "claims":
            return dict(me.claims)
        case "permissions":
            return sorted(me.permissions or ())
    return None


def _guard(reader: Reader, name: str) -> Any:
    if reader.auth == "its argument":  # it looks at what identity and client give

        async def allowed(me: Identity, **given: object) -> bool:
            return me.claims.get("org") != 2 or list(given.values()) != [1]

        first = reader.takes[0]
        allowed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what functools.wraps sets too
            [
                inspect.Parameter("me", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Identity),
                inspect.Parameter(first, inspect.Parameter.KEYWORD_ONLY),
            ]
        )
        return allowed
    if reader.auth == "its tenant":
        return lambda me: me.claims.get("org") != 2
    return reader.auth


def _declared(
    name: str, body: Callable[..., Any], params: Mapping[str, Param], *, takes_me: bool
) -> Callable[..., Any]:
    """The body as a function of this name with these parameters."""
    parameters = [one.declared.replace(name=key) for key, one in params.items()]
    if takes_me:
        parameters.append(inspect.Parameter("me", inspect.Parameter.KEYWORD_ONLY, annotation=Identity))
    body.__name__ = body.__qualname__ = name
    body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what functools.wraps sets too
        parameters, return_annotation=dict[str, Any]
    )
    return body


def _subsets(names: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    for count in range(1, len(names) + 1):
        yield from itertools.combinations(sorted(names), count)


# How worlds are drawn.

NAMES = ("p", "q", "r")
SOURCES = {int: [Me, Claim("org")], str: [Me, Claim("org")], list[int]: [Claim("teams")]}


@st.composite
def _params(draw: st.DrawFn) -> Param:
    kind = draw(st.sampled_from([int, int, str, list[int]]))
    source = draw(st.sampled_from([*SOURCES[kind], *SOURCES[kind], None]))
    is_list = kind == list[int] and source is None  # a client's list has no null, and no default but the empty one
    return Param(kind, source, not is_list and draw(st.booleans()), draw(st.sampled_from([False, False, True])))


@st.composite
def _groups(draw: st.DrawFn, known: Mapping[str, Param]) -> Group:
    names = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)))
    params = {name: draw(st.sampled_from([known[name], known[name], draw(_params())])) for name in names}
    readers = [draw(_readers(tuple(names)))]
    if draw(st.booleans()):
        readers.append(draw(_readers(tuple(draw(st.lists(st.sampled_from(names), unique=True, min_size=1))))))
    return Group(params, tuple(readers), draw(st.booleans()))


@st.composite
def _readers(draw: st.DrawFn, takes: tuple[str, ...]) -> Reader:
    sees = draw(st.sampled_from([None, None, "user", "claims", "permissions"]))
    for_all = ["all"] if sees is None else []
    per = draw(st.sampled_from([None, None, None, "user", "permissions", *for_all]))
    auth = draw(st.sampled_from([None, None, None, None, True, "staff", "its argument", "its tenant"]))
    return Reader(takes, sees, per, auth)


@st.composite
def _mutations(draw: st.DrawFn, known: Mapping[str, Param], groups: Mapping[str, Group]) -> Mutation:
    names = draw(st.sets(st.sampled_from([*NAMES, "x"]), max_size=3))
    args = {name: draw(_arguments(known.get(name))) for name in sorted(names)}
    affects = [
        draw(_affected(name, groups[name], args))
        for name in draw(st.lists(st.sampled_from(sorted(groups)), min_size=1, max_size=2, unique=True))
    ]
    return Mutation(args, tuple(affects), draw(st.booleans()), draw(st.sampled_from([False, False, True])))


@st.composite
def _arguments(draw: st.DrawFn, known: Param | None) -> Param:
    other = draw(_params())
    if known is None:
        return other
    sent = Param(known.kind, None, known.nullable and known.kind != list[int], known.optional)
    several = Param(list[int], None, False, other.optional)
    return draw(st.sampled_from([known, known, sent, several if known.kind is int else sent, other]))


@st.composite
def _affected(draw: st.DrawFn, name: str, group: Group, args: Mapping[str, Param]) -> Affected:
    how = draw(st.sampled_from(["by name", "by name", "by name", "where", "where", "whole", "by body"]))
    if how != "where":
        return Affected(name, how, {})
    bound = draw(st.lists(st.sampled_from(sorted(group.params)), min_size=1, unique=True))
    return Affected(name, "where", {key: draw(st.sampled_from(_bindings(group.params[key], args))) for key in bound})


def _bindings(param: Param, args: Mapping[str, Param]) -> list[Any]:
    """The bindings of this parameter that `build` accepts, because their values may fit it."""
    if param.kind == list[int]:
        return [Claim("teams"), Result("one"), *(Arg(name) for name, one in args.items() if one.kind == list[int])]
    fitting = [Arg(name) for name, one in args.items() if one.kind in (str, param.kind, list[param.kind])]
    return [Me, Claim("org"), *fitting, *fitting, Result("one")]


def _values(param: Param) -> st.SearchStrategy[Any]:
    some = st.sampled_from(KINDS[param.kind])
    return some | st.none() if param.nullable else some


@st.composite
def _sent(draw: st.DrawFn, params: Mapping[str, Param]) -> dict[str, Any]:
    """Values for parameters of which the optional ones may be left out."""
    return {name: draw(_values(one)) for name, one in params.items() if not one.optional or draw(st.booleans())}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """One or two contexts, and two or three mutations. Names mostly stand for the same thing everywhere."""
    known = {name: draw(_params()) for name in NAMES}
    groups = {name: draw(_groups(known)) for name in draw(st.sampled_from([["c"], ["c", "d"]]))}
    mutations = {name: draw(_mutations(known, groups)) for name in draw(st.sampled_from([["m"], ["m", "n"]]))}
    bundles = {
        (name, canonical(sent)): (name, sent)
        for name, group in groups.items()
        for sent in draw(st.lists(_sent(_from_clients(group.params)), min_size=1, max_size=2))
    }
    return Plan(groups, mutations, tuple(bundles.values()))


def _from_clients(params: Mapping[str, Param]) -> dict[str, Param]:
    return {name: one for name, one in params.items() if one.source is None}


@st.composite
def _calls(draw: st.DrawFn, plan: Plan, depth: int = 0, outer: str = "") -> Call:
    name = draw(st.sampled_from(sorted(plan.mutations)))
    mutation = plan.mutations[name]
    caller = draw(st.sampled_from(sorted(CALLERS))) if not outer or mutation.takes_me else outer
    inner: Sequence[Call] = ()
    if depth < 2 and draw(st.sampled_from([True, False, False])):
        inner = draw(st.lists(_calls(plan, depth + 1, caller), min_size=1, max_size=2))
    by_body = [one.group for one in mutation.affects if one.how == "by body"]
    namable = sorted(by_body or plan.groups)
    named = [
        (group, draw(_scopes(plan.groups[group])))
        for group in draw(st.lists(st.sampled_from(namable), max_size=2 if by_body else 1))
    ]
    return Call(
        name,
        caller,
        draw(_sent(mutation.args if outer else _from_clients(mutation.args))),
        draw(st.sampled_from(["returns", "returns", "returns", "refuses", "fails"])),
        draw(st.dictionaries(st.just("one"), st.sampled_from([1, 2, "1", "x", None, [1], [1, 2]]))),
        tuple(named),
        bool(by_body) and draw(st.booleans()),
        tuple(inner),
    )


@st.composite
def _scopes(draw: st.DrawFn, group: Group) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(group.params)), unique=True))
    return {name: draw(_values(group.params[name]) | st.none()) for name in names}


@st.composite
def plans_with_steps(draw: st.DrawFn) -> tuple[Plan, tuple[Call | Told, ...]]:
    """A plan, and calls by anyone, because a world costs more than a call."""
    plan = draw(plans())
    told = st.sampled_from(sorted(plan.groups)).flatmap(
        lambda name: st.builds(Told, st.just(name), _scopes(plan.groups[name]))
    )
    steps = draw(st.lists(st.one_of(_calls(plan), _calls(plan), _calls(plan), told), min_size=1, max_size=6))
    return plan, tuple(steps)
