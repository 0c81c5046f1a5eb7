"""Deliberately awkward functions: everything that an annotation can say and that a type has to get right."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Required, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    JsonValue,
    RootModel,
    SecretStr,
    SerializeAsAny,
    Tag,
    computed_field,
    conlist,
    field_serializer,
    field_validator,
)
from starlette.responses import HTMLResponse
from typing_extensions import TypeAliasType, TypedDict

from mizan_asgi import Mizan
from mizan_core import Context, File, Identity, build, client

from . import stock

T = TypeVar("T")
K = TypeVar("K")


class Color(enum.Enum):
    """What there is. /* Not a comment */ in a comment."""

    RED = "red"
    DEEP_BLUE = "deep blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    TEXT = "text"
    NUMBER = 1.5
    NOTHING = None


class Item(BaseModel):
    """Another `Item` than that of the stock."""

    id: int
    price: decimal.Decimal
    tags: set[str] = set()


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: int | None


class Pair(BaseModel, Generic[K, T]):
    key: K
    value: T


class Account(BaseModel):
    """Used for an argument and for a result, in which it looks different."""

    model_config = ConfigDict(extra="forbid")

    name: str
    nick: str | None = None
    age: Annotated[int, Field(ge=0, lt=150, description="In years.")] = 0
    secret: SecretStr = Field(default=SecretStr(""), exclude=True)
    created: datetime.datetime = Field(default_factory=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    old_name: str = Field("", deprecated="Use `name`.")

    @computed_field(description="Made of the name.")
    @property
    def initials(self) -> str:
        return self.name[:1]


class Dashed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    content_type: str = Field(alias="content-type")
    class_: int = Field(1, alias="class")
    proto: str = Field("", alias="__proto__")
    either: int = Field(validation_alias=AliasChoices("one", "other"), serialization_alias="both")
    quoted: str = Field("", alias='"quoted"\n')
    größe: float = 1.0  # noqa: PLC2401  # a name that is an identifier in Python


class Nested(BaseModel):
    dashed: Dashed
    accounts: dict[str, Account]
    by_level: dict[Level, int] = {}
    by_color: dict[Color, list[int]] = {}
    by_word: dict[Literal["on", "off"], bool] = {}
    by_number: dict[int, str] = {}
    by_day: dict[datetime.date, str] = {}
    by_pattern: dict[Annotated[str, Field(pattern="^x-")], int] = {}


class Tree(BaseModel):
    """Contains itself, and another that contains it."""

    value: int
    children: list["Tree"] = []
    branch: "Branch | None" = None


class Branch(BaseModel):
    trees: tuple[Tree, ...]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog", "wolf"]
    good: Literal[True] = True


class Fish(BaseModel):
    type: Literal["fish"] = "fish"


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


def _tag(value: Any) -> str:
    return "fish" if isinstance(value, Fish | dict) else "number"


Tagged = Annotated[Annotated[Fish, Tag("fish")] | Annotated[int, Tag("number")], Discriminator(_tag)]
JsonLike = TypeAliasType("JsonLike", "dict[str, JsonLike] | list[JsonLike] | str | float | bool | None")


class Tags(RootModel[list[str]]):
    """A list, by another name."""


class Forest(RootModel[dict[str, "Forest"]]):
    pass


class Empty(BaseModel):
    pass


class Nothing(BaseModel):
    """Its name is taken, and it takes nothing."""

    model_config = ConfigDict(extra="forbid")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, int]
    name: str


class Promise(BaseModel):
    """Would hide a global type."""

    text: str


class Movie(TypedDict, total=False):
    """A dictionary of known keys."""

    title: Required[str]
    year: int


class Release(TypedDict):
    movie: Movie
    note: NotRequired[str | None]


@dataclass
class Point:
    x: float
    y: float = 0.0
    labels: list[str] = field(default_factory=list)


class Size(NamedTuple):
    width: int
    height: int = 1


class Serialized(BaseModel):
    stated: int
    unstated: int
    opened: SerializeAsAny[Empty] = Empty()

    @field_serializer("stated")
    def state(self, value: int) -> list[int]:
        return [value]

    @field_serializer("unstated")
    def unstate(self, value: int):  # type: ignore[no-untyped-def]  # its result has no type
        return str(value)


class Maybe(BaseModel):
    """Of four kinds: a field may be left out, be null, both, or neither."""

    neither: int
    nullable: int | None
    optional: int = 1
    both: int | None = None
    excluded: int = Field(0, exclude_if=lambda value: value == 0)

    @field_validator("optional")
    @classmethod
    def check(cls, value: int) -> int:
        return value


class Anything:
    """Nothing that Pydantic can describe."""


Odd = Context("odd.context-1")


@client(context=Odd)
async def scalars(
    user_id: int,
    required_null: str | None,
    day: datetime.date = datetime.date(2026, 1, 2),
    ids: list[int] = [],  # noqa: B006
    color: Color = Color.RED,
    level: Level | None = None,
    ratio: float = 0.5,
    big: int = 2**60,
) -> dict[str, Any]:
    """A parameter of each kind that a URL can spell.

    Ends no comment: */ and has a `backtick` and a \\ backslash.
    """
    return {}


@client(context=Odd, name="second-reader.v2")
async def second_reader(user_id: int, me: Identity) -> Page[Item]: ...


@client(context="class")
async def reserved() -> Page[stock.Item]: ...


@client(context="inbox")
async def inbox(request: Any) -> tuple[int, str] | None: ...


@client(context="inbox_params")
async def inbox_params(x: int = 1) -> int: ...


@client(context="pages", route="/pages/{page}/")
async def page_view(page: int) -> HTMLResponse: ...


@client(affects=Odd)
async def save_account(account: Account, user_id: int | None = None) -> Account: ...


@client(affects="inbox", name="a.b-c")
async def dotted(models: Nested, dashed: Dashed | None = None) -> Nested: ...


@client(affects="inbox", name="delete")
async def delete_it(item: stock.Item, other: Item) -> tuple[stock.Item, Item]: ...


@client(affects="inbox", private=True)
async def private_one(secret: int) -> None: ...


@client(affects="inbox", auth=True, name="contexts")
async def hides_a_helper(then: bool) -> None: ...


@client(name="then")
async def thenable() -> None: ...


@client(name="__proto__")
async def proto() -> Nothing: ...


@client
async def inbox_() -> Promise: ...


@client
async def unions(
    pet: Pet,
    pets: list[Pet | None],
    tagged: Tagged,
    literal: Literal["a", 1, None, True, '"'],
    mixed: Mixed,
    several: Sequence[int | str] | Mapping[str, int],
    same: int | float | decimal.Decimal,
) -> list[Pet | Tagged]: ...


@client
async def shapes(
    tree: Tree,
    json: JsonLike,
    value: JsonValue,
    forest: Forest,
    tags: Tags,
    empty: Empty,
    nothing: Nothing,
    opened: Open,
    movie: Movie,
    release: Release,
    point: Point,
    size: Size,
    pair: Pair[str, list[Pair[int, Color]]],
    maybe: Maybe,
) -> Tree | JsonLike | Forest | Tags | Empty | Nothing | Open | Release | Point | Size | Maybe | Pair[int, int]: ...


@client
async def standard(
    moment: datetime.datetime,
    clock: datetime.time,
    length: datetime.timedelta,
    identifier: uuid.UUID,
    raw: bytes,
    money: decimal.Decimal,
    percent: Annotated[int, Field(ge=0, le=100, multiple_of=5)],
    few: conlist(int, min_length=1, max_length=3),  # type: ignore[valid-type]
    unique: frozenset[tuple[int, str]],
    fixed: tuple[int, str, bool | None],
    none: tuple[()],
    inner: Json[list[int]],
    whatever: Any,
    thing: object,
    plain: dict,  # type: ignore[type-arg]
) -> tuple[datetime.timedelta, uuid.UUID, bytes, decimal.Decimal, Json[list[int]], set[int], SecretStr]: ...


@client
async def results(callback: bool = False) -> Serialized: ...


@client(affects=Odd, max_upload_bytes=5_000_000)
async def attach(
    user_id: int,
    picture: File,
    more: Annotated[list[File], Field(max_length=5, description="The others.")] = [],  # noqa: B006
    thumbnail: File | None = None,
    account: Account | None = None,
    tags: tuple[str, ...] = (),
) -> bytes:
    """Files and other arguments."""


@client(affects=Odd)
async def attach_if_any(note: str, thumbnail: File | None = None) -> None: ...


@client
async def many(
    account: Account | None = None,
    accounts: Sequence[Account] = (),
    text: str = "⟨*/⟩ \ud800",
    infinite: float = 1.5,
    nothing: None = None,
) -> list[Maybe] | None:
    """Optional everywhere."""


@client(context="inbox", name="shared")
async def shared_of_inbox() -> int: ...


@client(context="inbox_params", name="shared")
async def shared_of_params(x: int = 1) -> stock.Item: ...


Handler = Callable[[int], int]

FUNCTIONS = [
    *(scalars, second_reader, reserved, inbox, inbox_params, page_view, save_account, dotted, delete_it, private_one),
    *(hides_a_helper, thenable, proto, inbox_, unions, shapes, standard, results, many, attach, attach_if_any),
    *(shared_of_inbox, shared_of_params),
]

graph = build(FUNCTIONS)
mizan = Mizan(graph, base_url="/awk", mwt_keys={"1": "k" * 32})
