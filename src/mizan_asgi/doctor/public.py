"""Judges the answers of a place that is for everyone: the same for all, in body and headers, and kept as it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from .answers import Answer, differing, known_by
from .findings import Finding, Wrong
from .places import Place

# A site that nobody has: `.invalid` is reserved (RFC 2606).
ORIGIN = "https://mizan-doctor.invalid"
LANGUAGES = ("de", "fr")

_OF_CALLERS = frozenset({"cookie", "authorization", "x-mizan-token", "*"})


@dataclass(frozen=True, slots=True)
class PublicSeen:
    """What a public place answered. `people`: by label, nobody's first, each asked twice, in two rounds.

    `stranger`: to a token that nobody issued. The others were asked as nobody: `with_origin` from another site and
    `languages`, at other spellings, so that no cache keeps what the doctor caused; `compressed`: to one that takes
    gzip; `again`: to one that has the first answer. `other`: at another spelling, which may not be kept;
    `other_stranger`: there after that, with a token that nobody issued; `unseen_stranger`: the same at a spelling at
    which nothing was asked before.
    """

    place: Place
    url: str
    people: Mapping[str, Sequence[Answer]]
    stranger: Answer
    with_origin: Answer
    languages: Sequence[Answer]
    compressed: Answer
    again: Answer
    other: Answer
    other_stranger: Answer
    unseen_stranger: Answer

    @property
    def answers(self) -> list[Answer]:
        return [one for answers in self.people.values() for one in answers]

    @property
    def first(self) -> Answer:
        return next(iter(self.people.values()))[0]

    @property
    def is_kept_in_silence(self) -> bool:
        """Whether a cache that shows nothing of itself gives this: it answers a token that the application refuses."""
        return self.stranger.ok and self.unseen_stranger.refuses and not any(one.has_node for one in self.answers)


def judge_public(seen: PublicSeen, *, is_kept: bool) -> Iterator[Finding]:
    """What is wrong at a public place. `is_kept`: a cache in front may keep its answers without asking again."""
    checks = (
        (Wrong.NOT_PUBLIC, _not_public),
        (Wrong.COOKIE, _cookies),
        (Wrong.VARY, partial(_varying, is_kept=is_kept)),
        (Wrong.PERSONAL, _personal),
        (Wrong.CORS, _reflected),
        (Wrong.LANGUAGE, _languages),
        (Wrong.ENCODING, _encoding),
        (Wrong.ETAG, _etag),
        (Wrong.NO_STORE_KEPT, _no_store_kept),
    )
    for wrong, check in checks:
        if evidence := list(check(seen)):
            yield Finding(wrong, seen.url, tuple(dict.fromkeys(evidence)))


def _not_public(seen: PublicSeen) -> Iterator[str]:
    for label, answers in seen.people.items():
        if all(one.ok and not one.is_public and not one.is_declined for one in answers):
            yield f"asked as {label}: {answers[-1].shown('cache-control', 'set-cookie', 'vary')}"


def _cookies(seen: PublicSeen) -> Iterator[str]:
    for label, answers in seen.people.items():
        setting = [one for one in answers if one.is_public and one.cookies]
        yield from (f"asked as {label}: {one.shown('set-cookie')}" for one in setting)


def _varying(seen: PublicSeen, *, is_kept: bool) -> Iterator[str]:
    """Any other header than Accept-Encoding keeps a cache from keeping it; one of the caller makes it personal."""
    for one in seen.answers:
        varies_by = one.varies_by - {"accept-encoding"}
        if one.is_public and varies_by and (is_kept or not _OF_CALLERS.isdisjoint(varies_by)):
            yield one.shown("vary")


def _personal(seen: PublicSeen) -> Iterator[str]:
    """Two answers to one reader that are the same, beside two of another reader that are the same and differ."""
    readers = [(label, answers) for label, answers in seen.people.items() if all(one.ok for one in answers)]
    for label, answers in readers[1:]:
        other, others = readers[0]
        same = all(one.is_same(answers[0]) for one in answers) and all(one.is_same(others[0]) for one in others)
        if same and not answers[0].is_same(others[0]):
            yield f"asked as {label}: {known_by(answers[0])}; as {other}: {known_by(others[0])}; each of them twice"
        for name in differing(answers, others):
            yield f"the header {name} is another for {label} than for {other}"


def _reflected(seen: PublicSeen) -> Iterator[str]:
    if seen.with_origin.ok and seen.with_origin.header("access-control-allow-origin") == ORIGIN:
        shown = seen.with_origin.shown("access-control-allow-origin", "vary")
        yield f"asked with Origin: {ORIGIN}: {shown}"
    allowed = seen.first.header("access-control-allow-origin")
    if allowed not in ("", "*"):
        yield f"asked without an Origin: {seen.first.shown('access-control-allow-origin')}"


def _languages(seen: PublicSeen) -> Iterator[str]:
    if all(one.ok for one in seen.languages):
        first, second = (one.header("content-language") for one in seen.languages)
        if first != second:
            yield f"Content-Language: {first} for Accept-Language: {LANGUAGES[0]}, {second} for {LANGUAGES[1]}"


def _encoding(seen: PublicSeen) -> Iterator[str]:
    encoded = seen.compressed.header("content-encoding")
    if encoded and seen.compressed.is_public and not {"accept-encoding", "*"} & seen.compressed.varies_by:
        yield f"asked with Accept-Encoding: gzip: Content-Encoding: {encoded}; {seen.compressed.shown('vary')}"
    plain = next((one for one in seen.answers if one.header("content-encoding") not in ("", "identity")), None)
    if plain is not None:
        yield f"asked with Accept-Encoding: identity: {plain.shown('content-encoding')}"


def _etag(seen: PublicSeen) -> Iterator[str]:
    if not seen.first.is_public:
        return
    if not seen.first.etag:
        if seen.place.readers:
            yield "no ETag"
    elif seen.again.status != HTTPStatus.NOT_MODIFIED and seen.again.is_same(seen.first):
        yield f"asked with If-None-Match: {seen.first.etag}: {known_by(seen.again)}"


def _no_store_kept(seen: PublicSeen) -> Iterator[str]:
    """The other spelling says `no-store`, so the application answers there each time, and refuses the token."""
    if seen.other.ok and seen.other_stranger.ok and seen.unseen_stranger.refuses:
        yield f"at another spelling of the URL: {seen.other.shown('cache-control')}"
        yield f"there with a token that nobody issued: {known_by(seen.other_stranger)}; the application answers 401"
    yield from (f"at another spelling of the URL: {mark}" for mark in seen.other.marks)
