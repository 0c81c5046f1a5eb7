"""A process of the real code as a state machine, which remembers how the code behaved.

Processes share only a world, and learn of it only by answers to their questions: the value of a cache key, the content
of a row. So a process's state depends only on the answers that it was given. A `Machine` runs the real code once for
each new sequence of answers and remembers the result.

Remembered results hold under any names of the nonces. Nonces are random and can only be compared: here they are
numbers, taken out of every question and answer and filled in again.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Any, NamedTuple, TypeAlias, TypeVar

from tests.cache.stepping import settled

T = TypeVar("T")
Nonces: TypeAlias = tuple[int, ...]

# What a process was told, from the beginning: the place of a question among those that it asked, and its answer.
Story: TypeAlias = tuple[tuple[int, Any], ...]

_NONCE = re.compile(rb"#([0-9]{13})#")
_BLANK = b"#.............#"

# Nonces of other processes are numbered from here on in a process's story, its own from 0.
_OTHERS = 1_000_000


def spelled(nonce: int) -> bytes:
    return b"#%013d#" % nonce


def taken_out(what: T) -> tuple[T, Nonces]:
    """The same with a blank for every nonce, and the nonces, one by one. It is made of tuples and plain values."""
    nonces: list[int] = []
    return _blanked(what, nonces), tuple(nonces)


def _blanked(what: Any, nonces: list[int]) -> Any:
    if isinstance(what, bytes):
        nonces.extend(map(int, _NONCE.findall(what)))
        return _NONCE.sub(_BLANK, what)
    if isinstance(what, tuple):
        return _like(what, [_blanked(one, nonces) for one in what])
    return what


def filled_in(form: T, nonces: Iterable[int]) -> T:
    """The same with these nonces in its blanks."""
    return _filled(form, iter(nonces))  # type: ignore[no-any-return]  # it is as before, part by part


def _filled(form: Any, nonces: Iterator[int]) -> Any:
    if isinstance(form, bytes):
        return re.sub(re.escape(_BLANK), lambda _: spelled(next(nonces)), form)
    if isinstance(form, tuple):
        return _like(form, [_filled(one, nonces) for one in form])
    return form


def _like(what: Any, parts: list[Any]) -> Any:
    return type(what)(*parts) if hasattr(what, "_fields") else tuple(parts)


class Turn(Enum):
    """When a question is put."""

    ANY = auto()  # at any time
    AT_ONCE = auto()  # together with the one before it
    LAST = auto()  # when no process has any other question


class Asked(NamedTuple):
    """A question of one actor."""

    actor: str
    question: tuple[Any, ...]
    turn: Turn = Turn.ANY


class Actor:
    """A coroutine that acts in a process.

    `knows`: what it has asked and been answered. Where that shows in what it will ask, or does not matter any more, it
    can be taken away, and more states are one. `turn`: when its next question is put.
    """

    def __init__(self, process: "Process", name: str) -> None:
        self.process = process
        self.name = name
        self.knows: list[object] = []
        self.turn = Turn.ANY

    async def ask(self, *question: Any) -> Any:
        turn, self.turn = self.turn, Turn.ANY
        answer = await self.process.answer_to(Asked(self.name, question, turn))
        self.knows.append((question, answer))
        return answer

    async def act(self, work: Callable[[], Awaitable[None]]) -> None:
        me.set(self)
        await work()


me: ContextVar[Actor] = ContextVar("me")


class Process:
    """The real code of one process. A subclass gives its actors and its inner state."""

    def __init__(self, first_nonce: int = 0) -> None:
        self.story: Story = ()
        self.met: set[int] = set()  # the nonces in all that it had asked and been answered when it was told the last
        self._actors: list[tuple[Actor, asyncio.Task[None]]] = []
        self._waiting: list[tuple[Asked, asyncio.Future[Any]]] = []
        self._said: list[object] = []
        self._made = count(first_nonce)
        self._over = False

    def works(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What each actor does, by its name. It raises when it finds something wrong."""
        raise NotImplementedError

    def inside(self) -> object:
        """The state that its actors depend on beside what they know."""
        raise NotImplementedError

    def random(self, length: int) -> bytes:
        """Randomness that can be told apart."""
        return spelled(next(self._made))[:length]

    async def answer_to(self, asked: Asked) -> Any:
        if self._over:
            raise asyncio.CancelledError
        self._said.append(asked)
        answer = asyncio.get_running_loop().create_future()
        self._waiting = sorted([*self._waiting, (asked, answer)], key=lambda one: one[0].actor)
        return await answer

    @property
    def asks(self) -> tuple[Asked, ...]:
        return tuple(asked for asked, _ in self._waiting)

    @property
    def knows(self) -> object:
        """What distinguishes it from a process with equal questions; ended actors do not count."""
        return tuple((actor.name, tuple(actor.knows)) for actor in self._busy()), self.inside()

    async def begin(self) -> None:
        for name, work in self.works().items():
            actor = Actor(self, name)
            self._actors.append((actor, asyncio.create_task(actor.act(work))))
        await self._go_on()

    async def tell(self, place: int, answer: Any) -> None:
        """Answer one of its questions. Raises what is wrong with what it does then."""
        self.met.update(taken_out((*self._said, answer))[1])
        self._said.clear()
        self.story = (*self.story, (place, answer))
        self._waiting.pop(place)[1].set_result(answer)
        await self._go_on()

    async def end(self) -> None:
        self._over = True
        for one in (*(answer for _, answer in self._waiting), *(task for _, task in self._actors)):
            one.cancel()
        await settled()

    async def _go_on(self) -> None:
        """Until it does nothing but wait. Raises what one of its actors raises."""
        await settled()
        for actor, task in self._actors:
            assert not task.cancelled(), f"{actor.name} was cancelled"
            if task.done():
                task.result()
        if all(asked.turn is Turn.LAST for asked in self.asks):
            idle = {actor.name for actor in self._busy()} - {asked.actor for asked in self.asks}
            assert not idle, f"{' and '.join(sorted(idle))} will wait for ever"

    def _busy(self) -> list[Actor]:
        return [actor for actor, task in self._actors if not task.done()]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a process stands: what it asks, with blanks, and what was learned of where it stands after an answer.

    A nonce is known by its place among all that it goes by, in the order in which they show; the places that belong in
    the blanks stand beside a question. `story` is one that leads here, in which the nonces are called `numbers`.
    """

    asks: tuple[tuple[Asked, Nonces], ...] = ()
    story: Story = ()
    numbers: Nonces = ()
    after: "dict[tuple[int, Any, Nonces], tuple[Standing, Nonces]]" = field(default_factory=dict)

    def asked(self, place: int, nonces: Nonces) -> Asked:
        form, places = self.asks[place]
        return filled_in(form, [nonces[one] for one in places])


DEAD = Standing()


class Machine:
    """All that has been learned of a process. `told`: how often the real code had to be told something."""

    def __init__(self, make: Callable[[], Process]) -> None:
        self._make = make
        self._standings: dict[object, Standing] = {}
        self._process: Process | None = None
        self.told = 0

    async def begin(self, fresh: Iterator[int]) -> tuple[Standing, Nonces]:
        """Where it stands before it was told anything, and by which nonces it goes: `fresh` ones, if any."""
        standing, made = await self._after((), ())
        return standing, tuple([next(fresh) for _ in made])

    async def tell(
        self, standing: Standing, nonces: Nonces, place: int, answer: Any, fresh: Iterator[int]
    ) -> tuple[Standing, Nonces]:
        """Where it stands after an answer, and by which nonces it then goes, where it now goes by these.

        Those that it makes are taken from `fresh`. Raises what the real code raises.
        """
        form, said = taken_out(answer)
        places = {nonce: place for place, nonce in enumerate(nonces)}
        blanks = tuple([places.setdefault(nonce, len(places)) for nonce in said])
        after = standing.after.get((place, form, blanks))
        if after is None:
            after = standing.after[place, form, blanks] = await self._learn(standing, place, form, blanks)
        met = list(places)
        return after[0], tuple([met[one] if one < len(met) else next(fresh) for one in after[1]])

    async def end(self) -> None:
        """End the process that was told something last."""
        if self._process is not None:
            await self._process.end()
            self._process = None

    async def _learn(self, standing: Standing, place: int, form: Any, blanks: Nonces) -> tuple[Standing, Nonces]:
        first = _OTHERS + 100 * len(standing.story)
        new = len({*blanks} - {*range(len(standing.numbers))})
        numbers = (*standing.numbers, *range(first, first + new))
        answer = filled_in(form, [numbers[one] for one in blanks])
        return await self._after((*standing.story, (place, answer)), numbers)

    async def _after(self, story: Story, met: Nonces) -> tuple[Standing, Nonces]:
        """Where it stands after this story, and the places of its nonces among those `met`; new ones come behind."""
        process = await self._told(story)
        form, said = taken_out((process.asks, process.knows))
        numbers = tuple(dict.fromkeys(said))
        if process.met.intersection(numbers).difference(met):
            raise RuntimeError(f"After {story} it goes by a nonce that it seemed to have forgotten.")
        places = {number: place for place, number in enumerate(numbers)}
        key = form, tuple([places[number] for number in said])
        standing = self._standings.get(key)
        if standing is None:
            asks = [taken_out(asked) for asked in process.asks]
            inward = tuple((asked, tuple([places[number] for number in blanks])) for asked, blanks in asks)
            standing = self._standings[key] = Standing(inward, story, numbers)
        outward = {number: place for place, number in enumerate(met)}
        return standing, tuple([outward.setdefault(number, len(outward)) for number in numbers])

    async def _told(self, story: Story) -> Process:
        """A process that was told this: the last one, if this is how its story goes on, or else a new one."""
        self.told += 1
        if self._process is None or self._process.story != story[:-1]:
            await self.end()
            self._process = self._make()
            await self._process.begin()
        for place, answer in story[len(self._process.story) :]:
            await self._process.tell(place, answer)
        return self._process
