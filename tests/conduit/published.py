"""What the RealWorld project publishes of its API, as data: the answers' fields, and its sequence of requests.

The facts are those of `specs/api/openapi.yml` (2.0.0) of realworld-apps/realworld, and of the Postman collection
`api/Conduit.postman_collection.json` of gothinkster/realworld. Where the two differ, the newer file is followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Json = Any

_TEXT, _COUNT, _YES_NO = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_MOMENT = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)$",
}


def _object(**fields: Json) -> dict[str, Json]:
    """An object that has all of these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _list(of: Json) -> dict[str, Json]:
    return {"type": "array", "items": of}


_PROFILE = _object(username=_TEXT, bio=_TEXT_OR_NULL, image=_TEXT_OR_NULL, following=_YES_NO)
_LISTED = {
    "slug": _TEXT,
    "title": _TEXT,
    "description": _TEXT,
    "tagList": _list(_TEXT),
    "createdAt": _MOMENT,
    "updatedAt": _MOMENT,
    "favorited": _YES_NO,
    "favoritesCount": _COUNT,
    "author": _PROFILE,
}
_COMMENT = _object(id=_COUNT, createdAt=_MOMENT, updatedAt=_MOMENT, body=_TEXT, author=_PROFILE)

USER = _object(user=_object(email=_TEXT, token=_TEXT, username=_TEXT, bio=_TEXT_OR_NULL, image=_TEXT_OR_NULL))
PROFILE = _object(profile=_PROFILE)
ARTICLE = _object(article=_object(**_LISTED, body=_TEXT))
ARTICLES = _object(articles=_list(_object(**_LISTED)), articlesCount=_COUNT)
COMMENT = _object(comment=_COMMENT)
COMMENTS = _object(comments=_list(_COMMENT))
TAGS = _object(tags=_list(_TEXT))
ERRORS = _object(errors={"type": "object", "additionalProperties": _list(_TEXT), "minProperties": 1})


def check(answer: Json, schema: Json) -> None:
    """Raises `jsonschema.ValidationError`."""
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer)


@dataclass(frozen=True)
class Step:
    """A request of the published collection. `{slug}` and `{comment}` are what earlier answers told.

    `holds`: what its answer has, by path: `article.favoritesCount`.
    """

    name: str
    method: str
    path: str
    status: int
    schema: Json
    body: Json = None
    signed_in: bool = True
    holds: Mapping[str, Json] = field(default_factory=dict)


NAME, EMAIL, PASSWORD = "u1700000000", "u1700000000@mail.com", "password"
CELEB = f"celeb_{NAME}"
_USER = {"user.username": NAME, "user.email": EMAIL}
_NONE: Mapping[str, Json] = {"articlesCount": 0, "articles": []}
_ONE: Mapping[str, Json] = {"articlesCount": 1, "articles.0.tagList": ["dragons", "training"]}
_DRAFT = {
    "title": "How to train your dragon",
    "description": "Ever wonder how?",
    "body": "Very carefully.",
    "tagList": ["training", "dragons"],
}

SEQUENCE = (
    Step(
        "Register",
        "POST",
        "/users",
        201,
        USER,
        {"user": {"email": EMAIL, "password": PASSWORD, "username": NAME}},
        signed_in=False,
        holds=_USER,
    ),
    Step("Login", "POST", "/users/login", 200, USER, {"user": {"email": EMAIL, "password": PASSWORD}}, False, _USER),
    Step("Current User", "GET", "/user", 200, USER, holds=_USER),
    Step("Update User", "PUT", "/user", 200, USER, {"user": {"email": EMAIL}}, holds=_USER),
    Step("All Articles", "GET", "/articles", 200, ARTICLES, signed_in=False, holds=_NONE),
    Step("Articles by Author", "GET", "/articles?author=johnjacob", 200, ARTICLES, signed_in=False, holds=_NONE),
    Step(
        "Articles Favorited by Username",
        "GET",
        f"/articles?favorited={NAME}",
        200,
        ARTICLES,
        signed_in=False,
        holds=_NONE,
    ),
    Step("Articles by Tag", "GET", "/articles?tag=dragons", 200, ARTICLES, signed_in=False, holds=_NONE),
    Step(
        "Create Article",
        "POST",
        "/articles",
        201,
        ARTICLE,
        {"article": _DRAFT},
        holds={"article.title": _DRAFT["title"], "article.tagList": ["dragons", "training"]},
    ),
    Step("Feed", "GET", "/articles/feed", 200, ARTICLES, holds=_NONE),
    Step("All Articles", "GET", "/articles", 200, ARTICLES, signed_in=False, holds=_ONE),
    Step("All Articles with auth", "GET", "/articles", 200, ARTICLES, holds=_ONE),
    Step("Articles by Author", "GET", f"/articles?author={NAME}", 200, ARTICLES, signed_in=False, holds=_ONE),
    Step("Articles by Author with auth", "GET", f"/articles?author={NAME}", 200, ARTICLES, holds=_ONE),
    Step(
        "Single Article by slug",
        "GET",
        "/articles/{slug}",
        200,
        ARTICLE,
        signed_in=False,
        holds={"article.body": "Very carefully.", "article.author.username": NAME},
    ),
    Step("Articles by Tag", "GET", "/articles?tag=dragons", 200, ARTICLES, signed_in=False, holds=_ONE),
    Step(
        "Update Article",
        "PUT",
        "/articles/{slug}",
        200,
        ARTICLE,
        {"article": {"body": "With two hands"}},
        holds={"article.body": "With two hands"},
    ),
    Step(
        "Favorite Article",
        "POST",
        "/articles/{slug}/favorite",
        200,
        ARTICLE,
        holds={"article.favorited": True, "article.favoritesCount": 1},
    ),
    Step(
        "Articles Favorited by Username",
        "GET",
        f"/articles?favorited={NAME}",
        200,
        ARTICLES,
        signed_in=False,
        holds={**_ONE, "articles.0.favorited": False, "articles.0.favoritesCount": 1},
    ),
    Step(
        "Articles Favorited by Username with auth",
        "GET",
        f"/articles?favorited={NAME}",
        200,
        ARTICLES,
        holds={**_ONE, "articles.0.favorited": True, "articles.0.favoritesCount": 1},
    ),
    Step(
        "Unfavorite Article",
        "DELETE",
        "/articles/{slug}/favorite",
        200,
        ARTICLE,
        holds={"article.favorited": False, "article.favoritesCount": 0},
    ),
    Step(
        "Create Comment for Article",
        "POST",
        "/articles/{slug}/comments",
        201,
        COMMENT,
        {"comment": {"body": "Thank you so much!"}},
        holds={"comment.body": "Thank you so much!"},
    ),
    Step(
        "All Comments for Article",
        "GET",
        "/articles/{slug}/comments",
        200,
        COMMENTS,
        holds={"comments.0.body": "Thank you so much!"},
    ),
    Step(
        "All Comments for Article without login",
        "GET",
        "/articles/{slug}/comments",
        200,
        COMMENTS,
        signed_in=False,
        holds={"comments.0.body": "Thank you so much!"},
    ),
    Step("Delete Comment for Article", "DELETE", "/articles/{slug}/comments/{comment}", 204, None),
    Step("All Comments for Article", "GET", "/articles/{slug}/comments", 200, COMMENTS, holds={"comments": []}),
    Step("Delete Article", "DELETE", "/articles/{slug}", 204, None),
    Step("Single Article by slug", "GET", "/articles/{slug}", 404, ERRORS, holds={"errors.article": ["not found"]}),
    Step("All Articles", "GET", "/articles", 200, ARTICLES, signed_in=False, holds=_NONE),
    Step(
        "Register Celeb",
        "POST",
        "/users",
        201,
        USER,
        {"user": {"email": f"celeb_{EMAIL}", "password": PASSWORD, "username": CELEB}},
        signed_in=False,
    ),
    Step("Profile", "GET", f"/profiles/{CELEB}", 200, PROFILE, holds={"profile.following": False}),
    Step("Follow Profile", "POST", f"/profiles/{CELEB}/follow", 200, PROFILE, holds={"profile.following": True}),
    Step("Profile", "GET", f"/profiles/{CELEB}", 200, PROFILE, holds={"profile.following": True}),
    Step("Unfollow Profile", "DELETE", f"/profiles/{CELEB}/follow", 200, PROFILE, holds={"profile.following": False}),
    Step("Profile", "GET", f"/profiles/{CELEB}", 200, PROFILE, holds={"profile.following": False}),
    Step("All Tags", "GET", "/tags", 200, TAGS, signed_in=False, holds={"tags": []}),
)


def at(answer: Json, path: str) -> Json:
    """What is at this path of an answer."""
    for key in path.split("."):
        answer = answer[int(key) if key.isdigit() else key]
    return answer
