"""Mutations that the body of another function calls: their invalidations join the answer of that function.

The hold of the outer call holds the scopes of an inner mutation from the moment it begins, and purges them at its own
end. An error of the inner mutation decides what it made stale as it would alone, also if the body catches the error.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

from ..errors import DeclarationError
from ..graph.declare import Declaration, Result
from ..graph.inputs import Compiled
from ..graph.model import Function, Graph
from ..graph.narrowing import Outcome, Returned, Unknown, named, resolve
from ..graph.types.snapshots import snapshot
from ..graph.wrapper import current
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.invalidation import Invalidation, merge
from ..protocol.values import canonical, jsonable
from .current_call import CallOwner, CurrentCall

T = TypeVar("T")


class Holder(CallOwner, Protocol):
    """Holds and purges for the mutations of one graph."""

    def hold(self, inner: "Inner") -> None:
        """Hold the scopes that an inner call's arguments determine, as soon as that can be written."""
        ...

    async def held(self, inner: "Inner") -> None:
        """As `hold`, and wait until it is written. Where holds are required, raises `Unavailable` if it fails."""
        ...

    def outcome_of(self, function: Function | None, outcome: Outcome | BaseException) -> Outcome:
        """The outcome of a function, from its result or its error."""
        ...

    def purge_late(self, inner: "Inner") -> None:
        """Purge the invalidations of an inner call that has ended after its outer call."""
        ...


class Joining(Protocol):
    """A call that the body of another one makes, and for which that one holds and purges."""

    loop: asyncio.AbstractEventLoop

    @property
    def root(self) -> CurrentCall: ...

    @property
    def stale(self) -> Sequence[Invalidation]: ...


class Inner(CurrentCall):
    """The call of an inner mutation. `function`: None if it is not in this graph. `sent`: the arguments that narrow."""

    __slots__ = ("_declaration", "_holder", "_noted", "_outer", "_stale", "function", "sent")

    def __init__(
        self,
        outer: CurrentCall,
        holder: Holder,
        declaration: Declaration,
        function: Function | None,
        sent: Mapping[str, object],
        identity: Identity,
    ) -> None:
        super().__init__(holder, outer.loop, identity)
        self.function = function
        self.sent = sent
        self._declaration = declaration
        self._holder = holder
        self._outer = outer
        self._noted: Outcome = Unknown()
        self._stale: tuple[Invalidation, ...] | None = None
        if not outer.root.has_ended:  # else a task that outlives its function could add any number
            outer.inners.append(self)

    @property
    def root(self) -> CurrentCall:
        return self._outer.root

    @property
    def names(self) -> tuple[str, ...]:
        return (*self._outer.names, self._declaration.name)

    @property
    def stale(self) -> Sequence[Invalidation]:
        return self._resolved(Unknown()) if self._stale is None else self._stale

    def returned(self, result: T) -> T:
        self._noted = Returned(result)
        return result

    def settle(self, stale: Sequence[Invalidation]) -> None:
        """Note its invalidations. They are purged with the outer call, or now if that has ended."""
        self._stale = tuple(stale)
        self.has_ended = True
        if self.root.has_ended and self._stale:
            self._holder.purge_late(self)

    def __enter__(self) -> Self:
        try:
            self._holder.hold(self)
        except BaseException:  # it does not run
            self.settle(())
            raise
        current.set(self)
        return self

    async def __aenter__(self) -> Self:
        try:
            await self._holder.held(self)
        except BaseException:  # it does not run
            self.settle(())
            raise
        current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current.set(self._outer)
        outcome = self._noted if error is None else error
        self.settle(self._resolved(self._holder.outcome_of(self.function, outcome)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _resolved(self, outcome: Outcome) -> tuple[Invalidation, ...]:
        graph = self._holder.graph
        if self.function is None:
            return merge([*_whole(graph, self._declaration), *self.named, *self.joined()])
        if isinstance(outcome, Returned):
            outcome = _validated(self.function, outcome.result)
        stale = resolve(graph, self.function, self.sent, self.identity, outcome, self.named, names_all=self.names_all)
        return merge([*stale, *self.joined()])


class Reading:
    """Stands for the call of a function that may change nothing, such as a reader."""

    has_ended = True  # so `invalidate` is refused
    hold = None
    root: "Reading"

    def __init__(self) -> None:
        self.root = self

    def inner(self, declaration: Declaration, sent: Mapping[str, object]) -> Inner:  # noqa: ARG002  # as `CurrentCall`
        raise misplaced(declaration.name)


READING = Reading()


def misplaced(name: str) -> DeclarationError:
    """The error for a function that may change nothing and calls a mutation, or a `changing`, of this name."""
    return DeclarationError(
        f"{name} changes something, and was called by a function that may change nothing: a reader, or a "
        "route with GET. Call it from a function with affects=, or from a route with POST."
    )


def arguments_of(function: Function, given: Mapping[str, object]) -> dict[str, object]:
    """The arguments that narrow a directly called mutation, with the names and values that clients would send.

    A direct call does not validate its arguments. A value that the parameter's type would refuse, or read as another
    value, does not narrow.
    """
    sent = {}
    for name in function.narrowing_inputs:
        compiled = function.inputs[name]
        argument = compiled.input.argument or name
        if argument in given:
            value = _as_sent(compiled, given[argument])
            if value is not None or given[argument] is None:
                sent[name] = value
    return dict(snapshot(sent, sent))


def identity_of(function: Function, given: Mapping[str, object], outer: Identity) -> Identity:
    """The caller of an inner mutation: the identity that it is passed, or that of the outer call."""
    handed = [given[name] for name in function.signature.identities if name in given]
    if not handed:
        return outer
    return handed[0] if len(handed) == 1 and isinstance(handed[0], Identity) else ANONYMOUS


def _as_sent(compiled: Compiled, value: object) -> object:
    if value is None or isinstance(value, Iterator):  # reading it would leave nothing for the function
        return None
    try:
        validated = compiled.adapter.validate_python(value)
        return validated if canonical(jsonable(validated)) == canonical(jsonable(value)) else None
    except Exception:  # noqa: BLE001  # a developer's validator may raise anything; not to narrow is safe
        return None


def _validated(function: Function, result: object) -> Outcome:
    """The validated result, if a binding reads a field of it; `Unknown` if it does not fit its annotation."""
    bindings = (binding for affect in function.affects for _, binding in affect.bindings)
    if function.is_view or not any(isinstance(binding, Result) for binding in bindings):
        return Returned(result)
    try:
        return Returned(function.validate_result(result, from_attributes=True))
    except Exception:  # noqa: BLE001  # as in `_as_sent`
        return Unknown()


def _whole(graph: Graph, declaration: Declaration) -> Iterator[Invalidation]:
    """All that a mutation of another graph affects in this one, without narrowing."""
    for target in declaration.affects:
        try:
            yield from named(graph, target, {})
        except DeclarationError:
            continue
