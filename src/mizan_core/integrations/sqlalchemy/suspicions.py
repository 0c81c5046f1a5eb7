"""Suspicion before staleness: a function writes what a context reads, and never invalidates the context.

`Suspicions` listens to SQLAlchemy while the functions of an engine run. Two runs are enough to suspect a function, one
of it and one of a reader: neither has to come in an order, and no bundle has to be stale yet. A suspicion is no proof:
the column may be written in rows that the context does not show. `affects=` or `spares=` answers it, and
`mizan_core.proof.Verify` still checks either.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, Self, TypeAlias

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

from ...engine.engine import Engine as MizanEngine
from ...engine.observers import Called, Calling, Fetched, Observer, running
from ...errors import DeclarationError
from ...graph.declare import ByBody
from ...graph.model import Function, Graph
from ...protocol.cache_policy import Seconds
from .columns import TableColumn
from .statements import Effects, Statements

RAW_CONNECTION = "a raw connection of the driver"

Database: TypeAlias = "Engine | AsyncEngine | sessionmaker[Any] | async_sessionmaker[Any]"


class HasEngine(Protocol):
    """An application over an engine, as `mizan_asgi.Mizan` is."""

    @property
    def engine(self) -> MizanEngine: ...


@dataclass(frozen=True, slots=True)
class Suspect:
    """A function that writes what a context reads, and never invalidates the context.

    `columns`: those that it writes and the context reads. `readers`: the context's, which read them. `cascades`: the
    foreign keys by which the database writes some of them. `is_reader`: the function is a reader itself.
    """

    mutation: str
    context: str
    columns: tuple[TableColumn, ...]
    readers: tuple[str, ...]
    cascades: tuple[str, ...] = ()
    is_reader: bool = False

    def __str__(self) -> str:
        columns = ", ".join(map(str, self.columns))
        cascades = f" ({'; '.join(self.cascades)})" if self.cascades else ""
        readers = " and ".join(self.readers)
        remedy = (
            "a reader changes nothing; write in a function without context="
            if self.is_reader
            else f"add {self.context!r} to its affects=, or, if no answer of it can change, to its spares="
        )
        return (
            f"{self.mutation} writes {columns}{cascades}, read by {readers} of context {self.context!r}, and never "
            f"invalidates it: {remedy}."
        )


@dataclass(frozen=True, slots=True)
class Opaque:
    """A statement of a function whose columns are not known: text, or what a raw connection is used for."""

    function: str
    statement: str

    def __str__(self) -> str:
        return (
            f"{self.function} uses {self.statement}, whose columns are not known: write it with tables and columns of "
            "SQLAlchemy, or look after it yourself."
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What was found so far; as text, a line for each finding.

    `not_run`: functions that were not seen running. `written_outside`: tables that contexts read, and that something
    else than a function of the engine wrote, such as a host's own routes or a commit after the function had ended.
    """

    suspects: tuple[Suspect, ...]
    opaque: tuple[Opaque, ...]
    not_run: tuple[str, ...] = field(repr=False)
    written_outside: tuple[str, ...]

    def __str__(self) -> str:
        lines = [str(one) for one in (*self.suspects, *self.opaque)]
        if self.written_outside:
            lines.append(f"Written outside of any function: {', '.join(self.written_outside)}.")
        if self.not_run:
            lines.append(f"Not seen running: {', '.join(self.not_run)}.")
        return "\n".join(lines) or "Nothing is suspected."


class Suspicions:
    """Suspects undeclared dependencies of the functions that run from now on, until `close` or the end of a `with`.

    `databases`: engines or sessionmakers of SQLAlchemy, async ones as well; without any, all engines of the process.
    It is meant for tests: it costs each statement a few microseconds, and more when it is new.

    Raises `DeclarationError` for a sessionmaker that is bound to no engine.
    """

    def __init__(self, mizan: MizanEngine | HasEngine, *databases: Database) -> None:
        self._engine = mizan if isinstance(mizan, MizanEngine) else mizan.engine
        self._functions = self._engine.graph.functions
        self._seen = _Seen()
        self._statements = Statements()
        engines: list[Any] = list(dict.fromkeys(one for database in databases for one in _engines_of(database)))
        # Engines with options of their own share the pool of the engine that they were made of.
        pools: list[Any] = list(dict.fromkeys(one.pool for one in engines))
        self._listening: list[tuple[Any, str, Any]] = [
            *((one, "before_cursor_execute", self._executing) for one in engines or [Engine]),
            *((one, "checkout", self._checked_out) for one in pools or [Engine]),
            (Engine, "engine_connect", self._connected),
        ]
        self._observer = _Running(self._seen)
        self._engine.observe(self._observer)
        for listening in self._listening:
            event.listen(*listening)

    def close(self) -> None:
        """Listen no more. What was found stays."""
        self._engine.unobserve(self._observer)
        while self._listening:
            event.remove(*self._listening.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def suspects(self) -> tuple[Suspect, ...]:
        """The functions that write what a context reads and that they never invalidate, by name."""
        return self.report().suspects

    def report(self) -> Report:
        """Everything that was found so far."""
        with self._seen.lock:
            return _report(self._engine.graph, self._seen)

    def _executing(  # the parameters are SQLAlchemy's
        self,
        conn: object,  # noqa: ARG002
        cursor: object,  # noqa: ARG002
        statement: str,
        parameters: object,  # noqa: ARG002
        context: Any,
        executemany: bool,  # noqa: ARG002
    ) -> None:
        """A statement is about to run."""
        self._seen.add(self._names(), self._statements.effects_of(context.compiled, statement))

    def _checked_out(self, dbapi_connection: object, record: Any, proxy: object) -> None:  # noqa: ARG002
        """A connection of the driver is taken from the pool; raw, unless a `Connection` is made of it next."""
        if names := self._names():
            taken = record.record_info[self] = object()
            self._seen.raw[taken] = names[-1]

    def _connected(self, connection: Any) -> None:
        self._seen.raw.pop(connection.connection.record_info.pop(self, None), None)

    def _names(self) -> tuple[str, ...]:
        """The running functions that are of this graph."""
        return tuple(name for name in running() if name in self._functions)


class _Running(Observer):
    """Notes which functions have run, and which contexts they made stale."""

    sees_hits = False

    def __init__(self, seen: "_Seen") -> None:
        self._seen = seen

    def calling(self, event: Calling) -> None:
        with self._seen.lock:
            self._seen.ran.add(event.function)

    def called(self, event: Called) -> None:
        with self._seen.lock:
            self._seen.invalidated[event.function] |= {one.context for one in event.invalidations}
            if event.outcome == "returned":
                self._seen.returned.add(event.function)

    def fetched(self, event: Fetched) -> None:
        if event.status != "hit":
            with self._seen.lock:
                self._seen.ran |= {reader.name for reader in event.asked.plan.readers}


class _Seen:
    """What has been seen so far. Statements run in any thread, observers on the event loop."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.ran: set[str] = set()
        self.returned: set[str] = set()
        self.invalidated: defaultdict[str, set[str]] = defaultdict(set)  # by function, what its calls told
        self.reads: defaultdict[str, set[TableColumn]] = defaultdict(set)
        # By the function that wrote, behind those whose answers tell what it makes stale; () for none.
        self.writes: defaultdict[tuple[str, ...], dict[TableColumn, str]] = defaultdict(dict)
        self.opaque: dict[Opaque, None] = {}
        self.raw: dict[object, str] = {}

    def add(self, names: tuple[str, ...], effects: Effects) -> None:
        """Note what a statement did that ran inside of these functions."""
        with self.lock:
            self.writes[names] = dict(effects.writes) | self.writes[names]
            if names:
                self.ran.add(names[-1])
                self.reads[names[-1]] |= effects.reads
                self.opaque |= dict.fromkeys(Opaque(names[-1], text) for text in effects.opaque)


def _engines_of(database: Any) -> Iterator[Engine]:
    """The engines that send what a database of the developer's is asked."""
    if isinstance(database, sessionmaker | async_sessionmaker):
        bound = [database.kw.get("bind"), *(database.kw.get("binds") or {}).values()]
        if not any(bound):
            raise DeclarationError("Suspicions: the sessionmaker is bound to no engine yet; pass the engine.")
        for one in bound:
            if one is not None:
                yield from _engines_of(one)
    elif isinstance(database, AsyncEngine):
        yield database.sync_engine
    elif isinstance(database, Engine):
        yield database
    else:
        raise DeclarationError(f"Suspicions: {database!r} is neither an engine nor a sessionmaker of SQLAlchemy.")


def _report(graph: Graph, seen: _Seen) -> Report:
    raw = {Opaque(name, RAW_CONNECTION): None for name in seen.raw.values()}
    readable = {
        column.table for read in _reads_of_contexts(graph, seen).values() for one in read.values() for column in one
    }
    outside = {column.table for column in seen.writes.get((), ())}
    return Report(
        suspects=tuple(_suspects(graph, seen)),
        opaque=tuple(sorted({**seen.opaque, **raw}, key=lambda one: (one.function, one.statement))),
        not_run=tuple(sorted(graph.functions.keys() - seen.ran)),
        written_outside=tuple(sorted(outside & readable)),
    )


def _reads_of_contexts(graph: Graph, seen: _Seen) -> dict[str, dict[str, set[TableColumn]]]:
    """By context and reader: what it reads. Answers that are kept for seconds may be old by declaration."""
    found: dict[str, dict[str, set[TableColumn]]] = {}
    for plan in graph.contexts.values():
        if not isinstance(plan.policy.lifetime, Seconds):
            kept = [one for one in (*plan.readers, *plan.pages) if one.in_bundle or one.declaration.route is not None]
            found[plan.name] = {one.name: seen.reads[one.name] for one in kept if one.name in seen.reads}
    return found


def _suspects(graph: Graph, seen: _Seen) -> Iterator[Suspect]:
    reads = _reads_of_contexts(graph, seen)
    found: defaultdict[tuple[str, str], dict[TableColumn, str]] = defaultdict(dict)
    for names, written in seen.writes.items():
        for context, readers in reads.items():
            shared = {one: how for one, how in written.items() if any(one in read for read in readers.values())}
            if names and shared and not any(_answers_for(graph.functions[name], context, seen) for name in names):
                found[names[-1], context] |= shared
    for (mutation, context), shared in sorted(found.items()):
        yield Suspect(
            mutation=mutation,
            context=context,
            columns=tuple(sorted(shared)),
            readers=tuple(sorted(name for name, read in reads[context].items() if not read.isdisjoint(shared))),
            cascades=tuple(sorted({how for how in shared.values() if how})),
            is_reader=graph.functions[mutation].context is not None,
        )


def _answers_for(function: Function, context: str, seen: _Seen) -> bool:
    """Whether the function spares the context, or invalidates it: as declared, or as its calls have told.

    What is left to the body of a function is for its calls to tell, once one of them has returned.
    """
    if context in function.declaration.spares or context in seen.invalidated[function.name]:
        return True
    is_told = function.name in seen.returned
    return any(
        affect.context == context and not (is_told and isinstance(affect.narrowing, ByBody))
        for affect in function.affects
    )
