"""The call whose function is running, and `invalidate`, by which its body names stale bundles (protocol, section 4)."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..errors import DeclarationError
from ..graph.callables import NAMES_STALE
from ..graph.declare import Context, Declaration
from ..graph.model import Graph
from ..graph.narrowing import named
from ..graph.wrapper import InnerCall, current
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.invalidation import Invalidation


class CallOwner(Protocol):
    """Runs the functions of a graph, and is told of each invalidation that a body names."""

    graph: Graph

    def on_named(self, call: "CurrentCall", invalidation: Invalidation) -> None:
        """Called at once, on the thread of the body that named it."""
        ...

    def inner(self, call: "CurrentCall", declaration: Declaration, sent: Mapping[str, object]) -> InnerCall:
        """A mutation that the body calls, with arguments by their names in Python."""
        ...


class Joined(Protocol):
    """A mutation that the body of a function has called."""

    @property
    def stale(self) -> Sequence[Invalidation]:
        """Its invalidations; until it has ended, all that it could make."""
        ...


class CurrentCall:
    """The call of the function that is running, with all that its body has named and called so far.

    `loop`: the event loop on which the call began. `identity`: its caller. `names_all`: the body has said that nothing
    else is stale. `inners`: the mutations that the body has called. The owner keeps its `hold` here, and sets
    `has_ended` when the function has ended.
    """

    __slots__ = ("has_ended", "hold", "identity", "inners", "loop", "named", "names_all", "owner")

    def __init__(self, owner: CallOwner, loop: asyncio.AbstractEventLoop, identity: Identity = ANONYMOUS) -> None:
        self.owner = owner
        self.loop = loop
        self.identity = identity
        self.has_ended = False
        self.named: list[Invalidation] = []
        self.names_all = False
        self.inners: list[Joined] = []
        self.hold: Any = None

    @property
    def root(self) -> "CurrentCall":
        """The call that the engine began, which alone holds and purges."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The mutations that bodies have called as functions to get here, the outermost first."""
        return ()

    def inner(self, declaration: Declaration, sent: Mapping[str, object]) -> InnerCall:
        return self.owner.inner(self, declaration, sent)

    def joined(self) -> list[Invalidation]:
        """The invalidations of the mutations that the body has called."""
        return [one for inner in self.inners for one in inner.stale]

    def name(self, invalidations: Iterable[Invalidation]) -> None:
        for invalidation in invalidations:
            self.named.append(invalidation)
            self.owner.on_named(self, invalidation)


class Invalidate:
    """Names in a function's body what it made stale: `invalidate(Orders, customer_id=7)`.

    Raises `DeclarationError` outside of a function that an engine runs.
    """

    def __call__(self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object) -> None:
        """Name a context or a reader as stale, narrowed by these parameters.

        A list makes one invalidation for each element; an empty list, or a value that does not fit, does not narrow.
        None names the bundles in which a nullable parameter is null. Raises `DeclarationError` for a context,
        reader or parameter that does not exist.
        """
        call = _running()
        call.name(named(call.owner.graph, affected, params))

    def nothing(self) -> None:
        """Of all that `by_body()` leaves to this body, nothing is stale but what the body names."""
        _running().names_all = True


setattr(Invalidate, NAMES_STALE, True)
invalidate = Invalidate()


def _running() -> CurrentCall:
    call: CurrentCall | None = current.get()
    if call is None or call.has_ended:
        raise DeclarationError(
            "invalidate() was called outside of a mutation that an engine runs; "
            "use 'await engine.invalidate(context, ...)' there, and nothing at all in a reader or a route with GET."
        )
    return call
