"""Every write of Conduit once, under proof: no bundle is stale that a write did not invalidate."""

import pytest
from sqlalchemy import text

from mizan_core.proof import Verify

from .town import WRITES, Town


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_nothing_of_conduit_is_proved_stale(town: Town) -> None:
    verify = Verify(sample=1.0)
    verify.attach(town.conduit.mizan.engine)
    await town.keep("ada")
    for name, write in WRITES.items():
        if name not in {"rename", "withdraw"}:  # later writes need the article where it was
            await write(town)
        await town.keep("ada")
    await WRITES["rename"](town)
    await town.keep("ada")
    assert verify.proved == []
    assert verify.unstable == {}
    assert verify.checked > 150


@pytest.mark.asyncio
async def test_a_write_past_conduit_is_proved(town: Town) -> None:
    verify = Verify(sample=1.0)
    verify.attach(town.conduit.mizan.engine)
    await town.keep("ada")
    async with town.conduit.app.state.sessions.begin() as session:
        await session.execute(text("UPDATE articles SET description = 'By hand'"))
    await town.send("POST", "/articles/one/comments", comment={"body": "Second"})
    assert {(one.mutation, one.context) for one in verify.proved} >= {(None, "article"), (None, "articles")}
