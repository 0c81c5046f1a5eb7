"""Holds in this process's memory: no step suspends, so no other task runs within one."""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from ...tasks import before_suspending
from ..backends.backend import HELD
from ..backends.memory import MemoryCache
from ..held_tags import ABSENT, HeldTag
from ..holds import Renewals
from ..tags import PurgeScope, TagValues

T = TypeVar("T")


class InProcessHold:
    """The scopes that one running mutation holds, from its first suspension until it ends.

    For a mutation that never suspends nothing is written: no other task runs that could see the hold.
    """

    __slots__ = ("_holder", "_holds", "_renewals", "_scopes", "_tags")

    def __init__(self, holds: "InProcessHolds", renewals: Renewals, scopes: Sequence[PurgeScope]) -> None:
        self._holds = holds
        self._renewals = renewals
        self._scopes = scopes
        self._holder = ""
        self._tags: dict[str, None] | None = None  # the tags that are held; None before the hold is written

    def run(self, begin: Callable[[], Coroutine[Any, Any, T]], *, insist: bool) -> Awaitable[T]:  # noqa: ARG002
        """Begin the mutation; hold its scopes when it first suspends. Writing to memory never fails."""
        return before_suspending(begin(), self.begin)

    def begin(self) -> None:
        """Serve and store nothing of these scopes from now on."""
        if self._scopes:
            self._hold(self._scopes)

    async def make_visible(self, *, insist: bool = False) -> None:  # noqa: ARG002  # writing to memory never fails
        """Write the hold now, though the mutation may not have suspended yet."""
        self.begin()

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        """Hold more scopes, from now on."""
        new = [scope for scope in scopes if scope not in self._scopes]
        if new:
            self._scopes = (*self._scopes, *new)
            self._hold(new)

    def renew(self) -> None:
        """Write the hold again, for another period."""
        self._holds.hold(self._tags or (), self._holder)

    async def end(self, purged: Sequence[PurgeScope], *, insist: bool = False) -> None:  # noqa: ARG002
        """End the hold, and purge what it held and `purged`; a tag that another mutation holds stays held."""
        scopes = purged if purged is self._scopes else (*self._scopes, *purged)
        if self._tags is not None:
            self._renewals.discard(self)
            for tag in self._tags:
                self._holds.let_go(tag, self._holder)
        self._holds.purge(scopes, self._holder)

    async def restore(self) -> None:
        """End the hold of a mutation that was refused: nothing is purged."""
        if self._tags is not None:
            self._renewals.discard(self)
            for tag in self._tags:
                self._holds.restore(tag, self._holder)

    def _hold(self, scopes: Sequence[PurgeScope]) -> None:
        if self._tags is None:
            self._tags = {}
            self._holder = self._holds.new_holder()
        self._tags.update(dict.fromkeys(scope.tag for scope in scopes))
        foreign = [scope.whole for scope in scopes if scope.whole not in self._tags and not self._holds.claims(scope)]
        self._tags.update(dict.fromkeys(foreign))
        self._holds.hold(self._tags, self._holder)
        self._renewals.add(self)


class InProcessHolds:
    """The holders of every tag in one memory.

    As in a shared store, a context that has entries of other scope shapes is held and purged as a whole, along with the
    scope.
    """

    def __init__(self, memory: MemoryCache, values: TagValues, *, seconds: float, max_age: float) -> None:
        self._memory = memory
        self._values = values
        self._seconds = seconds
        self._max_age = max_age
        self._held: dict[str, HeldTag] = {}

    def new_holder(self) -> str:
        """A name that no other hold has."""
        return self._values.holder()

    def hold(self, tags: Iterable[str], holder: str) -> None:
        """Add the holder to these tags, or extend its hold, for one period."""
        now = self._memory.clock()
        for tag in tags:
            held = self._held.get(tag)
            if held is None:
                held = self._held[tag] = HeldTag(self._before(tag))
            self._spoil_if_lost(tag, held)
            held.hold(holder, now + self._seconds, now)
            self._show(tag, held, holder)

    def claims(self, scope: PurgeScope) -> bool:
        """Whether the context's entries have this fingerprint. A whole tag that is absent is given a value with it."""
        cell = self._memory.cell(scope.whole)
        if cell is None:
            value = self._values.fresh(scope.fingerprint)
            return self._memory.put(scope.whole, value, sys.getsizeof(value), self._max_age) is not None
        return self._values.made_by(cell.value, scope.fingerprint)

    def purge(self, scopes: Iterable[PurgeScope], holder: str) -> None:
        """Purge these scopes, for a holder that no longer holds any of their tags."""
        for scope in scopes:
            if scope.tag in self._held:
                self.let_go(scope.tag, holder)
            else:
                self._renew(scope)
            if scope.whole != scope.tag and self._is_foreign(scope):
                self.let_go(scope.whole, holder)

    def let_go(self, tag: str, holder: str) -> None:
        """Remove a holder that may have written; delete the tag if it has no other."""
        held = self._held.get(tag)
        if held is not None:
            held.release(holder, self._memory.clock())
            if held.holders:
                self._show(tag, held, holder)
                return
            del self._held[tag]
        self._memory.forget(tag)

    def restore(self, tag: str, holder: str) -> None:
        """Remove a holder that wrote nothing; restore the tag's value if no other holder can have written."""
        held = self._held.get(tag)
        if held is None:  # a purge has met it after its holder expired
            return
        self._spoil_if_lost(tag, held)
        held.restore(holder, self._memory.clock())
        if held.holders:
            self._show(tag, held, holder)
            return
        del self._held[tag]
        if held.before:
            self._memory.put(tag, held.before, sys.getsizeof(held.before), self._max_age)
        else:
            self._memory.forget(tag)

    def _renew(self, scope: PurgeScope) -> None:
        """Purge a tag that is not held. A fresh value does what deleting does, and saves the next reader adding one."""
        cell = self._memory.cell(scope.tag)
        if cell is not None:
            if self._values.made_by(cell.value, scope.fingerprint):
                cell.value = self._values.fresh(scope.fingerprint)
            else:
                self._memory.forget(scope.tag)

    def _is_foreign(self, scope: PurgeScope) -> bool:
        cell = self._memory.cell(scope.whole)
        if cell is None or self._values.made_by(cell.value, scope.fingerprint):
            return False
        return not bytes(cell.value or b"").startswith(HELD)

    def _before(self, tag: str) -> bytes | None:
        cell = self._memory.cell(tag)
        if cell is None:
            return ABSENT
        if self._values.made_by(cell.value, b""):
            return cell.value  # type: ignore[return-value]  # a value that `made_by` knows is bytes
        return None  # another engine's hold, or no value of a tag at all

    def _spoil_if_lost(self, tag: str, held: HeldTag) -> None:
        """Spoil a tag that was evicted, has expired, or was written by another engine while it was held."""
        if held.holders:
            cell = self._memory.cell(tag)
            if cell is None or cell.value is not held.shown:
                held.before = None

    def _show(self, tag: str, held: HeldTag, holder: str) -> None:
        """Write the value of a held tag, which serves and stamps nothing."""
        held.shown = HELD + holder.encode("ascii")
        self._memory.put(tag, held.shown, sys.getsizeof(held.shown), self._seconds)
