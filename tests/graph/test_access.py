"""Guards that are given the function's arguments: asked on every request, before the cache."""

import asyncio
import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import Field

from mizan_core import (
    DeclarationError,
    Engine,
    Forbidden,
    Identity,
    InvalidInput,
    MemoryCache,
    Unauthorized,
    build,
    client,
    invalidate,
)

ADA, BO = Identity("ada"), Identity("bo")

Guard = Callable[..., Any]


def engine_of(*functions: Callable[..., Any], **options: Any) -> Engine:
    return Engine(build(functions), cache=MemoryCache(), **options)


class Club:
    """Members of organisations, and functions with guards that ask for membership. `asked`: the questions."""

    def __init__(self) -> None:
        self.members: set[tuple[str | None, int]] = {("ada", 1)}
        self.asked: list[object] = []

    def member(self, me: Identity, org_id: int) -> bool:
        self.asked.append(org_id)
        return (me.user_id, org_id) in self.members


class Asked(NamedTuple):
    identity: Identity
    rest: dict[str, object]


def asked_with(guard: Callable[[list[Asked]], Guard], **args: object) -> Asked:
    """The arguments of a guard at a call of `tickets(org_id=..., status=...)`."""
    asked: list[Asked] = []

    @client(auth=guard(asked))
    async def tickets(org_id: int, status: str = "open", limit: Annotated[int, Field(alias="max")] = 5) -> int:
        return org_id

    asyncio.run(engine_of(tickets).call("tickets", args, identity=ADA))
    (one,) = asked
    return one


class Checker:
    def __init__(self, asked: list[Asked]) -> None:
        self.asked = asked

    def __call__(self, me: Identity, org_id: int) -> bool:
        return self.by_method(me, org_id)

    def by_method(self, me: Identity, org_id: int) -> bool:
        self.asked.append(Asked(me, {"org_id": org_id}))
        return True


def by_name(asked: list[Asked]) -> Guard:
    def guard(org_id: int, who: Identity) -> bool:
        asked.append(Asked(who, {"org_id": org_id}))
        return True

    return guard


def first_parameter(asked: list[Asked]) -> Guard:
    return lambda who, org_id: asked.append(Asked(who, {"org_id": org_id})) or True


def awaited(asked: list[Asked]) -> Guard:
    async def guard(me: Identity, *, org_id: int) -> bool:
        await asyncio.sleep(0)
        return Checker(asked).by_method(me, org_id)

    return guard


def by_partial(asked: list[Asked]) -> Guard:
    def guard(kind: str, me: Identity, org_id: int) -> bool:
        return Checker(asked).by_method(me, org_id)

    return functools.partial(guard, "member")


def in_text(asked: list[Asked]) -> Guard:
    def guard(me: "Unknown | Identity", org_id: "int") -> bool:  # type: ignore[name-defined]  # noqa: F821  # for checkers alone
        return Checker(asked).by_method(me, org_id)

    return guard


GUARDS = [Checker, lambda asked: Checker(asked).by_method, by_name, first_parameter, awaited, by_partial, in_text]


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_of_any_kind_is_given_validated_arguments(guard: Callable[[list[Asked]], Guard]) -> None:
    assert asked_with(guard, org_id="7") == Asked(ADA, {"org_id": 7})


def test_a_guard_gets_defaults_and_keeps_its_own() -> None:
    def guarding(asked: list[Asked]) -> Guard:
        def guard(me: Identity, status: str = "closed", limit: int = 0, strict: bool = True, **more: object) -> bool:
            asked.append(Asked(me, {"status": status, "limit": limit, "strict": strict, **more}))
            return True

        return guard

    assert asked_with(guarding, org_id=1).rest == {"status": "open", "limit": 5, "strict": True}
    assert asked_with(guarding, org_id=1, status="new", max=9).rest == {"status": "new", "limit": 9, "strict": True}


@pytest.mark.parametrize(
    ("guard", "told"),
    [
        (lambda me, team: True, "'team', which the function does not; give it a default"),
        (lambda me, org_ids: True, "'org_ids', which the function does not; did you mean 'org_id'"),
    ],
)
def test_an_unknown_guard_argument_is_refused_at_declaration(guard: Guard, told: str) -> None:
    with pytest.raises(DeclarationError, match=f"tickets: auth= takes {told}"):

        @client(auth=guard)
        async def tickets(org_id: int) -> int:
            return org_id


def test_an_argument_by_position_alone_is_refused_at_declaration() -> None:
    def guard(me: Identity, org_id: int, /) -> bool:
        return True

    with pytest.raises(DeclarationError, match="'org_id' by position"):

        @client(auth=guard)
        async def tickets(org_id: int) -> int:
            return org_id


@pytest.mark.parametrize(
    ("guard", "allowed"),
    [
        (lambda: True, True),
        (lambda *who: who == (ADA,), True),
        (lambda **named: named == {}, True),
        (lambda user: user is ADA, True),
        (bool, True),
        (max, False),  # cannot be told how to call it, so it is given the identity, of which there is no maximum
    ],
)
def test_a_guard_without_arguments_is_asked_as_ever(guard: Guard, allowed: bool) -> None:
    @client(auth=guard)
    async def greet(user: str = "") -> str:
        return user

    async def story() -> None:
        engine = engine_of(greet)
        if allowed:
            assert (await engine.call("greet", {}, identity=ADA)).result == ""
        else:
            with pytest.raises(TypeError):
                await engine.call("greet", {}, identity=ADA)

    asyncio.run(story())


def test_a_guard_may_be_about_arguments_alone() -> None:
    def is_open(org_id: int) -> bool:
        return org_id == 1

    @client(auth=is_open)
    async def tickets(org_id: int) -> int:
        return org_id

    async def story() -> None:
        engine = engine_of(tickets)
        assert (await engine.call("tickets", {"org_id": 1})).result == 1
        with pytest.raises(Unauthorized):
            await engine.call("tickets", {"org_id": 2})
        with pytest.raises(Forbidden):
            await engine.call("tickets", {"org_id": 2}, identity=ADA)

    asyncio.run(story())


def test_a_guard_may_name_the_request_and_the_functions_identity() -> None:
    seen: list[object] = []

    def guard(request: object, me: Identity) -> bool:
        seen.extend([request, me])
        return True

    @client(auth=guard)
    async def greet(request: object, me: Identity) -> str:
        return str(me.user_id)

    asyncio.run(engine_of(greet).call("greet", {}, identity=ADA, request="the request"))
    assert seen == ["the request", ADA]


def test_a_guard_that_changes_a_list_changes_its_own() -> None:
    def guard(me: Identity, org_ids: list[int]) -> bool:
        return all(org_ids.pop() for _ in list(org_ids))

    @client(auth=guard)
    async def tickets(org_ids: list[int]) -> list[int]:
        return org_ids

    answer = asyncio.run(engine_of(tickets).call("tickets", {"org_ids": [1, 2]}, identity=ADA))
    assert answer.result == [1, 2]


class TestGuardOnEveryRequest:
    def test_a_removed_member_is_refused_a_bundle_that_is_a_hit(self) -> None:
        club = Club()

        @client(context="tickets", auth=club.member, per="all")
        async def tickets(org_id: int) -> int:
            return org_id

        @client(context="tickets", per="all")
        async def count(page: int = 1) -> int:
            return page

        async def story() -> None:
            engine = engine_of(tickets, count)
            statuses = [(await engine.fetch("tickets", {"org_id": 1}, identity=ADA)).status for _ in range(2)]
            assert statuses == ["miss", "hit"]
            with pytest.raises(Forbidden):
                await engine.fetch("tickets", {"org_id": 1}, identity=BO)
            club.members.clear()
            with pytest.raises(Forbidden):
                await engine.fetch("tickets", {"org_id": 1}, identity=ADA)
            with pytest.raises(Unauthorized):
                await engine.fetch("tickets", {"org_id": 1})
            with pytest.raises(InvalidInput):
                await engine.fetch("tickets", {"org_id": "x"})
            assert club.asked == [1] * 5

        asyncio.run(story())

    def test_guards_refuse_pages_mutations_and_single_readers(self) -> None:
        club = Club()

        @client(context="tickets", auth=club.member, route="/tickets/{org_id}/")
        async def tickets(org_id: int) -> int:
            return org_id

        @client(affects="tickets", auth=club.member)
        async def close(org_id: int) -> None:
            invalidate("tickets")

        @client(auth=club.member)
        def export(org_id: int) -> int:
            return org_id

        async def story() -> None:
            engine = engine_of(tickets, close, export)
            assert (await engine.page("tickets", {"org_id": 1}, identity=ADA)).result == b"1"
            assert (await engine.call("close", {"org_id": 1}, identity=ADA)).invalidations
            for name in ("tickets", "close", "export"):
                await engine.call(name, {"org_id": 1}, identity=ADA)
                with pytest.raises(Forbidden):
                    await engine.call(name, {"org_id": 2}, identity=ADA)
                assert (await engine.run(name, {"org_id": 2})).body
            with pytest.raises(Forbidden):
                await engine.page("tickets", {"org_id": 2}, identity=ADA)

        asyncio.run(story())
