"""`changing`: a mutation without a function, around a write that the host makes by itself (protocol, section 4).

Its scopes are held from the moment it is entered and purged at its end, in a task of its own, whether the body
returned, raised or was cancelled: Mizan cannot know whether the write was made. The body is a running call like any
other: it may call `invalidate`, and mutations that it calls join it. In the body of another call of the same engine,
that call holds and purges, for its transaction may be what commits, and its answer tells.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from ...errors import DeclarationError
from ...graph.declare import Context
from ...graph.model import Graph
from ...graph.narrowing import named
from ...graph.wrapper import current
from ...protocol.headers import encode_header
from ...protocol.identity import Identity
from ...protocol.invalidation import Invalidation, merge
from ..current_call import CurrentCall
from ..failures import carrying
from ..inner_calls import Reading, misplaced
from ..mutations import Mutations
from ..observers import Around, called
from .open_call import OpenCall

# What `invalidate` takes, with its parameters inside.
Affected = Context | Invalidation | str | Callable[..., Any]


class Change:
    """What `changing` gives: the invalidations so far. They can be read after its end as well."""

    __slots__ = ("_call", "_mutations")

    def __init__(self, mutations: Mutations, call: OpenCall) -> None:
        self._mutations = mutations
        self._call = call

    def also(self, *affected: Affected) -> Awaitable[None]:
        """Hold and purge more. Awaiting it waits until the hold is written.

        What is named here is purged even if it is not awaited; before a write, await it. Awaiting raises `Unavailable`
        where it cannot be held and the deployment refuses. Raises `DeclarationError` after the end.
        """
        if self._call.has_ended:
            raise DeclarationError(f"{self._call.name_of_change}: also() was called after its end; purge in a new one.")
        self._call.name(named_all(self._call.owner.graph, affected))
        return _Written(self._mutations, self._call)

    @property
    def invalidations(self) -> tuple[Invalidation, ...]:
        """Everything that is stale by it: named by `changing`, `also` and `invalidate`, or by inner calls."""
        return self._call.stale

    @property
    def header(self) -> str:
        """The value of `X-Mizan-Invalidate` for these, empty for none. As long as that of a call at most."""
        return encode_header(self.invalidations)


class _Written(Awaitable[None]):
    __slots__ = ("_call", "_mutations")

    def __init__(self, mutations: Mutations, call: OpenCall) -> None:
        self._mutations = mutations
        self._call = call

    def __await__(self) -> Generator[Any, None, None]:
        return self._mutations.held(self._call).__await__()


class Changing(AbstractAsyncContextManager[Change]):
    """`async with engine.changing(...) as change:`, for one use."""

    def __init__(
        self, mutations: Mutations, invalidations: Sequence[Invalidation], *, name: str, identity: Identity
    ) -> None:
        self._mutations = mutations
        self._invalidations = invalidations
        self._name = name
        self._identity = identity
        self._call: OpenCall | None = None
        self._outer: CurrentCall | None = None
        self._called: tuple[str, ...] = ()
        self._around: Around | None = None

    async def __aenter__(self) -> Change:
        if self._call is not None:
            raise DeclarationError(f"{self._name} was entered twice; make another by changing(...).")
        outer: CurrentCall | Reading | None = current.get()
        if isinstance(outer, Reading):
            raise misplaced(self._name)
        self._outer = outer
        call = self._call = OpenCall(
            self._mutations, asyncio.get_running_loop(), self._identity, self._name, self._joins(outer)
        )
        call.named.extend(self._invalidations)
        if outer is not None and outer.owner.graph is self._mutations.graph and not outer.root.has_ended:
            outer.inners.append(call)  # its answer tells
        await call.open()
        if call.calling is not None:
            self._called = called.get()
            called.set((self._name,))
            self._around = self._mutations.observers.around(call.calling)
            self._around.__enter__()
        current.set(call)
        return Change(self._mutations, call)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call = self._ended()
        try:
            await call.close(error)
        finally:
            self._leave_around(kind, error, trace)
        if isinstance(error, Exception):
            told = carrying(error, call.stale)
            if told is not error:
                raise told

    async def withdraw(self) -> None:
        """End it without a purge, for nothing was written. What an outer call holds for it, that call still purges."""
        call = self._ended()
        try:
            await call.withdraw()
        finally:
            self._leave_around(None, None, None)

    def _ended(self) -> OpenCall:
        """The call, which is not the current one any more."""
        call = self._call
        if call is None:
            raise DeclarationError(f"{self._name} was not entered.")
        if current.get() is call:  # an exit in another context, as of a fixture, has nothing to put back
            current.set(self._outer)
        return call

    def _leave_around(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._around is not None:
            self._around.__exit__(kind, error, trace)
            called.set(self._called)

    def _joins(self, outer: CurrentCall | None) -> CurrentCall | None:
        """The call that holds and purges for this one, if there is one."""
        if outer is None or outer.owner is not self._mutations or outer.root.has_ended:
            return None
        return outer


def named_all(graph: Graph, affected: Sequence[Affected]) -> tuple[Invalidation, ...]:
    """The invalidations that these name. Raises `DeclarationError` as `named` does."""
    return merge(one for each in affected for one in named(graph, each, {}))
