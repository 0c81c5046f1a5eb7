"""A `Changing` around a body that has no task of its own: one in a thread, or the commit of a database session."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

from .changing import Change, Changing

T = TypeVar("T")


class Entry:
    """A `Changing` that is entered and left in one context, in tasks of its own."""

    def __init__(self, changing: Changing) -> None:
        self._changing = changing
        self._entering: asyncio.Task[Change] | None = None
        self.context = contextvars.copy_context()

    async def enter(self) -> Change:
        self._entering = self._task(self._changing.__aenter__())
        return await self._entering

    async def leave(self, raised: BaseException | None) -> None:
        """Purge, if it was entered. Where its thread was interrupted, it may just be about to be entered."""
        entering = self._entering
        if entering is not None and not entering.done():
            entering.cancel()
            await asyncio.wait([entering])
        if self.change is not None:
            told = (None, None, None) if raised is None else (type(raised), raised, raised.__traceback__)
            await self._task(self._changing.__aexit__(*told))

    async def withdraw(self) -> None:
        """End it without a purge, if it was entered: nothing was written."""
        if self.change is not None:
            await self._task(self._changing.withdraw())

    @property
    def change(self) -> Change | None:
        """What it gives, if it was entered."""
        done = self._entering
        if done is None or not done.done() or done.cancelled() or done.exception() is not None:
            return None
        return done.result()

    def _task(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return asyncio.get_running_loop().create_task(work, context=self.context)
