"""`Writes`: what sessions of SQLAlchemy commit is held before the commit, and purged after it.

It listens to sessions for where a transaction begins and ends, and to their connections for each statement: what the
unit of work writes, bulk statements, rows of secondary and of joined tables are all seen in one way, and at the moment
when a row can still be read as it was.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker

from ...engine.engine import Engine as MizanEngine
from ...errors import DeclarationError
from ...protocol.invalidation import Invalidation
from .changes import Changes, Plan, begin_in_sqlite, plan_of
from .holding import Holding
from .rows import Shape
from .rules import Rule
from .statements import Statements, changes_something

logger = logging.getLogger("mizan")

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class HasEngine(Protocol):
    """An application over an engine, as `mizan_asgi.Mizan` is."""

    @property
    def engine(self) -> MizanEngine: ...


class Writes:
    """Purges what the commits of sessions make stale. `name`: what observers are told that changes it."""

    def __init__(self, mizan: MizanEngine | HasEngine, *, name: str = "commit") -> None:
        self._engine = mizan if isinstance(mizan, MizanEngine) else mizan.engine
        self._name = name
        self._rules: list[Rule] = []
        self._by_table: Mapping[str, Sequence[Rule]] | None = None
        self._statements = Statements()
        self._plans: WeakKeyDictionary[Any, Plan | None] = WeakKeyDictionary()
        self._transactions: WeakKeyDictionary[Session, _Transaction] = WeakKeyDictionary()
        self._connections: WeakKeyDictionary[Connection, ref[_Transaction]] = WeakKeyDictionary()
        # What sessions have committed into a transaction of their connection's, which is not theirs and has not ended.
        self._outer: WeakKeyDictionary[Connection, list[Invalidation]] = WeakKeyDictionary()
        self._ending: WeakKeyDictionary[Connection, tuple[Holding, object]] = WeakKeyDictionary()
        self._engines: WeakSet[Engine] = WeakSet()
        self._listening: list[tuple[Any, str, Any]] = []
        self._said: set[str] = set()

    def on(self, model: Any, *, columns: Iterable[Any] = ()) -> Callable[[F], F]:
        """Ask the function what is stale whenever a row of this class or table is written.

        It is given the row as it was before, and the row as it has become: values of columns, as attributes. A second
        parameter gets the `Connection`, to select rows of other tables. It returns or yields what `invalidate` takes,
        such as `Orders.of(customer_id=row.customer_id)`, or None.

        `columns`: an UPDATE counts if it sets one of these, or one that the function reads; without any, each counts.
        Raises `DeclarationError` for what is no mapped class or table, for unknown columns and for async functions.
        """
        shape = Shape(model)
        names = tuple(one if isinstance(one, str) else one.key for one in columns)

        def register(function: F) -> F:
            self._rules.append(Rule(shape, names or None, function))
            self._by_table = None
            self._plans.clear()
            return function

        return register

    def attach(self, sessions: Any) -> None:
        """See what these sessions commit: a sessionmaker, a scoped one, a class of sessions, or a session.

        Async ones as well. Raises `DeclarationError` for anything else.
        """
        target = _events_of(sessions)
        for name, listener in (
            ("after_begin", self._begun),
            ("before_commit", self._committing),
            ("after_commit", self._committed),
            ("after_transaction_end", self._ended),
        ):
            self._listen(target, name, listener)
        bind = getattr(sessions, "kw", {}).get("bind")
        engine = getattr(bind, "sync_engine", None) or getattr(bind, "engine", None)
        if isinstance(engine, Engine):
            self._listen_to(engine)

    def close(self) -> None:
        """Attach to nothing any more."""
        while self._listening:
            event.remove(*self._listening.pop())
        self._engines.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _listen(self, target: Any, name: str, listener: Callable[..., Any]) -> None:
        if not event.contains(target, name, listener):
            event.listen(target, name, listener)
            self._listening.append((target, name, listener))

    def _listen_to(self, engine: Engine) -> None:
        if engine in self._engines:
            return
        self._engines.add(engine)
        for name, listener in (
            ("before_cursor_execute", self._executing),
            ("after_execute", self._executed),
            ("savepoint", self._savepoint),
            ("rollback_savepoint", self._savepoint_rolled_back),
            ("commit", self._connection_committing),
            ("commit_twophase", self._connection_committing),
            ("rollback", self._outer_ending),
            ("begin", self._outer_ended),
            ("checkin", self._checked_in),
        ):
            self._listen(engine, name, listener)

    def _begun(self, session: Session, transaction: SessionTransaction, connection: Connection) -> None:  # noqa: ARG002
        """A session takes a connection."""
        self._listen_to(connection.engine)
        if not getattr(connection, "_has_events", False):  # it was made before the engine was listened to
            event.listen(connection, "commit", _nothing)
        found = self._transactions.get(session)
        if found is None:
            found = self._transactions[session] = _Transaction(
                Changes(self._rules_by_table()), Holding(self._engine, self._name)
            )
        self._connections[connection] = ref(found)

    def _executing(
        self,
        conn: Connection,
        cursor: object,  # noqa: ARG002  # the parameters are SQLAlchemy's
        statement: str,
        parameters: object,  # noqa: ARG002
        context: Any,
        executemany: bool,  # noqa: ARG002
    ) -> None:
        """A statement is about to run."""
        compiled = context.compiled
        if compiled is None:
            self._tell_of_text(statement)
            return
        if compiled in self._plans:
            plan = self._plans[compiled]
        else:
            plan = self._plans[compiled] = self._plan(compiled, statement)
        if plan is None:
            return
        transaction = self._of(conn)
        if transaction is None:
            self._tell_of_connection(statement)
        else:
            transaction.changes.begin(conn, context, plan)

    def _executed(
        self,
        conn: Connection,
        clauseelement: object,  # noqa: ARG002  # the parameters are SQLAlchemy's
        multiparams: object,  # noqa: ARG002
        params: object,  # noqa: ARG002
        execution_options: object,  # noqa: ARG002
        result: Any,
    ) -> None:
        transaction = self._of(conn)
        if transaction is not None:
            transaction.end(conn, result)

    def _savepoint(self, conn: Connection, name: str) -> None:  # noqa: ARG002
        begin_in_sqlite(conn, "DEFERRED")

    def _savepoint_rolled_back(self, conn: Connection, name: str, context: object) -> None:  # noqa: ARG002
        transaction = self._of(conn)
        if transaction is not None:
            transaction.changes.forget()

    def _connection_committing(self, conn: Connection, *_: object) -> None:
        """The database is about to commit; also where the host commits the connection by itself."""
        transaction = self._of(conn)
        if transaction is not None:
            transaction.hold()
            transaction.may_be_committed = True
        self._outer_ending(conn)

    def _outer_ending(self, conn: Connection) -> None:
        """A transaction that sessions have committed into is about to end. Rolled back, their rows are gone again."""
        left = self._outer.pop(conn, None)
        if left:
            holding = Holding(self._engine, self._name)
            self._ending[conn] = holding, conn.connection.dbapi_connection
            holding.hold(left)

    def _outer_ended(self, conn: Connection) -> None:
        ended = self._ending.pop(conn, None)
        if ended is not None:
            ended[0].purge()

    def _checked_in(self, dbapi_connection: object, record: object) -> None:  # noqa: ARG002
        """A connection is being closed. SQLAlchemy does not tell of the moment when its commit has succeeded."""
        for conn in [one for one, (_, its) in self._ending.items() if its is dbapi_connection]:
            self._outer_ended(conn)

    def _committing(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        session.flush()
        transaction = self._transactions.get(session)
        if transaction is not None:
            transaction.hold()

    def _committed(self, session: Session) -> None:
        if not session.in_nested_transaction():
            transaction = self._transactions.get(session)
            if transaction is not None:
                transaction.holding.purge()
                for connection in self._connections_of(transaction):
                    if connection.in_transaction():
                        self._outer.setdefault(connection, []).extend(transaction.holding.invalidations)

    def _ended(self, session: Session, ended: SessionTransaction) -> None:
        if ended.parent is not None:
            return
        transaction = self._transactions.pop(session, None)
        if transaction is None:
            return
        for connection in self._connections_of(transaction):
            del self._connections[connection]
        if transaction.may_be_committed:
            transaction.holding.purge()
        else:
            transaction.holding.withdraw()

    def _connections_of(self, transaction: "_Transaction") -> list[Connection]:
        return [one for one, its in self._connections.items() if its() is transaction]

    def _of(self, connection: Connection) -> "_Transaction | None":
        found = self._connections.get(connection)
        return None if found is None else found()

    def _rules_by_table(self) -> Mapping[str, Sequence[Rule]]:
        if self._by_table is None:
            found: defaultdict[str, list[Rule]] = defaultdict(list)
            for rule in self._rules:
                for table in rule.shape.tables:
                    found[table.fullname].append(rule)
            self._by_table = dict(found)
        return self._by_table

    def _plan(self, compiled: Any, statement: str) -> Plan | None:
        effects = self._statements.effects_of(compiled, statement)
        for text in effects.opaque:
            self._tell_of_text(text)
        return plan_of(compiled, effects, self._rules_by_table())

    def _tell_of_text(self, statement: str) -> None:
        if statement not in self._said and changes_something(statement, self._rules_by_table()):
            self._tell(
                statement, "it is a text, which Mizan does not read. Write it with update(), insert() or delete()"
            )

    def _tell_of_connection(self, statement: str) -> None:
        if statement not in self._said:
            self._tell(statement, "it ran outside of an attached session. Run it by a session")

    def _tell(self, statement: str, reason: str) -> None:
        self._said.add(statement)
        logger.warning(
            "What this statement writes is not purged, for %s, or put 'engine.changing(...)' around it, or have the "
            "database tell of it ('mizan triggers'): %s",
            reason,
            statement,
        )


class _Transaction:
    """One transaction of a session."""

    def __init__(self, changes: Changes, holding: Holding) -> None:
        self.changes = changes
        self.holding = holding
        self.may_be_committed = False
        self._is_held = False
        self._failed: Exception | None = None

    def end(self, connection: Connection, result: Any) -> None:
        """A statement has run. After an error in here, the transaction cannot be committed."""
        try:
            self.changes.end(connection, result.context, result)
            if self._is_held:  # written after `before_commit`
                self.hold()
        except Exception as error:
            self._failed = error
            raise

    def hold(self) -> None:
        """Hold all that is stale so far."""
        if self._failed is not None:
            raise self._failed
        self._is_held = True
        self.holding.hold(self.changes.finish())


def _nothing(conn: Connection) -> None:
    """Makes a connection tell what its engine is listened to for."""


def _events_of(sessions: Any) -> Any:
    """What SQLAlchemy lets listen to for these sessions."""
    if isinstance(sessions, async_scoped_session):
        sessions = sessions.session_factory
    if isinstance(sessions, async_sessionmaker):
        base = sessions.kw.get("sync_session_class") or sessions.class_.sync_session_class
        own = base if vars(base).get("_of_mizan") is sessions else type(base.__name__, (base,), {"_of_mizan": sessions})
        sessions.configure(sync_session_class=own)
        return own
    if isinstance(sessions, AsyncSession):
        return sessions.sync_session
    if isinstance(sessions, type) and issubclass(sessions, AsyncSession):
        return sessions.sync_session_class
    if isinstance(sessions, scoped_session | sessionmaker | Session) or (
        isinstance(sessions, type) and issubclass(sessions, Session)
    ):
        return sessions
    raise DeclarationError(
        f"writes.attach({sessions!r}): it is neither a sessionmaker, a class of sessions nor a session of SQLAlchemy."
    )
