"""The engine's settings: which are refused, when a secret is needed, and how long closing waits."""

import asyncio
import logging
from typing import Any

import pytest

from mizan_core import (
    DeclarationError,
    Engine,
    MemoryCache,
    client,
)
from tests.engine.engines import engine_of
from tests.virtual_time import run
from tests.world import World


class TestSettings:
    @pytest.mark.parametrize(
        "options",
        [
            {"cache_secret": "short"},
            {"cache_secret": 5},
            {"on_cache_failure": "shrug"},
            {"threads": 0},
            {"deadline": 0},
            {"hold": -1.0},
            {"max_age": float("nan")},
            {"max_age": float("inf")},
        ],
    )
    def test_impossible_settings_are_refused(self, world: World, options: dict[str, Any]) -> None:
        with pytest.raises(DeclarationError):
            Engine(world.graph, **options)

    @pytest.mark.parametrize("functions", [[], "blog"])
    def test_an_engine_of_no_graph_is_refused(self, functions: Any) -> None:
        with pytest.raises(DeclarationError, match=rf"build\(\[...\]\) .* this is a {type(functions).__name__}\."):
            Engine(functions)

    def test_a_shared_cache_needs_a_shared_secret(self, world: World) -> None:
        class Shared(MemoryCache):
            shared = True

        with pytest.raises(DeclarationError, match="cache_secret"):
            Engine(world.graph, cache=Shared())
        assert Engine(world.graph, cache=Shared(), cache_secret="s" * 32).cache_is_shared

    def test_a_cache_of_unknown_reach_without_a_secret_warns(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Mine:
            get = set = delete = delete_by_prefix = clear = MemoryCache.clear

        with caplog.at_level(logging.WARNING):
            Engine(world.graph, cache=Mine())  # type: ignore[arg-type]
        assert "No cache_secret was given" in caplog.text

    def test_closing_waits_for_mutations_within_shutdown_and_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        go_on = asyncio.Event()

        @client(affects="page")
        async def write() -> None:
            await go_on.wait()

        @client(context="page")
        async def page() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(page, write, shutdown=0.01)
            writing = asyncio.create_task(engine.call("write", {}))
            await asyncio.sleep(0)
            await engine.aclose()
            assert "1 mutations were still running" in caplog.text
            go_on.set()
            await writing
            await engine.aclose()
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)
