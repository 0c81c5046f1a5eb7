"""Two processes, two readers, two mutations of nested scopes: every order of their operations, and a fault before any.

The code is the real one, stopped at every operation on the shared backend. In none of the orders is a read stale, no
scope stays held, and all is cached again once things have settled.
"""

import json
from collections.abc import Callable
from typing import ClassVar

import pytest

from mizan_core import Context, Engine, MemoryCache, build, client
from mizan_core.cache.backend import HELD
from mizan_core.testing.safeguards import without
from tests.stepping import Choice, SteppedHoldingCache, Steps, Tokens, Waiting, actor, explore

pytestmark = pytest.mark.timeout(300)  # a slow machine takes its time over thousands of runs

USER = Context("user")


async def commit() -> int:
    await Site.now.steps.gate("commit")
    Site.now.row += 1
    Site.now.steps.saw(Site.now.row, only=True)  # what it holds shows where it releases it
    return Site.now.row


@client(context=USER)
async def profile(user_id: int) -> int:
    await Site.now.steps.gate("select")
    # What it was stamped with shows in the flight, and what it has to be compared with is noted anew.
    Site.now.steps.saw((Site.now.row, Site.now.known.get(actor.get() or "")), only=True)
    return Site.now.row


@client(affects=USER)
async def rename(user_id: int) -> int:
    return await commit()


@client(affects=USER.whole())
async def rename_all(user_id: int) -> int:
    return await commit()


GRAPH = build([profile, rename, rename_all])

SECRET = "s" * 32

# The same in every run, and a fifth of the time that one would take.
ADDRESSES = Engine(GRAPH, cache=MemoryCache(), cache_secret=SECRET)._addresses


class Site:
    """A row, the number of the newest version that anybody was told of, and two processes over one cache."""

    now: ClassVar["Site"]

    def __init__(self, steps: Steps) -> None:
        Site.now = self
        self.steps = steps
        self.row = 0
        self.acknowledged = 0
        self.known: dict[str, int] = {}
        self.cache = SteppedHoldingCache(steps)
        tokens = Tokens()
        self.engines = {
            name: Engine(
                GRAPH,
                cache=self.cache,
                cache_secret=SECRET,
                random=tokens,
                clock=lambda: 0.0,
                deadline=1e9,
            )
            for name in ("a", "b")
        }
        for engine in self.engines.values():
            engine._addresses = ADDRESSES
        steps.state = self._state

    async def read(self, process: str) -> None:
        """A read sees at least what had been acknowledged when it began, as late as it can: with its look-up."""
        await self.steps.gate("begin and look up", lambda: [key for key, _ in self.cache.contents()], and_next=True)
        known = self.known[actor.get() or ""] = self.acknowledged
        self.steps.saw(known)
        bundle = await self.engines[process].fetch("user", {"user_id": 5})
        assert json.loads(bundle.body)["profile"] >= known, f"{process} read {bundle.body!r} after {known}"

    async def write(self, process: str, mutation: str) -> None:
        answer = await self.engines[process].call(mutation, {"user_id": 5})
        self.acknowledged = max(self.acknowledged, int(str(answer.result)))

    async def settles(self) -> None:
        """Whoever died, and once its holds have expired: the truth for everyone, and from the cache again."""
        for key, value in self.cache.contents():
            if value.startswith(HELD):
                self.cache.let_expire(key)
                assert not self.cache.holders(key), f"{key} is still held"
        for process, engine in self.engines.items():
            if process not in self.steps.dead:
                bundle = await engine.fetch("user", {"user_id": 5})
                assert json.loads(bundle.body) == {"profile": self.row}, (
                    f"{process} has {bundle.body!r}, not {self.row}"
                )
                assert (await engine.fetch("user", {"user_id": 5})).status == "hit"

    def _state(self) -> object:
        flights = [
            sorted((key, flight.stamps) for key, flight in engine._cache._flights.items())
            for process, engine in self.engines.items()
            if process not in self.steps.dead
        ]
        return self.cache.contents(), self.row, self.acknowledged, flights


def no_fault(site: Site) -> None:
    pass


def crash(site: Site) -> None:
    """One of the processes dies, after any of its steps; then what it held expires, before any step of the others."""
    steps, cache = site.steps, site.cache

    def death(waiting: Waiting) -> None:
        steps.let_through(waiting)
        steps.dead.add(waiting.actor[0])

    def expiry(waiting: Waiting, tag: str) -> None:
        cache.let_expire(tag)
        steps.let_through(waiting)

    def choices(waiting: Waiting) -> list[Choice]:
        step = f"{waiting.actor}: {waiting.label}"
        if not steps.dead:
            return [(f"{step}, and dies", lambda: death(waiting))]
        left = [tag for tag in waiting.needs() if any(steps.is_dead(name) for name in cache.holders(tag))]
        return [(f"{_short(tag)} expires; {step}", lambda tag=tag: expiry(waiting, tag)) for tag in left]  # type: ignore[misc]  # mypy cannot tell the type of such a lambda

    steps.faults = choices


def eviction(site: Site) -> None:
    """The backend forgets something, once, before any step to which that makes a difference; expiry looks the same."""
    steps, cache = site.steps, site.cache
    forgotten: list[str] = []

    def forget(waiting: Waiting, key: str) -> None:
        forgotten.append(key)
        steps.seen["eviction"] = [True]
        cache.evict(key)
        steps.let_through(waiting)

    def choices(waiting: Waiting) -> list[Choice]:
        kept = [key for key in waiting.needs() if not forgotten and cache.cell(key) is not None]
        step = f"{waiting.actor}: {waiting.label}"
        return [(f"{_short(key)} is forgotten; {step}", lambda key=key: forget(waiting, key)) for key in kept]  # type: ignore[misc]  # the same

    steps.faults = choices


def _short(key: str) -> str:
    return f"{key[:9]}{key[-3:]}"


def runs_under(fault: Callable[[Site], None], *, warm: bool, actors: tuple[str, ...]) -> int:
    async def scenario(steps: Steps) -> None:
        site = Site(steps)
        if warm:
            await site.engines["a"].fetch("user", {"user_id": 5})
        fault(site)
        works = {
            "a reads": lambda: site.read("a"),
            "b reads": lambda: site.read("b"),
            "a reads again": lambda: site.read("a"),
            "a renames": lambda: site.write("a", "rename"),
            "b renames": lambda: site.write("b", "rename"),
            "b renames all": lambda: site.write("b", "rename_all"),
        }
        for ended in (await steps.run({name: works[name] for name in actors})).values():
            if isinstance(ended, BaseException):
                raise ended
        await site.settles()

    return explore(scenario)


EVERYONE = ("a reads", "b reads", "a renames", "b renames all")
FAULTS = (no_fault, crash, eviction)

TRIPLES = {
    "nested scopes": ("b reads", "a renames", "b renames all"),
    "one scope": ("b reads", "a renames", "b renames"),
    "two readers": ("a reads", "b reads", "a renames"),
    "one process": ("a reads", "a reads again", "b renames all"),
}


@pytest.mark.parametrize(
    ("fault", "warm", "actors"),
    [
        (no_fault, False, "nested scopes"),
        (no_fault, False, "one process"),
        (crash, False, "nested scopes"),
        (crash, False, "one scope"),
        (crash, True, "two readers"),
        (crash, False, "one process"),
        (eviction, False, "nested scopes"),
        (eviction, True, "one scope"),
        (eviction, True, "two readers"),
        (eviction, True, "one process"),
    ],
)
def test_no_order_of_three_is_stale(fault: Callable[[Site], None], warm: bool, actors: str) -> None:
    assert runs_under(fault, warm=warm, actors=TRIPLES[actors]) > 100


def test_no_order_of_two_readers_and_two_mutations_is_stale() -> None:
    assert runs_under(no_fault, warm=True, actors=EVERYONE) > 5_000


@pytest.mark.parametrize(
    ("safeguard", "fault", "warm", "actors"),
    [
        ("stamps", no_fault, False, "one process"),
        ("add-if-absent", crash, False, "nested scopes"),
        ("holds", crash, True, "two readers"),
        ("last-holder", crash, True, "one scope"),
        ("joining-by-stamps", no_fault, False, "one process"),
    ],
)
def test_without_a_safeguard_an_order_is_stale(
    safeguard: str, fault: Callable[[Site], None], warm: bool, actors: str
) -> None:
    with without(safeguard), pytest.raises(AssertionError, match="in this order"):
        runs_under(fault, warm=warm, actors=TRIPLES[actors])


def main() -> None:
    """Every three, then all four, under every fault: too long for every day (`make exhaustive`)."""
    for name, actors in {**TRIPLES, "two readers, two mutations": EVERYONE}.items():
        for fault in FAULTS:
            for warm in (True, False):
                runs = runs_under(fault, warm=warm, actors=actors)
                print(f"{name}, {fault.__name__}, {'warm' if warm else 'cold'}: {runs:,} runs, none stale", flush=True)


if __name__ == "__main__":
    main()
