"""What a call answers: its result through the return annotation, and functions that are private."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from mizan_core import (
    Engine,
    Forbidden,
    Identity,
    Invalidation,
    NotFound,
    client,
)
from mizan_core.engine.answers import Failure, ended_of
from tests.engine.engines import engine_of
from tests.virtual_time import run
from tests.world import Profile, World


class TestCalls:
    def test_an_invalid_result_names_its_function(self) -> None:
        class Late(BaseModel, defer_build=True):
            page: int

        @client(context="page")
        async def page() -> int:
            return "x"  # type: ignore[return-value]

        @client
        async def late() -> Late:
            return 5  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(page, late)
            with pytest.raises(ValueError, match="1 validation error for the result of page"):
                await engine.fetch("page", {})
            with pytest.raises(ValueError, match="1 validation error for the result of late"):
                await engine.call("late", {})

        run(story)

    def test_results_come_through_the_return_annotation(self) -> None:
        class Row:
            user_id, name, password = 1, "Ada", "secret"

        @client(context="user")
        async def profile() -> Profile:
            return Row()  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(profile)
            assert (await engine.fetch("user", {})).body == b'{"profile":{"name":"Ada","user_id":1}}'
            assert (await engine.call("profile", {})).body == b'{"result":{"name":"Ada","user_id":1}}'

        run(story)

    def test_a_decorated_mutation_may_return_a_task(self) -> None:
        def in_a_task(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def begin(*args: Any, **options: Any) -> asyncio.Task[Any]:
                return asyncio.ensure_future(function(*args, **options))

            return begin

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        @in_a_task
        async def write() -> int:
            return 1

        @client(affects="page")
        @in_a_task
        async def write_as(me: Identity) -> int:
            return 2

        async def story() -> None:
            engine = engine_of(page, write, write_as)
            assert [(await engine.call(name, {})).result for name in ("write", "write_as")] == [1, 2]

        run(story)

    def test_stop_iteration_in_a_thread_is_an_ordinary_failure(self) -> None:
        @client(context="page")
        def page() -> int:
            return next(iter(()))

        @client(affects="page")
        def write() -> int:
            return next(iter(()))

        async def story() -> None:
            engine = engine_of(page, write)
            async with asyncio.timeout(5):
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await engine.fetch("page", {})
                ended = await ended_of(engine.begin("write", {}))
            assert isinstance(ended, Failure)
            assert ended.invalidations == (Invalidation("page"),)
            await engine.aclose()
            assert engine.health().running == 0

        run(story)

    def test_private_functions_are_for_the_server(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph)
            with pytest.raises(Forbidden):
                await engine.call("import_orders", {"customer_ids": []})
            with pytest.raises(NotFound):
                await engine.call("import", {})
            with pytest.raises(NotFound):
                await engine.fetch("nothing", {})

        run(story)
