"""What an engine does without a task: bundles that wait for nothing, and changes that are withdrawn."""

import asyncio

import pytest

from mizan_core import ANONYMOUS, Context, Invalidation, client, no_store
from mizan_core.engine.answers import Bundle
from tests.engine.engines import Elsewhere, engine_of

User = Context("user")
failing: list[Exception] = []  # what `declining` raises


@client(context=User, cache=False)
async def waiting(user_id: int) -> int:
    await asyncio.sleep(0)
    return user_id


@client(context="declining")
async def declining(user_id: int) -> int:
    no_store("it is a test")
    for error in failing:
        raise error
    return user_id


@pytest.mark.asyncio
async def test_a_bundle_that_is_never_kept_may_wait() -> None:
    engine = engine_of(waiting)
    query = engine.query(engine.graph.contexts["user"], {"user_id": 5}, ANONYMOUS)
    begun = engine.begin_answer(query, ANONYMOUS)
    assert not isinstance(begun, Bundle)
    assert (await begun).body == b'{"waiting":5}'
    await engine.aclose()


@pytest.mark.asyncio
async def test_a_declined_answer_waits_for_nothing_in_a_shared_cache() -> None:
    engine = engine_of(declining, cache=Elsewhere())
    query = engine.query(engine.graph.contexts["declining"], {"user_id": 5}, ANONYMOUS)
    for _ in range(3):
        begun = engine.begin_answer(query, ANONYMOUS)
        bundle = begun if isinstance(begun, Bundle) else await begun
        assert (bundle.status, bundle.body) == ("bypass", b'{"declining":5}')
    failing.append(ValueError())
    with pytest.raises(ValueError, match=r"^$"):
        await engine.fetch("declining", {"user_id": 5})
    failing.clear()
    await engine.aclose()


@pytest.mark.asyncio
async def test_a_withdrawn_change_is_not_told_by_the_outer_call() -> None:
    @client(context=User)
    async def profile(user_id: int) -> int:
        return user_id

    @client(affects=User)
    async def rename(user_id: int) -> None:
        inner = engine.changing(User.of(user_id=user_id + 1))
        await inner.__aenter__()
        await inner.withdraw()

    engine = engine_of(profile, rename)
    assert (await engine.call("rename", {"user_id": 5})).invalidations == (Invalidation("user", {"user_id": 5}),)
    await engine.aclose()
