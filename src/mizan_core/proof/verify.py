"""Proof of staleness, on any database: bundles are computed again after a mutation that did not make them stale.

With `sample=1.0`, as in tests, every bundle that was answered is remembered, within bounds, along with its caller.
Before a mutation runs, and after it is purged, the remembered bundles are computed again and compared byte by byte:

- A difference before it runs was made outside of any mutation.
- A difference after it, in a bundle that it did not invalidate, proves that its declaration misses that bundle.
- A bundle that differs from itself when it is computed twice is unstable (no `ORDER BY`, the time of day). That is told
  once for each context, and proves nothing.

Bundles that were answered, or mutations that ran, beside a running mutation prove nothing about one of them, so they
are compared when the last of these mutations has ended, and the proof names all of them. Contexts that are kept for a
number of seconds are left out: their answers may be old by declaration. Where processes share a cache, a bundle that
is not served any more may have been purged by another of them, and proves nothing.

With a smaller `sample`, as in production, that share of hits is computed again in the background instead. The hits
themselves are not slowed: only the first two hits after a pause are looked at, and the pauses are as long as it takes
for `1 / sample` hits to arrive.
"""

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from ..cache.bundle_cache import DECLINED
from ..engine.engine import Engine
from ..engine.observers import Called, Calling, Checked, Fetched, Observer, Purged, StaleProof
from ..errors import CacheUnavailable, DeclarationError
from ..protocol.cache_policy import Seconds
from ..protocol.identity import ANONYMOUS, claims_key, permission_key
from ..protocol.invalidation import Invalidation
from ..protocol.values import jsonable
from .advice import Origin, advise, narrowing_origins
from .differing import difference

logger = logging.getLogger("mizan")

# Bundles of a large test; the oldest are forgotten first.
MAXIMUM_BUNDLES = 512
MAXIMUM_BYTES = 16 * 1024 * 1024
# In production: so many bundles are computed again in a second, at most.
MAXIMUM_PER_SECOND = 10.0
# What is remembered of proofs and widths is bounded as well.
MAXIMUM_PROOFS = 1000


OnStale: TypeAlias = Callable[[StaleProof], Awaitable[object] | object]


@dataclass(slots=True)
class Width:
    """How wide a mutation purges a context: of `purged` bundles that were remembered, `changed` had changed.

    `narrow_by`: parameters that told the changed bundles from the others in every call, each with the argument that has
    its value, or with `Me` or a `Claim` where the caller's identity has it. Empty where nothing does.
    """

    mutation: str
    context: str
    calls: int = 0
    purged: int = 0
    changed: int = 0
    narrow_by: dict[str, Origin] = field(default_factory=dict)

    @property
    def unchanged(self) -> int:
        return self.purged - self.changed


class Verify:
    """`Engine(graph, verify=Verify())`. Proofs are logged, kept in `proved`, and passed to `on_stale`.

    Observers of the engine are told as well (`Observer.checked`, `Observer.stale`). `on_stale` may be async; an error
    of it is logged. `checked` and `stale` count the bundles that were computed again, and those of
    them that were stale; `proved` keeps the first thousand proofs.

    `sample`: 1.0 compares every remembered bundle around every mutation (for tests); a smaller number is the share of
    hits that is computed again in the background (for production). Raises `DeclarationError` for any other number.
    """

    def __init__(
        self,
        sample: float = 1.0,
        on_stale: OnStale | None = None,
        *,
        max_per_second: float = MAXIMUM_PER_SECOND,
    ) -> None:
        if not 0 < sample <= 1:
            raise DeclarationError(f"Verify(sample={sample!r}): a share is above 0 and at most 1.")
        self.sample = sample
        self.proved: list[StaleProof] = []
        self.unstable: dict[str, str] = {}  # context to the path where it differs from itself
        self.checked = 0
        self.stale = 0
        self._on_stale = on_stale
        self._max_per_second = max_per_second
        self._widths: dict[tuple[str, str], Width] = {}
        self._attached: list[tuple[Engine, _Comparing | _Sampling]] = []

    def attach(self, engine: Engine) -> None:
        """Verify this engine from now on. One `Verify` may be attached to several."""
        observer = _Comparing(engine, self) if self.sample == 1 else _Sampling(engine, self, self._max_per_second)
        self._attached.append((engine, observer))
        engine.observe(observer)

    def detach(self) -> None:
        """Verify no engine any more; what was proved is kept."""
        for engine, observer in self._attached:
            observer.close()
            engine.unobserve(observer)
        self._attached.clear()

    async def check(self) -> None:
        """Compare all remembered bundles now: a difference was made outside of any mutation.

        While a function runs, which may have written it, this is left to the comparison at its end.
        """
        for one in self._comparing():
            await one.compare()

    def forget(self) -> None:
        """Forget the remembered bundles, as after rows were written on purpose beside the application."""
        for one in self._comparing():
            one.forget()

    def _comparing(self) -> "list[_Comparing]":
        return [observer for _, observer in self._attached if isinstance(observer, _Comparing)]

    @property
    def staleness(self) -> float:
        """The share of bundles computed again that were stale."""
        return self.stale / self.checked if self.checked else 0.0

    @property
    def widths(self) -> list[Width]:
        """Every mutation and context, the one that purged the most unchanged bundles first."""
        return sorted(self._widths.values(), key=lambda one: (-one.unchanged, one.mutation, one.context))

    def _note_proof(self, proof: StaleProof) -> None:
        logger.error("%s", proof)
        self.stale += 1
        if len(self.proved) < MAXIMUM_PROOFS:
            self.proved.append(proof)

    async def _tell(self, proof: StaleProof) -> None:
        if self._on_stale is not None:
            try:
                told = self._on_stale(proof)
                if inspect.isawaitable(told):
                    await told
            except Exception:  # the developer's code; the bundle has yet to be healed
                logger.exception("on_stale failed for a proof of %s.", proof.context)

    def _note_unstable(self, context: str, once: bytes | None, again: bytes | None) -> None:
        if context not in self.unstable:
            self.unstable[context] = path = _difference(once, again)
            logger.warning(
                "%s answers differently when it is computed twice, at %s: sort what has no order, pass the time in. "
                "It is not verified.",
                context,
                path,
            )

    def _note_width(
        self,
        mutation: str,
        context: str,
        changed: Sequence[Mapping[str, str]],
        unchanged: Sequence[Mapping[str, str]],
        origins: Mapping[str, Origin],
    ) -> None:
        width = self._widths.setdefault((mutation, context), Width(mutation, context))
        width.purged += len(changed) + len(unchanged)
        width.changed += len(changed)
        if changed and unchanged:
            width.narrow_by = dict(origins if not width.calls else origins.items() & width.narrow_by.items())
            width.calls += 1


class _Verifier(Observer):
    """Computes bundles of one engine again, and proves that some were stale."""

    def __init__(self, engine: Engine, verify: Verify) -> None:
        self._engine = engine
        self._verify = verify

    async def _again(self, event: Fetched) -> bytes | None:
        """The bundle as it is now; None where it cannot be computed any more."""
        try:
            again = await self._engine.compute_again(event.asked, identity=event.identity, request=event.request)
        except Exception:  # a reader's error, such as that its row is gone; its own requests tell it
            logger.debug("%s could not be computed again.", event.context, exc_info=True)
            return None
        return event.body if again is None else again  # an answer that its reader wants kept nowhere proves nothing

    async def _found_stale(self, event: Fetched, after: bytes | None, ended: Sequence[Called] = ()) -> None:
        """Tell that the bundle was stale after the last of these calls, and purge it: no later call is to blame."""
        plan = event.asked.plan
        last = ended[-1] if ended else None
        function = None if last is None else self._engine.graph.functions.get(last.function)
        arguments, caller = ({}, ANONYMOUS) if last is None else (last.began.arguments, last.began.identity)
        proof = StaleProof(
            mutation=None if last is None else last.function,
            context=plan.name,
            params={name: jsonable(value) for name, value in event.asked.spelling.sent.items()},
            path=_difference(event.body, after),
            remedy=advise(plan, event.params, function, arguments, caller),
            before=event.body,
            after=after,
            beside=tuple(called.function for called in ended[:-1]),
        )
        self._verify._note_proof(proof)  # noqa: SLF001  # one subject in one file
        self._engine.tell(proof)
        with suppress(CacheUnavailable):  # the purge is owed, and retried
            await self._engine.heal(event.asked, proof)
        await self._verify._tell(proof)  # noqa: SLF001  # as above

    def _note_checked(self, event: Fetched) -> None:
        self._verify.checked += 1
        self._engine.tell(Checked(event.context))


class _Comparing(_Verifier):
    """Compares the remembered bundles of one engine around its mutations."""

    def __init__(self, engine: Engine, verify: Verify) -> None:
        super().__init__(engine, verify)
        self._bundles: dict[Hashable, Fetched] = {}  # the oldest first
        self._bytes = 0
        self._running: dict[int, Calling] = {}  # by their ids, for they have no hashes
        self._ended: list[Called] = []  # since the last comparison
        self._purged: list[Invalidation] = []  # since then, by anything but the end of a call
        self._quiet_since = 0.0  # no mutation has run since
        self._comparison = asyncio.Lock()

    def fetched(self, event: Fetched) -> None:
        plan = event.asked.plan
        began = asyncio.get_running_loop().time() - event.seconds
        if event.inside or self._running or began < self._quiet_since or event.detail.endswith(DECLINED):
            return
        if isinstance(plan.policy.lifetime, Seconds) or plan.name in self._verify.unstable:
            return
        identity = event.identity
        caller = identity.user_id, permission_key(identity), claims_key(identity)
        key = plan.label, frozenset(event.params.items()), *caller
        self._forget(key)
        self._bundles[key] = event
        self._bytes += event.bytes
        while len(self._bundles) > MAXIMUM_BUNDLES or self._bytes > MAXIMUM_BYTES:
            self._forget(next(iter(self._bundles)))

    def forget(self) -> None:
        self._bundles.clear()
        self._bytes = 0

    close = forget

    async def before_running(self, event: Calling) -> None:
        is_alone = not self._running
        self._running[id(event)] = event
        async with self._comparison:  # a comparison that began before ends before any function writes
            if is_alone:
                await self._compare()

    async def before_answer(self, event: Called) -> None:
        self._running.pop(id(event.began), None)  # it may have begun before this observer came
        self._ended.append(event)
        await self.compare()

    def purged(self, event: Purged) -> None:
        if event.proof is None:
            self._purged += event.invalidations
        for key, one in list(self._bundles.items()):
            if one.is_touched(event.invalidations):
                self._forget(key)

    async def compare(self) -> None:
        """Compare now, or when the last function that is running has ended."""
        async with self._comparison:
            if self._running:
                return
            await self._compare()
            self._quiet_since = asyncio.get_running_loop().time()

    async def _compare(self) -> None:
        """Compute every remembered bundle again, and tell what nothing has invalidated."""
        ended, self._ended = self._ended, []
        self._purged.clear()
        changed: dict[str, list[Mapping[str, str]]] = defaultdict(list)  # by context: parameters of bundles
        unchanged: dict[str, list[Mapping[str, str]]] = defaultdict(list)
        for key, one in list(self._bundles.items()):
            again = await self._again(one)
            self._note_checked(one)
            if again != one.body and not await self._is_stable(one, again):
                self._forget(key)
            elif any(one.is_touched(called.invalidations) for called in ended):
                (unchanged if again == one.body else changed)[one.context].append(one.params)
                self._forget(key)
            elif again != one.body:
                self._forget(key)
                if not one.is_touched(self._purged) and not await self._may_have_been_purged_elsewhere(one, ended):
                    await self._found_stale(one, again, ended)
        if len(ended) == 1:
            for name in {*changed, *unchanged}:
                told = changed[name], unchanged[name]
                plan, began = self._engine.graph.contexts[name], ended[0].began
                origins = narrowing_origins(plan, *told, began.arguments, began.identity)
                self._verify._note_width(began.function, name, *told, origins)  # noqa: SLF001

    async def _may_have_been_purged_elsewhere(self, one: Fetched, ended: Sequence[Called]) -> bool:
        """Whether another process that shares the cache may have written and purged the bundle, as it should.

        A bundle that is still served was not purged. Of one that is kept nowhere only this process's calls tell.
        """
        if not self._engine.cache_is_shared:
            return False
        return not ended if one.asked.slot is None else not await self._engine.is_stored(one.asked, one.body)

    async def _is_stable(self, one: Fetched, again: bytes | None) -> bool:
        """Whether it is the same once more."""
        once_more = await self._again(one)
        if once_more != again:
            self._verify._note_unstable(one.context, again, once_more)  # noqa: SLF001  # one subject in one file
        return once_more == again

    def _forget(self, key: Hashable) -> None:
        known = self._bundles.pop(key, None)
        if known is not None:
            self._bytes -= known.bytes


class _Sampling(_Verifier):
    """Computes a share of the hits of one engine again, in the background."""

    def __init__(self, engine: Engine, verify: Verify, max_per_second: float) -> None:
        super().__init__(engine, verify)
        self._shortest = 1 / max_per_second
        self._has_looked = False  # at any hit
        self._checked_at: float | None = None  # the hit that was checked, while the next is awaited
        self._between: float | None = None  # seconds between two hits, about
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def fetched(self, event: Fetched) -> None:
        if event.status != "hit" or event.inside:
            return
        loop = asyncio.get_running_loop()
        if self._checked_at is None:
            self._begin_to_check(event, loop)
            if self._has_looked:
                self._checked_at = loop.time()  # the next hit tells how often they come
                return
            self._has_looked = True
        else:
            passed = loop.time() - self._checked_at
            self._between = passed if self._between is None else 0.9 * self._between + 0.1 * passed
            self._checked_at = None
        self._engine.unobserve(self)
        # Of the hits from one check to the next, two are no part of the pause: the one after the check, and the next.
        pause = 0.0 if self._between is None else self._between * (1 / self._verify.sample - 2)
        loop.call_later(max(pause, self._shortest), self._look)

    def _begin_to_check(self, event: Fetched, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._check(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self) -> None:
        """Look at the next hit, and the one after it."""
        if not self._is_closed:
            self._engine.observe(self)

    def close(self) -> None:
        self._is_closed = True

    async def _check(self, event: Fetched) -> None:
        """Prove the hit stale if two computations agree on another answer, and it would be served after each."""
        engine, asked = self._engine, event.asked
        if isinstance(asked.plan.policy.lifetime, Seconds):
            return
        again = await self._again(event)
        if again is None:
            return
        self._note_checked(event)
        if again == event.body or not await engine.is_stored(asked, event.body):
            return
        once_more = await self._again(event)
        if once_more is None or not await engine.is_stored(asked, event.body):
            return
        if again != once_more:
            self._verify._note_unstable(event.context, again, once_more)  # noqa: SLF001  # one subject in one file
            return
        await self._found_stale(event, again)


def _difference(before: bytes | None, after: bytes | None) -> str:
    """The path of the first difference; all of it where one of the two could not be computed."""
    return "$" if before is None or after is None else difference(before, after)
