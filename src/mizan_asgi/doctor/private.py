"""Judges the answers of a place that is for one person, or kept nowhere: it must come from the application each time.

An answer of the application to a token that nobody issued is 401. Where such a token is answered as if it were valid,
the answer came from a cache, also from one that shows nothing of itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..http.responses import speaks_to_caches
from .answers import Answer, known_by
from .findings import Finding, Wrong
from .places import Place

# Headers that differ from one computed answer to the next.
_ONE_TIME = ("x-request-id", "x-correlation-id", "x-trace-id", "traceparent", "traceresponse")

# An answer that was computed and stored. The next one by the same process is a hit.
_STORED = "fwd=uri-miss; stored"


@dataclass(frozen=True, slots=True)
class PrivateSeen:
    """What a private place answered. `people`: by the label of each, in the order in which they asked, so often.

    `stranger`: to a token that nobody issued; `stranger_elsewhere`: at another spelling of the URL. `elsewhere`: to
    each person at another spelling. `after_nobody`: to a person at a spelling at which nobody has asked before, and
    nothing else. `alternating`: of one person, in turn at the URL and at other spellings, where they are suspicious.
    """

    place: Place
    url: str
    people: Mapping[str, Sequence[Answer]]
    nobody: Answer
    stranger: Answer
    stranger_elsewhere: Answer
    elsewhere: Mapping[str, Answer]
    after_nobody: tuple[str, Answer] | None = None
    alternating: Sequence[tuple[Answer, Answer]] = ()

    @property
    def at_the_url(self) -> list[tuple[str, Answer]]:
        """Every answer at the canonical URL, with the label of its reader."""
        people = [(label, answer) for label, answers in self.people.items() for answer in answers]
        return [*people, ("nobody", self.nobody), ("an invalid token", self.stranger)]


def judge_private(seen: PrivateSeen) -> Iterator[Finding]:
    """What is wrong at a private place."""
    node = next((answer for _, answer in seen.at_the_url if answer.has_node), None)
    if node is not None:
        evidence = f"a program of `mizan edge` takes it for public, and asks as nobody: {node.shown('cache-status')}"
        yield Finding(Wrong.IDENTITY_LOST, seen.url, (evidence,))
    elif kept := list(_kept(seen)):
        yield Finding(Wrong.PRIVATE_KEPT, seen.url, tuple(kept))
    elif lost := list(_lost(seen)):
        yield Finding(Wrong.IDENTITY_LOST, seen.url, tuple(lost))
    if loose := list(_loose(seen)):
        yield Finding(Wrong.PRIVATE_CONTROL, seen.url, tuple(loose))


def is_suspicious(first: Answer, elsewhere: Answer, second: Answer) -> bool:
    """Whether two answers may be one kept answer: they say that they were computed, and the one between was a hit."""
    return first.of_origin == second.of_origin == _STORED and elsewhere.of_origin == "hit"


def _kept(seen: PrivateSeen) -> Iterator[str]:
    """What shows that a cache gave the answers."""
    if seen.stranger.ok and (seen.stranger_elsewhere.refuses or seen.nobody.refuses):
        yield f"asked with a token that nobody issued: {known_by(seen.stranger)}; the application answers 401"
        yield from _whose(seen)
    marked = dict.fromkeys((label, mark) for label, answer in seen.at_the_url for mark in answer.marks)
    yield from (f"asked as {label}: {mark}" for label, mark in marked)
    for label, answers in seen.people.items():
        elsewhere = seen.elsewhere.get(label)
        if elsewhere is not None and elsewhere.ok and answers[0].refuses and answers[0].is_same(seen.nobody):
            yield f"asked as {label}: {answers[0].status}, the answer to nobody; elsewhere: {elsewhere.status}"
        for name in _ONE_TIME:
            values = {one.header(name) for one in answers}
            if len(answers) > 1 and len(values) == 1 and values.isdisjoint({"", seen.stranger_elsewhere.header(name)}):
                yield f"asked as {label}: the same {name} {len(answers)} times"
    if seen.after_nobody is not None:
        label, after = seen.after_nobody
        before = seen.elsewhere[label]
        if before.ok and not after.ok and after.is_same(seen.nobody):
            yield f"asked as {label} after nobody has asked: {after.status}, the answer to nobody"
    if seen.alternating and all((one.of_origin, two.of_origin) == (_STORED, "hit") for one, two in seen.alternating):
        yield (
            f"asked as one person {len(seen.alternating)} times: `Cache-Status: mizan; {_STORED}` each time, and "
            "`mizan; hit` at other spellings"
        )


def _whose(seen: PrivateSeen) -> Iterator[str]:
    """Whose answer the token was given."""
    for label, answers in (*seen.people.items(), ("nobody", (seen.nobody,))):
        same = [one for one in answers if one.ok and one.is_same(seen.stranger)]
        if same:
            yield f"asked as {label}: the same answer"


def _lost(seen: PrivateSeen) -> Iterator[str]:
    """What shows that the header that names the caller did not arrive."""
    if seen.stranger_elsewhere.is_same(seen.nobody) and seen.stranger.is_same(seen.nobody):
        yield (
            f"asked with a token that nobody issued: {known_by(seen.stranger)}, as for nobody; the application answers "
            "401 `The token is not valid.`"
        )
        for label, answers in seen.people.items():
            if answers[0].is_same(seen.nobody):
                yield f"asked as {label}: {answers[0].status}, as for nobody"


def _loose(seen: PrivateSeen) -> Iterator[str]:
    """What shows that caches are not kept out."""
    answers = [answer for _, answer in seen.at_the_url if answer.ok]
    for answer in answers[:1]:
        directives = answer.directives
        # A page may have a Cache-Control of its own, which Mizan leaves alone where it is strict enough.
        strict = {"private", "no-store", "no-cache"} if seen.place.is_page else {"private", "no-store"}
        if not strict & directives.keys() or {"public", "s-maxage"} & directives.keys():
            yield answer.shown("cache-control", "expires")
        for name, value in answer.headers:
            if speaks_to_caches(name.encode("latin-1")) and name != "x-mizan-invalidate" and "no-store" not in value:
                yield answer.shown(name)
