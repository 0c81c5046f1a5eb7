"""Audits: recorded calls, played again with the arguments of other bundles mixed in."""

import asyncio
import io
import logging
from decimal import Decimal
from typing import Annotated, Any

import pytest

from mizan_core import (
    Arg,
    Claim,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Identity,
    Me,
    MemoryCache,
    build,
    client,
)
from mizan_core.proof import Recorded, Recorder, audit, read_recording

Comments = Context("comments")


class Blog:
    """Comments below articles, which a caller deletes by number."""

    def __init__(self) -> None:
        self.comments = {1: ("first", "yes"), 2: ("second", "no")}

        @client(context=Comments)
        async def comment_list(article: str) -> list[str]:
            if article == "broken":
                raise LookupError
            return [text for where, text in self.comments.values() if where == article]

        @client(context="mine")
        async def mine(me: Identity) -> str:
            return me.user_id or ""

        @client(affects=Comments)
        async def delete_comment(article: str, number: int) -> None:
            if self.comments.pop(number, None) is None:
                raise Conflict

        @client(affects=Comments, auth=lambda me: me.superuser)
        async def clear(article: str, price: Decimal = Decimal(1)) -> None:
            raise ZeroDivisionError("no")

        @client
        async def look() -> None:
            await self.engine().fetch("comments", {"article": "first"})

        self.functions = [comment_list, mine, delete_comment, clear, look]

    def engine(self, **options: Any) -> Engine:
        return Engine(build(self.functions), cache=MemoryCache(), **options)


def recorded(*lines: Recorded) -> str:
    return "".join(one.line() for one in lines)


FIRST, SECOND = (Recorded("fetch", "comments", {"article": name}) for name in ("first", "second"))
DELETED = Recorded("call", "delete_comment", {"article": "first", "number": 1})


@pytest.mark.asyncio
async def test_calls_and_fetches_are_recorded_with_their_callers() -> None:
    file = io.StringIO()
    blog = Blog()
    engine = blog.engine(observers=[Recorder(file)])
    ada = Identity(5, staff=True, superuser=True, permissions={"b", "a"})
    await engine.fetch("comments", {"article": "first"})
    await engine.fetch("mine", {}, identity=ada)
    await engine.call("delete_comment", {"article": "first", "number": 1})
    with pytest.raises(ZeroDivisionError):
        await engine.call("clear", {"article": "first", "price": "1.50"}, identity=ada)
    assert file.getvalue() == (
        '{"fetch":"comments","params":{"article":"first"}}\n'
        '{"fetch":"mine","params":{},"as":{"user_id":"5","staff":true,"superuser":true,"permissions":["a","b"]}}\n'
        '{"call":"delete_comment","args":{"article":"first","number":1}}\n'
        '{"call":"clear","args":{"article":"first","price":"1.5"},'
        '"as":{"user_id":"5","staff":true,"superuser":true,"permissions":["a","b"]}}\n'
    )
    lines = list(read_recording(io.StringIO(file.getvalue() + "\n")))
    assert [one.line() for one in lines] == file.getvalue().splitlines(keepends=True)
    assert lines[1].identity == ada


@pytest.mark.asyncio
async def test_a_fetch_by_a_function_is_not_recorded() -> None:
    file = io.StringIO()

    @client(affects="comments")
    async def look() -> None:
        await engine.fetch("comments", {"article": "first"})

    engine = Engine(build([*Blog().functions[:1], look]), observers=[Recorder(file)])
    await engine.call("look", {})
    assert file.getvalue() == '{"call":"look","args":{}}\n'


def test_an_argument_without_a_json_form_leaves_its_call_out(caplog: pytest.LogCaptureFixture) -> None:
    from mizan_core.engine.observers import Calling

    recorder = Recorder(file := io.StringIO())
    for _ in range(2):
        recorder.calling(Calling("upload", {"file": object()}, Identity(None)))
    assert file.getvalue() == ""
    assert [(one.levelno, one.message) for one in caplog.records] == [
        (logging.WARNING, "upload is not recorded: an argument has no JSON form.")
    ]


@pytest.mark.parametrize("line", ["no", "[]", "5", '{"call": "x"}', '{"fetch": "x", "params": 5}', '{"args": {}}'])
def test_a_line_that_is_none_is_told_with_its_number(line: str) -> None:
    with pytest.raises(DeclarationError, match="Line 2 of the recording is neither a call nor a fetch"):
        list(read_recording(io.StringIO(f"{FIRST.line()}{line}\n")))


def test_a_true_recording_proves_nothing() -> None:
    found = asyncio.run(audit(Blog().engine(), [FIRST, SECOND, DELETED]))
    assert found.proved == []
    assert (found.calls, found.refused) == (2, 1)  # the row is gone when the variant is played


def test_a_call_is_played_with_arguments_of_other_bundles() -> None:
    class Shared(Blog):
        """Deleting says under which article, and deletes one comment of any."""

        def __init__(self) -> None:
            super().__init__()

            @client(affects=Comments)
            async def delete_comment(article: str, number: int) -> None:
                self.comments[number] = (self.comments[number][0], self.comments[number][1] + "!")

            self.functions[2] = delete_comment

    engine = Shared().engine()
    found = asyncio.run(audit(engine, [FIRST, SECOND, DELETED]))
    (proof,) = found.proved
    assert (proof.mutation, proof.params) == ("delete_comment", {"article": "first"})
    assert found.calls == 2
    assert "answer" not in vars(engine)


def test_errors_of_the_application_do_not_end_the_audit() -> None:
    broken = Recorded("fetch", "comments", {"article": "broken"})
    clear = Recorded("call", "clear", {"article": "first"}, Identity(5, superuser=True))
    unknown = Recorded("call", "nothing", {"article": "first"})
    partial = Recorded("call", "delete_comment", {"number": 1})
    found = asyncio.run(audit(Blog().engine(), [broken, clear, unknown, partial, FIRST]))
    assert found.failed == {"comments": "LookupError: ", "clear": "ZeroDivisionError: no"}
    assert found.refused > 0


class Shop:
    """Carts of users and tickets of organisations."""

    def __init__(self) -> None:
        self.carts: dict[int, list[str]] = {5: ["pen"], 6: []}
        self.tickets: dict[int, int] = {1: 0, 2: 0}

        @client(context="cart")
        async def cart_lines(user_id: Annotated[int, Me]) -> list[str]:
            return self.carts[user_id]

        @client(context="tickets")
        async def ticket_count(org_id: Annotated[int, Claim("org")], seen: int) -> int:
            return self.tickets[org_id]

        @client(affects="tickets")
        async def open_ticket(title: str, org_id: Annotated[int, Claim("org")]) -> None:
            self.tickets[org_id] += 1

        @client(affects=Context("cart").where(user_id=Arg("to")))
        async def give(to: int, sku: str) -> None:
            self.carts[6] = [*self.carts[6], sku]  # whoever is meant

        self.functions = [cart_lines, ticket_count, open_ticket, give]

    def engine(self, **options: Any) -> Engine:
        return Engine(build(self.functions), cache=MemoryCache(), **options)


ADA, BO = Identity(5, claims={"org": 1}), Identity(None, claims={"org": 2})


@pytest.mark.asyncio
async def test_what_an_identity_fills_in_is_recorded_as_its_own() -> None:
    file = io.StringIO()
    engine = Shop().engine(observers=[Recorder(file)])
    await engine.fetch("cart", {}, identity=ADA)
    await engine.fetch("tickets", {"seen": 0}, identity=BO)
    await engine.call("open_ticket", {"title": "broken"}, identity=BO)
    assert file.getvalue() == (
        '{"fetch":"cart","params":{},"as":{"user_id":"5","claims":{"org":1}}}\n'
        '{"fetch":"tickets","params":{"seen":0},"as":{"claims":{"org":2}}}\n'
        '{"call":"open_ticket","args":{"title":"broken"},"as":{"claims":{"org":2}}}\n'
    )
    lines = list(read_recording(io.StringIO(file.getvalue())))
    assert [one.identity for one in lines] == [ADA, BO, BO]
    found = await audit(Shop().engine(), lines)
    assert (found.calls, found.fetches, found.refused, found.proved) == (1, 4, 0, [])


def test_a_call_is_played_with_what_other_identities_fill_in() -> None:
    fetched = [
        Recorded("fetch", "cart", {}, Identity(6)),
        Recorded("fetch", "cart", {}, ADA),
        Recorded("fetch", "cart", {}, BO),  # it has no user id, so it is refused
    ]
    found = asyncio.run(audit(Shop().engine(), [*fetched, Recorded("call", "give", {"to": 6, "sku": "ink"})]))
    (proof,) = found.proved
    assert (proof.mutation, proof.context, proof.params) == ("give", "cart", {"user_id": 6})
    assert found.calls == 2
