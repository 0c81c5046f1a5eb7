"""Judges the caches in front: whether they keep what they may, and hear of what is stale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from .answers import NODE, Answer, known_by
from .findings import Finding, Wrong
from .places import Place
from .public import PublicSeen

# `Age` is in whole seconds, and counts from when the origin answered.
_ROUNDED = 1.0


@dataclass(frozen=True, slots=True)
class InFrontOf:
    """What the target says of the caches in front of it. `nodes`: those that `mizan edge` writes are all there are."""

    has_edge: bool
    nodes: bool = False


@dataclass(frozen=True, slots=True)
class CallsSeen:
    """What a call of no function was answered. `own`: from a page of the site itself; `foreign`: from another site.

    `bare`: from no browser. `purge`: the answer to PURGE of a URL that is not there, which names nothing to purge;
    `unheard`: to a method that nobody knows there; `listener`: to a GET of the root.
    """

    own: Answer
    foreign: Answer
    bare: Answer
    purge: Answer
    unheard: Answer
    listener: Answer


@dataclass(frozen=True, slots=True)
class PurgeSeen:
    """What a public place answered after a purge at the origin, which ended at `purged`.

    `before` it, and `after` it; `stranger`: to a token that nobody issued, before anything else was asked;
    `strange_before`: the same before the purge.
    """

    place: Place
    url: str
    before: Answer
    strange_before: Answer
    purged: float
    stranger: Answer
    after: Answer

    @property
    def is_forgotten(self) -> bool:
        """Whether what was kept before is not given any more.

        An answer that is older than the purge was kept by one of several nodes.
        """
        answers = [one for one in (self.stranger, self.after) if one.ok]
        if not any(one.marks for one in (self.before, *answers)):
            return not (self.strange_before.ok and self.stranger.ok)
        if any(one.age > one.began - self.purged + _ROUNDED for one in answers):
            return False
        return any(not one.marks or one.age < self.before.age for one in answers)


def judge_edges(front: InFrontOf | None, seen: Sequence[PublicSeen], *, is_proved: bool = False) -> Iterator[Finding]:
    """What is wrong with the caches in front, by the public places. `front`: None where the target does not tell.

    `is_proved`: a purge was seen to reach them.
    """
    for one in seen:
        if front is None or not any(answer.is_public and answer.ok for answer in one.answers):
            continue
        yield from _with_edge(front, one, is_proved=is_proved) if front.has_edge else _without_edge(one)


def judge_calls(seen: CallsSeen, url: str) -> Iterator[Finding]:
    """What is wrong with calls and purges, by requests that change nothing."""
    if seen.bare.status == HTTPStatus.NOT_FOUND and seen.bare.problem:
        if seen.own.status == HTTPStatus.FORBIDDEN:
            yield Finding(Wrong.HOST_LOST, url, (f"a call with the Origin of this site: {known_by(seen.own)}",))
        if seen.foreign.is_same(seen.bare):
            yield Finding(
                Wrong.ORIGIN_LOST, url, (f"a call with Sec-Fetch-Site: cross-site: {known_by(seen.foreign)}, no 403",)
            )
    if seen.purge.is_success and not seen.unheard.is_success:  # some hosts answer any method
        yield Finding(Wrong.PURGE_OPEN, url, (f"PURGE: {known_by(seen.purge)}",))
    elif seen.listener.status == HTTPStatus.METHOD_NOT_ALLOWED and seen.listener.header("allow") == "PURGE":
        yield Finding(Wrong.PURGE_OPEN, url, ("GET: 405 with Allow: PURGE, the address at which nodes take purges",))


def judge_purge(seen: PurgeSeen) -> Iterator[Finding]:
    """Whether a cache has forgotten what was purged."""
    if not seen.is_forgotten:
        shown = "; ".join(seen.after.marks) or "a token that nobody issued is still answered"
        yield Finding(Wrong.NOT_FORGOTTEN, seen.url, (f"before the purge: {_kept(seen.before)}", f"after it: {shown}"))


def is_kept(seen: PublicSeen) -> bool:
    """Whether a cache in front gives its answers."""
    return seen.is_kept_in_silence or any(one.marks for one in seen.answers)


def _without_edge(seen: PublicSeen) -> Iterator[Finding]:
    first = seen.first
    if is_kept(seen):
        yield Finding(Wrong.UNTOLD_EDGE, seen.url, tuple(_how_kept(seen)))
    elif first.has_node:
        yield Finding(Wrong.UNUSED_EDGE, seen.url, (first.shown("cache-status"),))
    if "s-maxage" in first.directives and not is_kept(seen):
        yield Finding(Wrong.LIFETIME, seen.url, (first.shown("cache-control"),))


def _with_edge(front: InFrontOf, seen: PublicSeen, *, is_proved: bool) -> Iterator[Finding]:
    answers = [*seen.answers, seen.stranger]
    if any(one.has_node for one in answers):
        if not any(_node_hits(one) for one in answers):
            yield Finding(
                Wrong.KEEPS_NOTHING, seen.url, (f"asked {len(answers)} times: {answers[-1].shown('cache-status')}",)
            )
    elif not front.nodes or is_proved:
        return
    elif is_kept(seen):
        yield Finding(Wrong.FOREIGN_EDGE, seen.url, tuple(_how_kept(seen)))
    elif "s-maxage" in seen.first.directives or seen.stranger.refuses:  # a node asks without the token
        yield Finding(Wrong.NO_EDGE, seen.url, (seen.first.shown("cache-control"), seen.first.shown("cache-status")))


def _how_kept(seen: PublicSeen) -> Iterator[str]:
    marks = list(dict.fromkeys(mark for one in reversed(seen.answers) for mark in one.marks))
    yield from marks[:3]
    if seen.is_kept_in_silence:
        yield f"asked with a token that nobody issued: {known_by(seen.stranger)}; the application answers 401"


def _kept(answer: Answer) -> str:
    return "; ".join(answer.marks) or known_by(answer)


def _node_hits(answer: Answer) -> bool:
    return any(name == NODE and rest == "hit" for name, rest in answer.cache_statuses)
