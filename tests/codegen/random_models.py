"""Random models as the text of a module, with values that fit them, and values that hardly do.

The grammar is what TypeScript can say exactly. It leaves out constraints, texts of a format (dates, decimals), fields
that are ignored if unknown (a literal that has them is refused by TypeScript alone), named tuples (which an object
fits as well), and unions of two kinds of objects or of arrays without a discriminator (of which TypeScript takes a
literal that mixes them). An `int` is a `number`, so a number that is not whole is only ever sent to a `float`.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = Any

_HEADER = """
import enum
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from mizan_core import client

T = TypeVar("T")
FORBID = ConfigDict(extra="forbid")


class Box(BaseModel, Generic[T]):
    model_config = FORBID
    content: T
    spare: Optional[T] = None
"""

# So many models may use each other; otherwise the last ones contain all of them.
_RELATED = 10

_WORDS = ["a", "b", "red", "deep blue", 'qu"ote', "größe", ""]


@dataclass(frozen=True)
class Kind:
    """A type: its text, a value that fits, and what values it takes besides scalars: "object", "array", "any"."""

    text: str
    sample: Callable[[], Json]
    takes: frozenset[str] = frozenset()


@dataclass
class Models:
    """Makes models, each of which may use those before it."""

    rng: random.Random
    source: list[str] = field(default_factory=lambda: [_HEADER])
    known: list[Kind] = field(default_factory=list)
    tagged: list[Kind] = field(default_factory=list)

    def model(self, number: int) -> Kind:
        """One more model, with a function that takes and returns it."""
        if number % _RELATED == 0:
            self.known.clear()
            self.tagged.clear()
        name = f"M{number}"
        make = self.rng.choice(
            [self._pydantic, self._pydantic, self._pydantic, self._typed_dict, self._dataclass, self._root, self._enum]
        )
        kind = make(name)
        self.known.append(kind)
        self.source.append(f"@client\nasync def f{number}(value: {kind.text}) -> {kind.text}: ...\n")
        return kind

    def _pydantic(self, name: str) -> Kind:
        extra = self.rng.choice(["forbid", "forbid", "forbid", "allow"])
        members = self._members()
        lines = [f"    model_config = ConfigDict(extra={extra!r})"]
        is_tagged = self.rng.random() < 0.6
        if is_tagged:
            lines.append(f"    kind: Literal[{name!r}]")
        for place, (kind, form) in enumerate(members):
            alias = f"alias='f-{place}'" if form.aliased else ""
            default = form.default
            value = (
                f" = Field({', '.join(filter(None, [default, alias]))})" if alias else f" = {default}" * bool(default)
            )
            lines.append(f"    f{place}: {kind.text}{value}")
        recursive = self.rng.random() < 0.2
        if recursive:
            lines.append(f"    again: list['{name}'] = []")
        self.source.append(f"class {name}(BaseModel):\n" + "\n".join(lines) + "\n")

        def sample() -> Json:
            value = {f"f-{n}" if form.aliased else f"f{n}": kind.sample() for n, (kind, form) in enumerate(members)}
            for place, (_, form) in enumerate(members):
                if form.default and self.rng.random() < 0.4:
                    value.pop(f"f-{place}" if form.aliased else f"f{place}")
            if recursive and self.rng.random() < 0.3:
                value["again"] = [sample()]
            return value | ({"kind": name} if is_tagged else {})

        kind = Kind(name, sample, frozenset({"object"}))
        if is_tagged:
            self.tagged.append(kind)
        return kind

    def _typed_dict(self, name: str) -> Kind:
        members = [(kind, self.rng.random() < 0.5) for kind, _ in self._members()]
        lines = [
            f"    f{n}: {kind.text if required else f'NotRequired[{kind.text}]'}"
            for n, (kind, required) in enumerate(members)
        ]
        self.source.append(f"class {name}(TypedDict):\n    __pydantic_config__ = FORBID\n" + "\n".join(lines) + "\n")

        def sample() -> Json:
            present = [(n, kind) for n, (kind, required) in enumerate(members) if required or self.rng.random() < 0.6]
            return {f"f{n}": kind.sample() for n, kind in present}

        return Kind(name, sample, frozenset({"object"}))

    def _dataclass(self, name: str) -> Kind:
        members = [(kind, "") for kind, _ in self._members()]
        if self.rng.random() < 0.5:
            members.append((Kind("int", lambda: self.rng.randint(-3, 3)), " = 1"))
        lines = [f"    f{n}: {kind.text}{default}" for n, (kind, default) in enumerate(members)]
        self.source.append(f"@dataclass\nclass {name}:\n    __pydantic_config__ = FORBID\n" + "\n".join(lines) + "\n")

        def sample() -> Json:
            present = [(n, kind) for n, (kind, default) in enumerate(members) if not default or self.rng.random() < 0.6]
            return {f"f{n}": kind.sample() for n, kind in present}

        return Kind(name, sample, frozenset({"object"}))

    def _root(self, name: str) -> Kind:
        kind = self._kind(2)
        self.source.append(f"class {name}(RootModel[{kind.text}]):\n    pass\n")
        return Kind(name, kind.sample, kind.takes)

    def _enum(self, name: str) -> Kind:
        values: list[Json] = self.rng.sample([*_WORDS, 7, 8, -9], self.rng.randint(1, 4))
        lines = [f"    V{place} = {value!r}" for place, value in enumerate(values)]
        self.source.append(f"class {name}(enum.Enum):\n" + "\n".join(lines) + "\n")
        return Kind(name, lambda: self.rng.choice(values))

    def _members(self) -> list[tuple[Kind, "Form"]]:
        members = [(self._kind(2), Form(self.rng)) for _ in range(self.rng.randint(1, 4))]
        return [
            (Kind(f"Optional[{kind.text}]", self._or_null(kind), kind.takes), form) if form.nullable else (kind, form)
            for kind, form in members
        ]

    def _or_null(self, kind: Kind) -> Callable[[], Json]:
        return lambda: None if self.rng.random() < 0.4 else kind.sample()

    def _kind(self, depth: int) -> Kind:
        rng = self.rng
        leaves = [self._scalar, self._scalar, self._scalar, self._literal, self._literal, self._model]
        inner = [self._list, self._set, self._dict, self._tuple, self._union, self._any, self._box, self._discriminated]
        return rng.choice([*leaves, *(inner if depth > 0 else [])])(depth - 1)

    def _scalar(self, _: int) -> Kind:
        rng = self.rng
        return rng.choice(
            [
                Kind("int", lambda: rng.choice([0, -5, 12345678901])),
                Kind("float", lambda: rng.choice([0, 1.5, -2.25e-7])),
                Kind("str", lambda: rng.choice(_WORDS)),
                Kind("bool", lambda: rng.random() < 0.5),
                Kind("None", lambda: None),
            ]
        )

    def _literal(self, _: int) -> Kind:
        values: list[Json] = self.rng.sample([*_WORDS, 7, -8, 9, None], self.rng.randint(1, 3))
        return Kind(f"Literal[{', '.join(map(repr, values))}]", lambda: self.rng.choice(values))

    def _model(self, depth: int) -> Kind:
        return self.rng.choice(self.known) if self.known else self._scalar(depth)

    def _list(self, depth: int) -> Kind:
        kind = self._kind(depth)
        return Kind(f"list[{kind.text}]", self._some(kind), frozenset({"array"}))

    def _set(self, depth: int) -> Kind:
        kind = self.rng.choice([self._scalar, self._literal])(depth)
        return Kind(f"set[{kind.text}]", self._some(kind), frozenset({"array"}))

    def _some(self, kind: Kind) -> Callable[[], Json]:
        return lambda: [kind.sample() for _ in range(self.rng.randint(0, 2))]

    def _dict(self, depth: int) -> Kind:
        kind = self._kind(depth)
        words = self.rng.sample(_WORDS, 3)
        key = self.rng.choice(["str", f"Literal[{', '.join(map(repr, words))}]"])

        def sample() -> Json:
            return {word: kind.sample() for word in self.rng.sample(words, self.rng.randint(0, 2))}

        return Kind(f"dict[{key}, {kind.text}]", sample, frozenset({"object"}))

    def _tuple(self, depth: int) -> Kind:
        kinds = [self._kind(depth) for _ in range(self.rng.randint(0, 3))]
        text = f"tuple[{', '.join(kind.text for kind in kinds) or '()'}]"
        return Kind(text, lambda: [kind.sample() for kind in kinds], frozenset({"array"}))

    def _union(self, depth: int) -> Kind:
        members = [self._kind(depth)]
        for kind in [self._kind(depth) for _ in range(2)]:
            if not any(kind.takes & one.takes for one in members):
                members.append(kind)
        takes = frozenset().union(*(one.takes for one in members))
        text = ", ".join(one.text for one in members)
        return Kind(f"Union[{text}]", lambda: self.rng.choice(members).sample(), takes)

    def _any(self, _: int) -> Kind:
        return Kind("Any", lambda: self.junk(2), frozenset({"object", "array", "any"}))

    def _box(self, depth: int) -> Kind:
        kind = self._kind(depth)

        def sample() -> Json:
            spare = {} if self.rng.random() < 0.5 else {"spare": None}
            return {"content": kind.sample(), **spare}

        return Kind(f"Box[{kind.text}]", sample, frozenset({"object"}))

    def _discriminated(self, depth: int) -> Kind:
        if len(self.tagged) < 2:
            return self._scalar(depth)
        members = self.rng.sample(self.tagged, 2)
        text = f"Annotated[Union[{', '.join(one.text for one in members)}], Field(discriminator='kind')]"
        return Kind(text, lambda: self.rng.choice(members).sample(), frozenset({"object"}))

    def junk(self, depth: int) -> Json:
        """Any JSON."""
        scalars = [None, True, False, 0, 7, -8, *_WORDS]
        if depth == 0 or self.rng.random() < 0.6:
            return self.rng.choice(scalars)
        if self.rng.random() < 0.5:
            return [self.junk(depth - 1) for _ in range(self.rng.randint(0, 2))]
        return {word: self.junk(depth - 1) for word in self.rng.sample(["f0", "kind", *_WORDS], 2)}

    def changed(self, value: Json) -> Json:
        """The value with something in it replaced, left out or added."""
        value = json.loads(json.dumps(value))
        if isinstance(value, dict) and value and self.rng.random() < 0.75:
            key = self.rng.choice(list(value))
            match self.rng.randint(0, 3):
                case 0:
                    del value[key]
                case 1:
                    value["extra"] = self.junk(1)
                case _:
                    value[key] = self.changed(value[key])
            return value
        if isinstance(value, list) and self.rng.random() < 0.75:
            if value and self.rng.random() < 0.6:
                place = self.rng.randrange(len(value))
                return [self.changed(one) if at == place else one for at, one in enumerate(value)]
            return [*value, self.junk(1)] if self.rng.random() < 0.5 else value[:-1]
        return self.junk(2)


class Form:
    """Whether a field may be left out, may be null, and has an alias."""

    def __init__(self, rng: random.Random) -> None:
        self.nullable = rng.random() < 0.3
        self.aliased = rng.random() < 0.2
        self.default = "None" if self.nullable and rng.random() < 0.5 else ""
