"""What a call makes stale (protocol, section 4): pure functions from arguments, result and body to invalidations."""

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
    """Whoever runs functions over this graph, and hears of what their bodies name."""

    graph: Graph

    def on_named(self, call: "CurrentCall", invalidation: Invalidation) -> None:
        """Called at once, on the thread of the body that named it."""
        ...

    def inner(self, call: "CurrentCall", declaration: Declaration, sent: Mapping[str, object]) -> InnerCall:
        """A mutation that the body calls, with arguments by their names in Python."""
        ...


class Joined(Protocol):
    """What the body of a function has called."""

    @property
    def stale(self) -> Sequence[Invalidation]:
        """What it made stale; while it has not ended, everything that it may."""
        ...


class CurrentCall:
    """What the body of the function that is running has named so far. `loop` is where it began, for `identity`.

    `names_all`: the body has said that nothing else is stale. `hold` is the owner's to keep here, and `has_ended` to
    set when the function has. `inners` are the mutations that the body has called.
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

    def inner(self, declaration: Declaration, sent: Mapping[str, object]) -> InnerCall:
        return self.owner.inner(self, declaration, sent)

    def joined(self) -> list[Invalidation]:
        """What the mutations that the body has called made stale."""
        return [one for inner in self.inners for one in inner.stale]

    def name(self, invalidations: Iterable[Invalidation]) -> None:
        for invalidation in invalidations:
            self.named.append(invalidation)
            self.owner.on_named(self, invalidation)


class Invalidate:
    """Says in a function's body what it made stale: `invalidate(Orders, customer_id=7)`.

    Raises `DeclarationError` outside of a function that an engine runs.
    """

    def __call__(self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object) -> None:
        """A context or a reader is stale, narrowed by these parameters.

        A list gives an entry per element; an empty one, and a value that does not fit, do not narrow. None names the
        bundles in which a nullable parameter is null. Raises `DeclarationError` for a context, reader or parameter that
        does not exist.
        """
        call = _running()
        call.name(named(call.owner.graph, affected, params))

    def nothing(self) -> None:
        """Nothing is stale of what `by_body()` leaves to this body, except for what else it names."""
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
