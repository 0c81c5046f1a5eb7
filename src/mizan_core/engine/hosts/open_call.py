"""The call of a body that is no function: its scopes are held before the body, and settled after it.

A body's call is opened, then closed or withdrawn. In the body of another call of the same engine, that call holds and
purges for it.
"""

import asyncio
from collections.abc import Sequence

from ...graph.narrowing import Outcome, Refused, Returned
from ...protocol.identity import Identity
from ...protocol.invalidation import Invalidation, merge
from ..answers import Failure
from ..current_call import CurrentCall
from ..failures import carrying
from ..mutations import Mutations, name_of
from ..observers import Called, Calling


class OpenCall(CurrentCall):
    """The call of one body. `outer`: the call that holds for it. `calling`: what observers were told of its begin."""

    __slots__ = ("_began", "_is_open", "_mutations", "_stale", "calling", "name_of_change", "outer")

    def __init__(
        self,
        mutations: Mutations,
        loop: asyncio.AbstractEventLoop,
        identity: Identity,
        name: str,
        outer: CurrentCall | None,
    ) -> None:
        super().__init__(mutations, loop if outer is None else outer.loop, identity)
        self.name_of_change = name
        self.outer = outer
        self.calling: Calling | None = None
        self._mutations = mutations
        self._is_open = False
        self._began = 0.0
        self._stale: tuple[Invalidation, ...] | None = None

    @property
    def root(self) -> CurrentCall:
        return self if self.outer is None else self.outer.root

    @property
    def names(self) -> tuple[str, ...]:
        return () if self.outer is None else (*self.outer.names, self.name_of_change)

    @property
    def stale(self) -> tuple[Invalidation, ...]:
        """Everything that is stale by it, so far."""
        return merge([*self.named, *self.joined()]) if self._stale is None else self._stale

    async def open(self) -> None:
        """Hold what it has named, before its body. Raises `Unavailable` where that cannot be held."""
        mutations = self._mutations
        if self.outer is not None:
            try:
                await mutations.held(self)
            except BaseException:  # its body does not run
                self._settle(())
                raise
            return
        if mutations.observers.all:
            self.calling = Calling(self.name_of_change, {}, self.identity, merge(self.named))
        try:
            await mutations.tasks.start(self._opened())
        except BaseException:
            self._settle(())
            if self._is_open:  # it was cancelled in the moment in which this succeeded
                mutations.tasks.start(self._undone())
            raise

    async def withdraw(self) -> None:
        """End it, for its body has written nothing."""
        if self.outer is None:
            await self._mutations.tasks.start(self._undone())
        else:
            self._settle(())

    async def close(self, error: BaseException | None) -> None:
        """Purge what it has named, in a task. `error`: of its body.

        With `on_cache_failure="refuse"`, raises `CacheUnavailable` if the purge takes too long and the body raised
        nothing.
        """
        stale = self.stale
        self._settle(stale)
        late: Failure | None = None
        if self.outer is None:
            late = await self._mutations.tasks.start(self._closed(stale, error))
        elif self.root.has_ended:
            late = await self._mutations.tasks.start(self._mutations.settle(None, stale))
        if late is not None and error is None:
            raise carrying(late.error, stale)

    def _settle(self, stale: Sequence[Invalidation]) -> None:
        self._stale = tuple(stale)
        self.has_ended = True

    async def _opened(self) -> None:
        """Hold, in a task: a caller that is cancelled meanwhile leaves no hold behind."""
        mutations = self._mutations
        if self.calling is not None:
            await mutations.observers.tell_and_wait(self.calling)
        self._began = self.loop.time()
        self.hold = mutations.taken(self.named)
        try:
            await self.hold.run(_nothing, insist=mutations.refuses)
            await self.hold.make_visible()
        except BaseException as error:
            await self._undone(error)
            raise
        if self.has_ended:
            await self._undone()
        else:
            self._is_open = True

    async def _undone(self, error: BaseException | None = None) -> None:
        """End its hold, where its body does not run or has written nothing."""
        self._settle(())
        await self.hold.restore()
        await self._tell(Refused(), error)

    async def _closed(self, stale: Sequence[Invalidation], error: BaseException | None) -> Failure | None:
        late = await self._mutations.settle(self.hold, stale)
        await self._tell(Returned(None) if error is None else self._mutations.outcome_of(None, error), error)
        return late

    async def _tell(self, outcome: Outcome, error: BaseException | None) -> None:
        """Tell the observers that were told of its begin how it ended."""
        if self.calling is None:
            return
        mutations = self._mutations
        event = Called(
            began=self.calling,
            outcome=name_of(outcome),
            error=mutations.errors.told(error) if isinstance(error, Exception) else None,
            invalidations=self.stale,
            seconds=self.loop.time() - self._began,
            held=getattr(self.hold, "held", 0.0),  # it is no `TimedHold` where all observers have left
            purge=getattr(self.hold, "purge", 0.0),
        )
        await mutations.observers.tell_and_wait(event)


async def _nothing() -> None:
    """The body runs elsewhere."""
