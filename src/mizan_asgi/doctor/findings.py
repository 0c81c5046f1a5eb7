"""What can be wrong with a deployment: each code with what it means and what to do about it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

# Of places with the same finding so many are shown.
_SHOWN_PLACES = 5


class Wrong(Enum):
    """A code, with what it means and what to do."""

    PRIVATE_KEPT = (
        "a cache gives answers that are for one person",
        (
            "Let the cache obey Cache-Control: in nginx, take `Cache-Control`, `Set-Cookie` and `Vary` out of "
            "`proxy_ignore_headers`, and `proxy_cache_valid` out of these locations; at a CDN, remove the rule "
            "that caches everything. Empty the cache after that: it holds answers of people."
        ),
    )
    NO_STORE_KEPT = (
        "a cache keeps answers that say `no-store`",
        (
            "Let the cache obey Cache-Control: in nginx, take `Cache-Control` out of `proxy_ignore_headers`; at a"
            " CDN, remove the rule that caches everything."
        ),
    )
    PRIVATE_CONTROL = (
        "answers for one person arrive without the Cache-Control that keeps caches out",
        (
            "Something behind Mizan replaces Cache-Control: `expires` and `add_header Cache-Control` in nginx, a "
            "middleware of the application, a rule of the CDN. Take it away from these paths."
        ),
    )
    IDENTITY_LOST = (
        "a signed-in person is treated as nobody: the header that names the caller is lost on the way",
        (
            "Let the edge pass X-Mizan-Token, Authorization and Cookie on, but for what is public. `mizan edge` "
            "writes such a program; after a deployment, write it anew."
        ),
    )
    NOT_PUBLIC = (
        "answers for everyone are not sent `public`, so no cache keeps them",
        (
            "Look at the headers: a middleware that sets a cookie, a Vary or a Cache-Control spoils them; "
            "base_url= has to be the path at which the public asks. `mizan_asgi.edge.outermost` logs the header by "
            "name."
        ),
    )
    COOKIE = (
        "answers for everyone set a cookie",
        (
            "A session that is opened or renewed on every answer belongs to one visitor. Open it where it is "
            "needed, or keep the middleware away from these paths."
        ),
    )
    VARY = (
        "answers for everyone vary by a header",
        (
            "A cache keeps one copy for each value of that header, or none. Middleware that adds Vary (sessions, "
            "CORS, languages) has to leave these paths alone."
        ),
    )
    PERSONAL = (
        "answers for everyone differ between people",
        (
            "What a caller is shown must not depend on who asks, in its body or in its headers: a cache gives one"
            ' person\'s answer to all others. Declare per="user", or keep the middleware that adds it away from '
            "these paths."
        ),
    )
    CORS = (
        "answers for everyone repeat the Origin of the request",
        (
            "A kept answer names the first site that asked, and no other may read it. Answer `Access-Control-"
            "Allow-Origin: *` on these paths, or let the edge add the header itself."
        ),
    )
    LANGUAGE = (
        "answers for everyone differ by Accept-Language",
        "A cache gives all visitors the language of the first. Make the language a parameter or part of the path.",
    )
    ENCODING = (
        "compressed answers do not say that they differ by Accept-Encoding, or are sent to clients that did not ask",
        (
            "Send `Vary: Accept-Encoding` with what is compressed: `gzip_vary on` in nginx; Starlette's "
            "GZipMiddleware does."
        ),
    )
    ETAG = (
        "a client that has an answer is sent it again",
        (
            "The ETag is lost on the way, or If-None-Match does not arrive. nginx leaves it out in a location with "
            "`proxy_cache`: turn that off where nothing may be kept."
        ),
    )
    REDIRECT = (
        "canonical URLs are redirected",
        (
            "Clients and edges ask for exactly these URLs. Take the rule that adds or removes slashes, or changes"
            " the host or the case, away from them, or ask at the URL to which it leads."
        ),
    )
    UNTOLD_EDGE = (
        "a cache in front keeps public answers, and nothing tells it what is stale",
        (
            "Give the application edge=: Nodes(...) for programs of `mizan edge`, or Cloudflare, Fastly, "
            "CloudFront. Or take away the rule that lets the cache keep what says `max-age=0`."
        ),
    )
    LIFETIME = (
        "answers tell caches to keep them, and the target has no edge=",
        (
            "The deployment runs other settings than this target. Where no cache in front is told of purges, "
            "remove edge= or the middleware that writes s-maxage."
        ),
    )
    UNUSED_EDGE = (
        "a program of `mizan edge` is in front and keeps nothing, for the application has no edge=",
        (
            "Give the application edge=HeaderOnly() for one node that every write passes through, or "
            "edge=Nodes('http://...:8611')."
        ),
    )
    KEEPS_NOTHING = (
        "a program of `mizan edge` is in front and keeps nothing",
        (
            "Write the program anew from this target and load it: `mizan edge varnish|nginx ... --check`. It "
            "keeps what says `public` and `s-maxage`, has no cookie, and no Vary but Accept-Encoding."
        ),
    )
    FOREIGN_EDGE = (
        "a cache that is no program of `mizan edge` keeps public answers, and nothing shows that it acts on purges",
        "Load the program that `mizan edge` writes, or prove that this cache forgets: `mizan doctor ... --purge`.",
    )
    NO_EDGE = (
        "the application has edge=, and public answers pass no cache that keeps them and hears of purges",
        (
            "Is this the public address, and is its host the --host of the program? Where `s-maxage` is left in an "
            "answer, a cache further out keeps it and is told nothing."
        ),
    )
    NOT_FORGOTTEN = (
        "a cache goes on giving what was purged",
        (
            "It is not told: compare edge= with the addresses of the caches, look at "
            "`engine.health().failing_edges`, and whether the application reaches them."
        ),
    )
    PURGE_OPEN = (
        "the public can purge the cache",
        (
            "Take purges at an address that only the application reaches, and answer PURGE with 405 at the public"
            " one, as programs of `mizan edge` do."
        ),
    )
    NOT_THERE = (
        "Mizan does not answer at base_url",
        (
            "Is the application mounted there, and does the edge pass the path on unchanged? A target that is "
            "mounted elsewhere is asked with --base-url."
        ),
    )
    OTHER_VERSION = (
        "the deployment runs another version than the target",
        "Deploy this target, or run the doctor with the one that is deployed. Then write the edge's program anew.",
    )
    HOST_LOST = (
        "calls of the site's own pages are refused as cross-site",
        "The edge sends the application another Host than the browser's: `proxy_set_header Host $host;` in nginx.",
    )
    ORIGIN_LOST = (
        "calls from other sites are not refused",
        "The edge drops Origin and Sec-Fetch-Site, by which Mizan tells another site's calls. Pass them on.",
    )

    @property
    def code(self) -> str:
        return self.name.lower().replace("_", "-")

    @property
    def meaning(self) -> str:
        return self.value[0]

    @property
    def remedy(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong at a URL. `evidence`: lines that show it, without what is secret or personal."""

    wrong: Wrong
    url: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `asked`: the places. `unasked`: what was wanted and could not be asked. `notes`: what was left
    out, and how to have it asked.
    """

    findings: tuple[Finding, ...]
    asked: tuple[str, ...]
    requests: int
    unasked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 for findings, 2 where something could not be asked, else 0."""
        return 1 if self.findings else 2 if self.unasked or not self.asked else 0


def lines_of(report: Report) -> Iterator[str]:
    """A report for a person to read: each finding once, with its places."""
    for wrong in Wrong:
        found = [one for one in report.findings if one.wrong is wrong]
        if found:
            yield f"{wrong.code}: {wrong.meaning}"
            yield from _places(found)
            yield f"  {wrong.remedy}"
            yield ""
    yield from (f"not asked: {one}" for one in report.unasked)
    yield from (f"note: {one}" for one in report.notes)
    count = len({one.wrong for one in report.findings})
    verdict = "Nothing is wrong" if not count else f"{count} thing{'s are' if count > 1 else ' is'} wrong"
    kinds = f"{len(report.asked)} URL{'s' * (len(report.asked) != 1)}"
    yield f"{verdict}, as far as {kinds} and {report.requests} requests tell."


def _places(found: Iterable[Finding]) -> Iterator[str]:
    listed = list(found)
    for one in listed[:_SHOWN_PLACES]:
        yield f"  {one.url}"
        yield from (f"    {line}" for line in one.evidence)
    if len(listed) > _SHOWN_PLACES:
        yield f"  and {len(listed) - _SHOWN_PLACES} more URLs"
