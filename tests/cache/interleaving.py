"""Every interleaving of several processes, with every outcome of each of their steps: a search over states.

A step is a question of one process with its answer; it changes the world. All orders of all steps are followed, depth
first and from every state once. The real code decides what a process does. It is run once for each story that a
process can be told (see `processes`); everything else is a look-up of microseconds.

States that are left out make no difference. Two states are equal if their worlds are equal and every process asks,
knows and contains the same: then everything after them is equal too. The names of nonces may differ, since nonces are
only compared. A question put `AT_ONCE` follows the one before it immediately: a scenario chooses that where this is the
worst moment, or where the answer has no effect.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from tests.cache.processes import DEAD, Asked, Machine, Nonces, Standing, Turn, filled_in, taken_out

# In a state nonces have low numbers; before it is seen which, new ones get theirs from here on.
_NEW = 1_000


class Outcome(NamedTuple):
    """One outcome of a question: its label, the world after it, and the answer.

    `dies`: the process ends once it has the answer. A world is made of tuples and plain values.
    """

    label: str
    world: Any
    answer: Any
    dies: bool = False


# All outcomes of a question in a world; first the one without a fault. Raises if the world breaks a rule.
Outcomes: TypeAlias = Callable[[Any, Asked], Sequence[Outcome]]


class State(NamedTuple):
    """A world, where every process stands, and the nonces of all of them, numbered as they show."""

    scene: "_Scene"
    standings: tuple[Standing, ...]
    nonces: Nonces

    @property
    def world(self) -> Any:
        return filled_in(self.scene.world, self.nonces[: self.scene.blanks])


class _Move(NamedTuple):
    """A step of one process: the world and the process after it."""

    label: str
    scene: "_Scene"
    there: Nonces
    standing: Standing
    nonces: Nonces


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A world with blanks for its nonces, and the moves found so far in it."""

    world: Any
    blanks: int
    moves: dict[tuple[Nonces, Standing, Nonces, Turn], Sequence[_Move]] = field(default_factory=dict)


class _Wrong(Exception):
    """The last step of an order that breaks a rule."""


@contextmanager
def _wrong(step: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _Wrong(step) from error


@dataclass(frozen=True, slots=True)
class Explored:
    """How many states there are, how many steps between them, and the worlds in which it ended."""

    states: int
    steps: int
    ends: frozenset[Any]


class Exploration:
    """The states that these machines and what may come of their questions lead to."""

    def __init__(self, machines: Sequence[Machine], outcomes: Outcomes) -> None:
        self._machines = machines
        self._outcomes = outcomes
        self._scenes: dict[Any, _Scene] = {}
        self._new = count(_NEW)
        self._numbered: dict[Nonces, Nonces] = {}

    async def begin(self, world: Any) -> State:
        scene, nonces = self._scene(world)
        standings = []
        for machine in self._machines:
            standing, own = await machine.begin(self._new)
            standings.append(standing)
            nonces += own
        return State(scene, tuple(standings), self._renumbered(nonces))

    async def follow(self, first: State) -> Explored:
        """Every step from every state. Raises an `AssertionError` with the order that leads to what is wrong."""
        taken = 0
        visited, ends = {first}, set()
        path = {first: ""}  # a state, and by which step it was reached
        pending = [iter(await self._steps_after(path))]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                path.popitem()
                continue
            label, state = step
            taken += 1
            if state not in visited:
                visited.add(state)
                path[state] = label
                steps = await self._steps_after(path)
                pending.append(iter(steps))
                if not steps:
                    ends.add(state.world)
            elif state in path:
                raise _because("it goes round in circles", path, label)
        return Explored(len(visited), taken, frozenset(ends))

    async def steps(self, state: State) -> list[tuple[str, State]]:
        """What can happen next, and the state after it."""
        return await self._steps(state, Turn.ANY) or await self._steps(state, Turn.LAST)

    async def _steps_after(self, path: dict[State, str]) -> list[tuple[str, State]]:
        try:
            return await self.steps(next(reversed(path)))
        except _Wrong as wrong:
            raise _because(wrong.__cause__, path, str(wrong)) from wrong.__cause__

    async def _steps(self, state: State, turn: Turn) -> list[tuple[str, State]]:
        """The moves of each process; the other processes stay where they are."""
        scene, standings, nonces = state
        there, rest = nonces[: scene.blanks], nonces[scene.blanks :]
        before: Nonces = ()
        steps = []
        for place, standing in enumerate(standings):
            own, beyond = rest[: len(standing.numbers)], rest[len(standing.numbers) :]
            moves = scene.moves.get((there, standing, own, turn))
            if moves is None:
                moves = await self._moves(scene, there, place, standing, own, turn)
                scene.moves[there, standing, own, turn] = moves
            for label, after, anew, stands, nonces in moves:
                now = (*standings[:place], stands, *standings[place + 1 :])
                steps.append((label, State(after, now, self._renumbered(anew + before + nonces + beyond))))
            before, rest = before + own, beyond
            if steps and turn is Turn.LAST:
                break  # other processes that have only such a question wait for their turn
        return steps

    async def _moves(
        self, scene: _Scene, there: Nonces, place: int, standing: Standing, nonces: Nonces, turn: Turn
    ) -> list[_Move]:
        world = filled_in(scene.world, there)
        moves = []
        for number, (form, _) in enumerate(standing.asks):
            if form.turn is turn:
                asked = standing.asked(number, nonces)
                with _wrong(f"{asked.actor}: {asked.question[0]}"):
                    outcomes = self._outcomes(world, asked)
                for outcome in outcomes:
                    with _wrong(outcome.label):
                        moves.append(await self._move(place, standing, nonces, number, outcome))
        return moves

    async def _move(self, place: int, standing: Standing, nonces: Nonces, number: int, outcome: Outcome) -> _Move:
        """Tell an answer, and those to what is asked at once after it."""
        label, world, answer, dies = outcome
        tell = self._machines[place].tell
        standing, nonces = await tell(standing, nonces, number, answer, self._new)
        while (number := _at_once(standing)) >= 0:
            _, world, answer, _ = self._outcomes(world, standing.asked(number, nonces))[0]
            standing, nonces = await tell(standing, nonces, number, answer, self._new)
        scene, there = self._scene(world)
        return _Move(label, scene, there, DEAD, ()) if dies else _Move(label, scene, there, standing, nonces)

    def _scene(self, world: Any) -> tuple[_Scene, Nonces]:
        form, nonces = taken_out(world)
        scene = self._scenes.get(form)
        if scene is None:
            scene = self._scenes[form] = _Scene(form, len(nonces))
        return scene, nonces

    def _renumbered(self, nonces: Nonces) -> Nonces:
        """The same, numbered as they show. There are far fewer of these than states."""
        numbers: dict[int, int] = {}
        renumbered = tuple([numbers.setdefault(nonce, len(numbers)) for nonce in nonces])
        return self._numbered.setdefault(renumbered, renumbered)


def explore(machines: Sequence[Machine], world: Any, outcomes: Outcomes) -> Explored:
    """Follow every order of what these machines do, beginning in this world.

    Raises an `AssertionError` with the first order in which one raises, waits for ever, or goes round in circles (which
    it also does if what it knows does not show how far it has got), or in which `outcomes` raises.
    """

    async def follow() -> Explored:
        exploration = Exploration(machines, outcomes)
        try:
            return await exploration.follow(await exploration.begin(world))
        finally:
            for machine in machines:
                await machine.end()

    logging.disable()  # that a process is ended where it stands is no news
    try:
        return asyncio.run(follow())
    finally:
        logging.disable(logging.NOTSET)


def _because(reason: object, path: dict[State, str], last: str) -> AssertionError:
    _, *steps = path.values()
    order = "\n  ".join([*steps, last])
    return AssertionError(f"{reason}\nin this order:\n  {order}")


def _at_once(standing: Standing) -> int:
    """The place of a question that is put at once, or -1."""
    return next((place for place, (asked, _) in enumerate(standing.asks) if asked.turn is Turn.AT_ONCE), -1)
