"""The search of `interleaving.py` finds every order, and a broken rule in one of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from tests.cache.interleaving import Explored, Outcome, explore
from tests.cache.processes import Asked, Machine, Process, Turn, me

Work = Callable[["One"], Awaitable[None]]


class One(Process):
    """A process with one actor."""

    def __init__(self, name: str, work: Work) -> None:
        super().__init__()
        self._name = name
        self._work = work

    def works(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {self._name: partial(self._work, self)}

    def inside(self) -> object:
        return None


def outcomes(world: tuple[Any, ...], asked: Asked) -> list[Outcome]:
    """A world is one value that is read and written."""
    verb, *values = asked.question
    return [Outcome(f"{asked.actor} {verb}", tuple(values) if verb == "writes" else world, world[0])]


def explored(*works: Work, may: Callable[[Any, Asked], Sequence[Outcome]] = outcomes) -> Explored:
    return explore([Machine(partial(One, name, work)) for name, work in zip("ab", works, strict=False)], (0,), may)


async def adds_one(process: One) -> None:
    value = await me.get().ask("reads")
    await me.get().ask("writes", value + 1)


async def reads_twice(process: One) -> None:
    await me.get().ask("reads")
    await me.get().ask("reads")


def test_every_order_is_followed_and_every_state_once() -> None:
    assert explored(reads_twice, reads_twice) == Explored(states=9, steps=12, ends=frozenset({(0,)}))
    assert explored(adds_one, adds_one).ends == {(1,), (2,)}


def test_questions_asked_at_once_are_answered_together() -> None:
    async def adds_one_at_once(process: One) -> None:
        value = await me.get().ask("reads")
        me.get().turn = Turn.AT_ONCE
        await me.get().ask("writes", value + 1)

    assert explored(adds_one_at_once, adds_one_at_once).ends == {(2,)}


def test_a_question_asked_last_waits_for_all_others() -> None:
    async def looks(process: One) -> None:
        me.get().turn = Turn.LAST
        assert await me.get().ask("reads") == 1

    assert explored(looks, adds_one).ends == {(1,)}


def test_a_dead_process_asks_nothing_more() -> None:
    def dying(world: Any, asked: Asked) -> list[Outcome]:
        (step,) = outcomes(world, asked)
        return [step, step._replace(label=f"{step.label} and dies", dies=True)]

    assert explored(adds_one, may=dying).ends == {(0,), (1,)}


def test_states_that_differ_in_the_names_of_nonces_are_one() -> None:
    async def writes_a_nonce(process: One) -> None:
        await me.get().ask("writes", process.random(15))

    assert len(explored(writes_a_nonce, writes_a_nonce).ends) == 1


def test_a_failed_check_is_reported_with_its_order_of_events() -> None:
    async def looks(process: One) -> None:
        assert await me.get().ask("reads") == 0, "it has changed"

    with pytest.raises(
        AssertionError, match=r"^it has changed\n(.*\n)?in this order:\n  b reads\n  b writes\n  a reads$"
    ):
        explored(looks, adds_one)


def test_an_actor_that_waits_for_ever_is_found() -> None:
    async def reads_and_waits(process: One) -> None:
        await me.get().ask("reads")
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="a will wait for ever"):
        explored(reads_and_waits)


def test_an_actor_that_loops_is_found() -> None:
    async def reads_for_ever(process: One) -> None:
        while True:
            await me.get().ask("reads")
            me.get().knows.clear()

    with pytest.raises(AssertionError, match="goes round in circles"):
        explored(reads_for_ever)


def test_an_actor_with_hidden_state_is_found() -> None:
    async def hides_a_nonce(process: One) -> None:
        nonce = process.random(15)
        await me.get().ask("writes", nonce)
        me.get().knows.clear()
        await me.get().ask("reads")
        await me.get().ask("writes", nonce)

    with pytest.raises(AssertionError, match="seemed to have forgotten"):
        explored(hides_a_nonce)
