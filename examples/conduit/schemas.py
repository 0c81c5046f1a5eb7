"""The bodies of requests and answers, as the RealWorld specification names their fields."""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

T = TypeVar("T")


def _written(moment: datetime) -> str:
    """With milliseconds, even if they are none, as clients of the specification expect."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_written, return_type=str)]
Filled = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Account(_Body):
    """The caller, with a token."""

    email: str
    token: str
    username: str
    bio: str | None
    image: str | None


class Profile(_Body):
    username: str
    bio: str | None
    image: str | None
    following: bool


class Listed(_Body):
    """An article in a list, without its body."""

    slug: str
    title: str
    description: str
    tag_list: list[str]
    created_at: Moment
    updated_at: Moment
    favorited: bool
    favorites_count: int
    author: Profile


class Shown(Listed):
    """An article."""

    body: str


class Said(_Body):
    """A comment."""

    id: int
    body: str
    created_at: Moment
    updated_at: Moment
    author: Profile


class Page(_Body):
    articles: list[Listed]
    articles_count: int


class Login(_Body):
    email: str
    password: str


class Registration(_Body):
    username: Filled
    email: Filled
    password: Filled


class Settings(_Body):
    """What a user changes of the account: the fields that are sent."""

    username: Filled = Field(default_factory=str)
    email: Filled = Field(default_factory=str)
    password: Filled = Field(default_factory=str)
    bio: str | None = None
    image: str | None = None


class Draft(_Body):
    title: Filled
    description: Filled
    body: Filled
    tag_list: list[Filled] = Field(default_factory=list)


class Revision(_Body):
    """What an author changes of an article: the fields that are sent."""

    title: Filled = Field(default_factory=str)
    description: Filled = Field(default_factory=str)
    body: Filled = Field(default_factory=str)
    tag_list: list[Filled] = Field(default_factory=list)


class Remark(_Body):
    body: Filled


class OfUser(BaseModel, Generic[T]):
    user: T


class OfProfile(BaseModel):
    profile: Profile


class OfArticle(BaseModel, Generic[T]):
    article: T


class OfComment(BaseModel, Generic[T]):
    comment: T


class OfComments(BaseModel):
    comments: list[Said]


class OfTags(BaseModel):
    tags: list[str]
