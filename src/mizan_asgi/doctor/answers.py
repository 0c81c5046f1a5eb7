"""An answer of a deployment, and what its headers tell: whether a cache gave it, and whom it is for."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

# Headers in which caches say what they did, beside `Age`, `Cache-Status` and `X-Varnish`.
_OF_CACHES = (
    *("x-cache", "x-cache-status", "x-proxy-cache", "x-nginx-cache", "x-srcache-fetch-status", "x-edge-cache"),
    *("cf-cache-status", "cdn-cache", "x-litespeed-cache", "x-drupal-cache", "x-vercel-cache", "x-nf-cache-status"),
)
# `hit-for-pass` and `hit-for-miss` tell that nothing is kept.
_HIT = re.compile(r"(?:\b|_)(?:HIT|STALE|UPDATING)\b(?![ -]*for)", re.IGNORECASE)
# A hit as RFC 9211 has it, a parameter that is true.
_TRUE = frozenset({"hit", "hit=?1"})

# Headers that a cache or a proxy adds, whether or not it keeps anything.
_OF_PROXIES = ("age", "via", "x-varnish", "x-served-by", "cf-ray", "x-amz-cf-id", *_OF_CACHES)

# The names that Mizan and its programs for edges have in `Cache-Status`.
_ORIGIN, NODE = "mizan", "mizan-edge"

# Beyond this a digest of 128 bits tells nothing more to a person.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `headers`: names in lower case. `began`: when it was asked for, in seconds of a steady clock."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    began: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300  # RFC 9110, 15.3

    @property
    def refuses(self) -> bool:
        """Whether the caller is not let in. A host's middleware may call a token that it cannot read a bad request."""
        return self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

    def header(self, name: str) -> str:
        """The values of a header as one list; empty if it is not there."""
        return ", ".join(self.all(name))

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def shown(self, *names: str) -> str:
        """These headers, as far as they are there, for a person to read; of cookies, their names."""
        present = [f"{_spelled(name)}: {_cut(value)}" for name in names if (value := self._readable(name))]
        return "; ".join(present) or f"no {' and no '.join(map(_spelled, names))}"

    def _readable(self, name: str) -> str:
        return ", ".join(f"{one}=..." for one in self.cookies) if name == "set-cookie" else self.header(name)

    @property
    def cookies(self) -> list[str]:
        """The names of the cookies that it sets."""
        return list(dict.fromkeys(value.partition("=")[0].strip() for value in self.all("set-cookie")))

    @property
    def directives(self) -> dict[str, str]:
        """Those of `Cache-Control`."""
        pieces = (piece.strip().partition("=") for piece in self.header("cache-control").lower().split(","))
        return {name.strip(): value.strip(' "') for name, _, value in pieces if name.strip()}

    @property
    def is_public(self) -> bool:
        """Whether shared caches may keep it for everyone."""
        return "public" in self.directives and not {"private", "no-store"} & self.directives.keys()

    @property
    def varies_by(self) -> set[str]:
        return {name.strip().lower() for name in self.header("vary").split(",") if name.strip()}

    @property
    def etag(self) -> str:
        return self.header("etag")

    @property
    def problem(self) -> str | None:
        """The detail of a problem document of Mizan's; None for any other answer."""
        if not self.header("content-type").startswith("application/problem+json"):
            return None
        document = self.json
        detail = document.get("detail") if isinstance(document, dict) and "code" in document else None
        return detail if isinstance(detail, str) else None

    @property
    def json(self) -> object:
        """The body as JSON; None for what is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def cache_statuses(self) -> list[tuple[str, str]]:
        """`Cache-Status` (RFC 9211): each cache's name, and the rest of its member. The origin's comes first."""
        members = (member.strip().partition(";") for member in self.header("cache-status").split(","))
        return [(name.strip().strip('"'), rest.strip()) for name, _, rest in members if name.strip()]

    @property
    def of_origin(self) -> str:
        """What Mizan said of its own cache."""
        return next((rest for name, rest in self.cache_statuses if name == _ORIGIN), "")

    @property
    def is_declined(self) -> bool:
        """Whether the application itself chose that this answer is not kept, as `no_store()` and pages can."""
        return self.of_origin in ("fwd=bypass; detail=no-store", "fwd=bypass; detail=response")

    @property
    def has_node(self) -> bool:
        """Whether it passed a program that `mizan edge` wrote, as one that may be kept."""
        return any(name == NODE for name, _ in self.cache_statuses)

    @property
    def passed_a_proxy(self) -> bool:
        """Whether anything in front shows itself."""
        beyond = any(name != _ORIGIN for name, _ in self.cache_statuses)
        return beyond or any(name in _OF_PROXIES for name, _ in self.headers)

    @property
    def age(self) -> int:
        value = self.header("age").split(",")[0].strip()
        return int(value) if value.isdecimal() else 0

    @property
    def marks(self) -> list[str]:
        """The headers by which a cache in front says that it gave this answer by itself."""
        return list(self._marks())

    def _marks(self) -> Iterator[str]:
        if self.age > 0:
            yield f"Age: {self.age}"
        for name, rest in self.cache_statuses:
            if name != _ORIGIN and not _TRUE.isdisjoint(piece.strip() for piece in rest.split(";")):
                yield f"Cache-Status: {name}; hit"
        for name in _OF_CACHES:
            if _HIT.search(self.header(name)):
                yield f"{_spelled(name)}: {_cut(self.header(name))}"
        if len(self.header("x-varnish").split()) == 2:  # the request, and the one that was stored
            yield f"X-Varnish: {self.header('x-varnish')}"

    def is_same(self, other: "Answer") -> bool:
        """Whether it says the same to its reader."""
        return (self.status, self.body) == (other.status, other.body)


def known_by(answer: Answer) -> str:
    """An answer in a few words that give nothing of it away."""
    tag = f", ETag {_cut(answer.etag)}" if answer.etag else ""
    return f"{answer.status}, {len(answer.body)} bytes{tag}"


def differing(ours: Sequence[Answer], theirs: Sequence[Answer]) -> Iterator[str]:
    """The headers that are the same in all answers of each side, and differ between the two sides."""
    names = dict.fromkeys(name for answer in (*ours, *theirs) for name, _ in answer.headers)
    for name in names:
        if name in _PER_ANSWER or name in _OF_PROXIES:
            continue
        first, second = {one.header(name) for one in ours}, {one.header(name) for one in theirs}
        if len(first) == len(second) == 1 and first != second:
            yield name


# Headers that differ from answer to answer, follow from the body, or are judged by themselves.
_PER_ANSWER = frozenset(
    {
        *("date", "content-length", "etag", "last-modified", "expires", "connection", "keep-alive"),
        *("transfer-encoding", "cache-status", "cache-control", "vary", "set-cookie", "server", "alt-svc"),
        *("x-request-id", "x-correlation-id", "x-trace-id", "traceparent", "tracestate", "traceresponse"),
        *("server-timing", "x-process-time", "x-response-time", "x-runtime", "x-cache-hits", "x-timer"),
        *("nel", "report-to", "reporting-endpoints", "content-security-policy", "x-ratelimit-remaining"),
        *("x-ratelimit-reset", "ratelimit", "ratelimit-remaining", "ratelimit-reset", "retry-after"),
    }
)


def _spelled(name: str) -> str:
    special = {"etag": "ETag", "cf-cache-status": "CF-Cache-Status"}
    return special.get(name) or "-".join(word.capitalize() for word in name.split("-"))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
