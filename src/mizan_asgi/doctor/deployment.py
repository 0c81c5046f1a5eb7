"""Asks a deployment place by place, in the order that the judgements need, and gathers what is wrong."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from mizan_core.errors import DeclarationError

from .answers import Answer, known_by
from .asking import Asker, Spent
from .edges import CallsSeen, PurgeSeen, is_kept, judge_calls, judge_edges, judge_purge
from .examination import Examination, Purge, Unreachable, path_of, root_of
from .findings import Finding, Report, Wrong
from .people import BEARER_HEADER, BEARER_STRANGER, NOBODY, STRANGER, TOKEN_HEADER, Person
from .places import Place, Places, Unasked
from .private import PrivateSeen, is_suspicious, judge_private
from .public import LANGUAGES, ORIGIN, PublicSeen, judge_public

# How often an answer that says `no-store` is asked for again: a mutation may have been running.
_ATTEMPTS = 3

_BUSY, _BROKEN = (HTTPStatus.TOO_MANY_REQUESTS,), HTTPStatus.INTERNAL_SERVER_ERROR

# In turn at the URL and at other spellings: processes with caches of their own do not miss each time by chance.
_TURNS = 4


async def examined(what: Examination) -> Report:
    """The report of a deployment. Raises `Unreachable`, and `DeclarationError` for what cannot be asked so."""
    places = Places(what.graph, what.base_url)
    root = root_of(what.url, what.base_url)
    named = list(places.named([path_of(url, root) for url in what.urls]))
    found = list(places.with_values(what.given))
    async with Asker(root, timeout=what.timeout, within=what.within, requests=what.requests) as asker:
        visit = _Visit(what, asker)
        if await visit.is_there():
            wanted = named or [one for one in found if isinstance(one, Place)]
            await visit.places(list({one.url: one for one in wanted}.values()))
        left_out = [] if named else [one for one in found if isinstance(one, Unasked)]
        return visit.report(left_out)


@dataclass(slots=True)
class _Visit:
    """One run: what was found so far."""

    what: Examination
    asker: Asker
    stranger: Person | None = None  # a token that nobody issued, in a header that arrives
    unknown: Answer | None = None  # what a context that is not there answers
    findings: list[Finding] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    requests: int = 0
    unasked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(self, left_out: Sequence[Unasked]) -> Report:
        return Report(
            findings=tuple(dict.fromkeys(self.findings)),
            asked=tuple(self.asked),
            requests=self.asker.requests,
            unasked=tuple(dict.fromkeys(self.unasked)),
            notes=(*dict.fromkeys(self.notes), *(f"{one.name} was not asked for: {one.why}" for one in left_out)),
        )

    async def is_there(self) -> bool:
        """Whether Mizan answers at its base URL; finds a header in which a token arrives, and how calls are taken."""
        base = self.what.base_url
        path = f"{base}/ctx/mizan-doctor-{secrets.token_hex(4)}/"
        answer = self.unknown = await self.asker.get(path)
        self._check_root(path, answer)
        if answer.status != HTTPStatus.NOT_FOUND or answer.problem is None:
            calls = await self._calls()
            self.findings += [one for one in judge_calls(calls, self.asker.root) if one.wrong is Wrong.PURGE_OPEN]
            if not self.findings:
                self.findings.append(self._not_there(path, answer))
            return False
        for person, header in ((STRANGER, TOKEN_HEADER), (BEARER_STRANGER, BEARER_HEADER)):
            refused = await self.asker.get(path, person)
            if not refused.is_same(answer):
                self.stranger = self.stranger or person
            elif self._sends(header):
                evidence = (f"a token that nobody issued in {header}: {known_by(refused)}, as for nobody",)
                self.findings.append(Finding(Wrong.IDENTITY_LOST, self.asker.root + path, evidence))
        self.findings += judge_calls(await self._calls(), f"{self.asker.root}{base}/call/")
        return True

    def _check_root(self, path: str, answer: Answer) -> None:
        """Raise `DeclarationError` where the whole deployment is elsewhere, as at https.

        Raises `Unreachable` where something in front of Mizan lets nobody in, or has no application behind it.
        """
        if answer.problem is None and (answer.refuses or answer.status in _BUSY or answer.status >= _BROKEN):
            raise Unreachable(f"{self.asker.root}{path} is answered {answer.status}, and not by Mizan.")
        parts = urlsplit(answer.header("location"))
        there = f"{parts.scheme}://{parts.netloc}"
        if parts.netloc and parts.path == path and there != self.asker.root:
            raise DeclarationError(f"{self.asker.root} redirects to {there}. Ask there: mizan doctor {there} ...")

    def _sends(self, header: str) -> bool:
        """Whether anyone is known to send this header."""
        signed = header == TOKEN_HEADER and self.what.signs_tokens
        return signed or any(person.sends(header) for person in self.what.people)

    def _not_there(self, path: str, answer: Answer) -> Finding:
        location = answer.header("location")
        if location:
            return Finding(Wrong.REDIRECT, self.asker.root + path, (f"{answer.status} to {_without_query(location)}",))
        return Finding(
            Wrong.NOT_THERE, self.asker.root + path, (f"{known_by(answer)}, and no problem document of Mizan's",)
        )

    async def _calls(self) -> CallsSeen:
        """Calls of a function that is not there, which change nothing, and PURGE without anything to purge."""
        name = f"mizan-doctor-{secrets.token_hex(4)}"
        path = f"{self.what.base_url}/call/{name}/"
        tried = self.asker.tried
        return CallsSeen(
            bare=await tried("POST", path),
            own=await tried("POST", path, Origin=self.asker.root),
            foreign=await tried("POST", path, Origin=ORIGIN, Sec_Fetch_Site="cross-site"),
            purge=await tried("PURGE", f"/{name}"),
            unheard=await tried("DOCTOR", f"/{name}"),
            listener=await tried("GET", "/"),
        )

    async def places(self, places: Sequence[Place]) -> None:
        """Ask for each place, and judge it."""
        public: list[PublicSeen] = []
        for number, place in enumerate(places):
            try:
                first = await self._first(place)
                if first is None:
                    continue
                if place.is_public:
                    public.append(await self._public(place, first))
                    self._note_declined(public[-1])
                    self.findings += judge_public(public[-1], is_kept=self._may_be_kept(public[-1]))
                else:
                    self.findings += judge_private(await self._private(place, first))
                self.asked.append(place.url)
            except Spent as error:
                self.unasked += [f"{one.url}: {error}" for one in places[number:]]
                break
            except Unreachable as error:
                self.unasked.append(str(error))
        self._compare_people(places)
        proved = await self._purged(public, self.what.purge) if self.what.purge is not None else False
        self.findings += judge_edges(self.what.front, public, is_proved=proved)

    def _note_declined(self, seen: PublicSeen) -> None:
        if any(one.is_declined and not one.is_public for one in seen.answers):
            self.notes.append(f"{seen.url} is kept nowhere, for the application says so: {seen.first.of_origin}")

    def _may_be_kept(self, seen: PublicSeen) -> bool:
        """Whether a cache in front keeps such answers, by what the target says or by what is seen."""
        front = self.what.front
        return (front is not None and front.has_edge) or "s-maxage" in seen.first.directives or is_kept(seen)

    def _compare_people(self, places: Sequence[Place]) -> None:
        private = [place for place in places if not place.is_public]
        if private and len(self.what.people) < 2:  # two people
            self.notes.append(
                "answers for one person were compared for fewer than two people: give --as TOKEN twice, with tokens of "
                "two users (`mizan token TARGET --user 5`), or --as 'Cookie: ...'."
            )

    async def _first(self, place: Place) -> Answer | None:
        """The answer to nobody; None where it says that there is nothing to compare, which is reported."""
        answer = await self.asker.get(place.url)
        for _ in range(_ATTEMPTS - 1):
            if not (place.is_public and answer.ok and "no-store" in answer.directives):
                break
            answer = await self.asker.get(place.url)
        url = self.asker.root + place.url
        if answer.header("location") and _leads_astray(place, answer):
            evidence = f"{answer.status} to {_without_query(answer.header('location'))}"
            self.findings.append(Finding(Wrong.REDIRECT, url, (evidence,)))
        elif self.unknown is not None and place.readers and answer.is_same(self.unknown):
            self.findings.append(
                Finding(Wrong.OTHER_VERSION, url, (f"404: {answer.problem} The target has {place.context}.",))
            )
        elif answer.ok or (answer.refuses and not place.is_public):
            if answer.ok and place.readers and (other := _members(answer)) != place.readers:
                evidence = f"the bundle has {_listed(other)}; the target has {_listed(place.readers)}"
                self.findings.append(Finding(Wrong.OTHER_VERSION, url, (evidence,)))
            return answer
        elif answer.refuses and answer.problem is not None and place.readers:
            evidence = f"{answer.status} to nobody: {answer.problem} The target lets everyone in."
            self.findings.append(Finding(Wrong.OTHER_VERSION, url, (evidence,)))
        else:
            self.unasked.append(f"{url}: answered {known_by(answer)}{_because(answer)}")
        return None

    async def _private(self, place: Place, nobody: Answer) -> PrivateSeen:
        ask, stranger, url = self.asker.get, self.stranger or STRANGER, place.url
        people = {one.label: [await ask(url, one)] for one in self.what.people}
        strange = await ask(url, stranger)
        strange_elsewhere = await ask(self._other(place), stranger)
        elsewhere = {one.label: await ask(self._other(place), one) for one in self.what.people}
        after_nobody: tuple[str, Answer] | None = None
        alternating: list[tuple[Answer, Answer]] = []
        for one in self.what.people:
            people[one.label].append(await ask(url, one))
            first, second = people[one.label]
            if is_suspicious(first, elsewhere[one.label], second) and not alternating:
                alternating = [(await ask(url, one), await ask(self._other(place), one)) for _ in range(_TURNS)]
        able = [one for one in self.what.people if elsewhere[one.label].ok]
        if nobody.refuses and able:
            fresh = self._other(place)
            await ask(fresh)
            after_nobody = able[0].label, await ask(fresh, able[0])
        seen = PrivateSeen(
            place=place,
            url=self.asker.root + url,
            people=people,
            nobody=nobody,
            stranger=strange,
            stranger_elsewhere=strange_elsewhere,
            elsewhere=elsewhere,
            after_nobody=after_nobody,
            alternating=alternating,
        )
        self._note_refusals(seen)
        self._check_members(seen)
        return seen

    def _note_refusals(self, seen: PrivateSeen) -> None:
        for label, answer in seen.elsewhere.items():
            if answer.status == HTTPStatus.UNAUTHORIZED:
                known = answer.is_same(seen.nobody)
                why = ", as nobody is: its session has ended, or its header is lost" if known else _because(answer)
                self.unasked.append(f"{seen.url} as {label}: it is refused{why}")
            elif not answer.ok:
                self.notes.append(f"{seen.url} as {label}: {answer.status}{_because(answer)}")

    def _check_members(self, seen: PrivateSeen) -> None:
        for answer in seen.elsewhere.values():
            if answer.ok and seen.place.readers and (other := _members(answer)) != seen.place.readers:
                evidence = f"the bundle has {_listed(other)}; the target has {_listed(seen.place.readers)}"
                self.findings.append(Finding(Wrong.OTHER_VERSION, seen.url, (evidence,)))
                return

    async def _public(self, place: Place, first: Answer) -> PublicSeen:
        ask, stranger, url = self.asker.get, self.stranger or STRANGER, place.url
        everyone = [NOBODY, *self.what.people]
        people = {one.label: [await ask(url, one)] for one in everyone}
        strange = await ask(url, stranger)
        for one in everyone:
            people[one.label].append(await ask(url, one))
        people[NOBODY.label].insert(0, first)
        etag = people[NOBODY.label][-1].etag
        other = self._other(place)
        return PublicSeen(
            place=place,
            url=self.asker.root + url,
            people=people,
            stranger=strange,
            with_origin=await ask(self._other(place), Origin=ORIGIN),
            languages=[await ask(self._other(place), Accept_Language=one) for one in LANGUAGES],
            compressed=await ask(url, Accept_Encoding="gzip"),
            again=await ask(url, If_None_Match=etag or '"none"'),
            other=await ask(other),
            other_stranger=await ask(other, stranger),
            unseen_stranger=await ask(self._other(place), stranger),
        )

    def _other(self, place: Place) -> str:
        return place.spelled(self.asker.number())

    async def _purged(self, seen: Sequence[PublicSeen], purge: Purge) -> bool:
        """Purge each place that a cache keeps, and ask again. Whether every one was forgotten."""
        kept = [one for one in seen if is_kept(one)]
        if not kept:
            self.notes.append("no cache in front was seen to keep anything, so nothing was purged.")
        found = [finding for one in kept for finding in judge_purge(await self._purge(one, purge))]
        self.findings += found
        return bool(kept) and not found

    async def _purge(self, seen: PublicSeen, purge: Purge) -> PurgeSeen:
        stranger, url = self.stranger or STRANGER, seen.place.url
        before, strange_before = await self.asker.get(url), await self.asker.get(url, stranger)
        await purge(seen.place)
        ended = time.monotonic()
        while True:
            strange, after = await self.asker.get(url, stranger), await self.asker.get(url)
            purged = PurgeSeen(seen.place, seen.url, before, strange_before, ended, strange, after)
            if purged.is_forgotten or time.monotonic() > ended + self.what.patience:
                return purged
            await asyncio.sleep(self.what.patience / 10)


def _leads_astray(place: Place, answer: Answer) -> bool:
    """Whether a redirect changes the spelling of the URL. A page may redirect to another one by itself."""
    if place.readers:
        return True
    return urlsplit(answer.header("location")).path.strip("/").lower() == place.path.strip("/").lower()


def _members(answer: Answer) -> tuple[str, ...] | None:
    """The names in a bundle; None for what is none."""
    bundle = answer.json
    return tuple(sorted(bundle)) if isinstance(bundle, dict) else None


def _listed(names: Sequence[str] | None) -> str:
    return "no members" if not names else ", ".join(names)


def _because(answer: Answer) -> str:
    return f": {answer.problem}" if answer.problem else ""


def _without_query(url: str) -> str:
    return url.partition("?")[0]
