"""After every write, every answer is the one of an application without a cache over the same database."""

import pytest

from .town import WRITES, Town


@pytest.mark.asyncio
@pytest.mark.parametrize("write", WRITES)
async def test_no_answer_is_stale_after_a_write(town: Town, write: str) -> None:
    await WRITES[write](town)
    await town.check()


@pytest.mark.asyncio
async def test_answers_are_kept(town: Town) -> None:
    found = [ask for ask in town.asks() if (await town.ask(town.plain.web, *ask))[0] == 200]
    assert await town.check() == found
