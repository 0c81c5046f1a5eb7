"""What the statements of one transaction change: each row before its first change, and as it is at the end.

Rows of an UPDATE or a DELETE are read, and locked where the database can, before the statement runs. Those that it
inserts or has changed are asked for at the end, of what is known by then. See `Changes` for which is read when.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, Delete, ForeignKeyConstraint, Insert, Table, Update
from sqlalchemy.exc import InvalidRequestError, NoReferenceError
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, ColumnElement

from ...engine.hosts.changing import Affected
from .columns import ROWS
from .rows import Batch, Known, Shape, Values, has_values, rows_where
from .rules import Rule
from .statements import Effects

# Beyond so many rows of one statement, what they have in common is purged: holding a scope for each would cost more.
MANY_ROWS = 1000

Execution: TypeAlias = Any  # SQLAlchemy's ExecutionContext, whose attributes differ by kind of statement


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compiled statement does to the tables that rules are about.

    `table`: that of the statement itself. `set_here`: the columns that an UPDATE sets. `rules`: those about its rows.
    `elsewhere`: rules about rows that it writes in another way, as in a common table expression. `cascades`: the
    database deletes or updates rows of other tables with it, which rules are about.
    """

    kind: str
    table: Table | None
    set_here: frozenset[Column[Any]]
    rules: tuple[Rule, ...]
    elsewhere: tuple[Rule, ...]
    cascades: bool


def plan_of(compiled: Any, effects: Effects, rules: Mapping[str, Sequence[Rule]]) -> Plan | None:
    """The plan for a statement; None if it changes nothing that a rule is about."""
    tables = {column.table for column in effects.writes}
    if not any(rules.get(one) for one in tables):
        return None
    statement = compiled.statement
    kind = next((name for one, name in _KINDS.items() if isinstance(statement, one)), "")
    table = getattr(statement, "table", None)
    if not kind or not isinstance(table, Table):
        return Plan("", None, frozenset(), (), _all(rules, tables), cascades=False)
    table = table.metadata.tables.get(table.key, table)  # not the copy that a statement of the ORM annotates
    names = {one.name for one in effects.writes if one.table == table.fullname and one.name != ROWS}
    set_here = frozenset(one for one in table.c if one.name in names) if kind == "update" else frozenset()
    own = tuple(one for one in rules.get(table.fullname, ()) if kind != "update" or one.concerns(set_here) is not False)
    cascaded = {one.fullname for one in _cascaded(table, kind, set_here)}
    cascades = bool(_all(rules, cascaded))
    elsewhere = _all(rules, tables - cascaded - {table.fullname})
    if not (own or cascades or elsewhere):
        return None
    return Plan(kind, table, set_here, own, elsewhere, cascades)


_KINDS = {Insert: "insert", Update: "update", Delete: "delete"}


def _all(rules: Mapping[str, Sequence[Rule]], tables: Iterable[str]) -> tuple[Rule, ...]:
    return tuple(dict.fromkeys(one for table in sorted(tables) for one in rules.get(table, ())))


@dataclass(slots=True)
class _Running:
    """A statement that has begun. `found`: the rows that it will change, with what it sets in each.

    `counted`: they were found by its condition, so it has to change as many. `many`: they are too many to be asked for.
    """

    plan: Plan
    found: Sequence[tuple[Known, Mapping[str, Any]]] = ()
    counted: bool = False
    many: bool = False


class _Entry:
    """A row that was changed, and the rules that are to be asked for it at the end."""

    __slots__ = ("known", "rules")

    def __init__(self, known: Known) -> None:
        self.known = known
        self.rules: dict[Rule, None] = {}


class Changes:
    """The changes of one transaction."""

    def __init__(self, rules: Mapping[str, Sequence[Rule]]) -> None:
        self.stale: list[Affected] = []
        self._rules = rules
        self._running: dict[Execution, _Running] = {}
        self._entries: defaultdict[tuple[Connection, Table], dict[tuple[Any, ...], _Entry]] = defaultdict(dict)

    def begin(self, connection: Connection, execution: Execution, plan: Plan) -> None:
        """A statement is about to run: look at the rows that it changes, before it does."""
        if execution in self._running:  # a further batch of the same rows
            return
        running = self._running[execution] = _Running(plan)
        for rule in plan.elsewhere:
            self._ask_unknown(rule, connection)
        if plan.kind == "insert" or plan.table is None:
            return
        begin_in_sqlite(connection, "IMMEDIATE")  # it has no locks of rows
        self._find(connection, execution, plan, plan.table, running)
        if running.many:
            for rule in self._reached(plan.table, plan):
                self._ask_unknown(rule, connection)
            return
        known = [one for one, _ in running.found]
        batch = Batch(connection, plan.table, known, lock=True)
        if plan.cascades or not plan.set_here.isdisjoint(plan.table.primary_key.columns):
            batch.read(Shape(plan.table))
        for rule in plan.rules:
            self._before(connection, rule, plan.set_here, running.found, plan.table)
        if plan.cascades:
            self._cascade(connection, plan.table, known, plan.kind, plan.set_here)

    def end(self, connection: Connection, execution: Execution, result: Any) -> None:
        """A statement has run: note the rows as it has left them."""
        running = self._running.pop(execution, None)
        if running is None or running.plan.table is None:
            return
        plan, table = running.plan, running.plan.table
        if plan.kind == "insert":
            self._inserted(connection, execution, result, plan, table)
        elif running.counted and not _is_alone(connection) and result.rowcount != len(running.found):
            # It has changed rows that another transaction wrote after they were looked for.
            for rule in self._reached(table, plan):
                self._ask_unknown(rule, connection)

    def forget(self) -> None:
        """A savepoint was rolled back: rows are as they were, and are read when they are asked for."""
        for (_, table), entries in self._entries.items():
            primary = tuple(table.primary_key.columns)
            for key, entry in entries.items():
                entry.known.values = dict(zip(primary, key, strict=True))

    def finish(self) -> list[Affected]:
        """All that is stale, with what the changed rows have become."""
        entries, self._entries = self._entries, defaultdict(dict)
        for (connection, table), rows in entries.items():
            Batch(connection, table, [one.known for one in rows.values()], lock=False)
            for entry in rows.values():
                for rule in entry.rules:
                    self.stale += rule.ask(entry.known, connection)[0]
        stale, self.stale = self.stale, []
        return stale

    def _find(self, connection: Connection, execution: Execution, plan: Plan, table: Table, running: _Running) -> None:
        """Find the rows that an UPDATE or a DELETE will change."""
        where = execution.invoked_statement.whereclause
        primary = tuple(table.primary_key.columns)
        sets = [{name: sent[name] for name in sent} for sent in execution.compiled_parameters]
        keys = [_key(where, primary, sent) for sent in sets]
        if primary and all(key is not None for key in keys):
            running.found = [
                (Known(dict(zip(primary, key, strict=True)), key), sent)
                for key, sent in zip(keys, sets, strict=True)
                if key is not None
            ]
            return
        running.counted = True
        may_be_unknown = all(rule.reads is not None for rule in self._reached(table, plan))
        limit = MANY_ROWS + 1 if may_be_unknown else None
        shape = Shape(table)
        if plan.set_here.isdisjoint(primary) and not plan.cascades and all(one.reads is not None for one in plan.rules):
            columns = {one for rule in plan.rules for one in rule.shape.columns}
            shape.wanted = frozenset(key for key, one in table.c.items() if one in columns)
        found = []
        for sent in sets:
            named = {name: sent[name] for name in _named(where) if name in sent}
            rows = rows_where(connection, table, shape, where, named, lock=True, limit=limit)
            found += [(row, sent) for row in rows]
        running.many = limit is not None and len(found) > MANY_ROWS
        running.found = [] if running.many else found

    def _before(
        self,
        connection: Connection,
        rule: Rule,
        set_here: frozenset[Column[Any]],
        found: Sequence[tuple[Known, Mapping[str, Any]]],
        table: Table,
    ) -> None:
        """Ask for rows before they change, and note what they become."""
        concerned = rule.concerns(set_here) is not None or not set_here
        for known, sent in found:
            stale, read = rule.ask(known, connection)
            if not concerned and not rule.reads_any(read, set_here):
                continue
            self.stale += stale
            if not set_here:  # it is deleted
                continue
            values = {column: value for column, value in known.values.items() if column not in set_here}
            values |= {column: sent[column.key] for column in set_here if column.key in sent}
            key = known.key if set_here.isdisjoint(table.primary_key.columns) else None
            self._after(connection, table, rule, Known(values, key))

    def _after(self, connection: Connection, table: Table, rule: Rule, known: Known) -> None:
        """Ask for a row as it has become: at the end, or at once if it cannot be found then."""
        if known.key is None:
            self.stale += rule.ask(known, connection)[0]
            return
        entries = self._entries[connection, table]
        entry = entries.get(known.key)
        if entry is None:
            entry = entries[known.key] = _Entry(known)
        elif known is not entry.known:
            entry.known.values = known.values
        entry.rules[rule] = None

    def _inserted(self, connection: Connection, execution: Execution, result: Any, plan: Plan, table: Table) -> None:
        statement = execution.invoked_statement
        rows = [] if statement.select is not None else _rows_sent(table, execution, result)
        for rule in plan.rules:
            if statement.select is not None:
                self._ask_unknown(rule, connection)
            for known in rows:
                self._after(connection, table, rule, known)
        if not (_is_upsert(statement) or statement._prefixes):  # noqa: SLF001  # such as OR REPLACE
            return
        target = _conflict_target(statement, table)
        for rule in plan.rules:
            for known in rows:
                same = Known({one: value for one, value in known.values.items() if one in target})
                self.stale += rule.ask(same, connection)[0]

    def _cascade(
        self,
        connection: Connection,
        table: Table,
        parents: Sequence[Known],
        event: str,
        set_here: frozenset[Column[Any]],
    ) -> None:
        """Look at the rows of other tables that the database deletes or updates with these."""
        waiting = [(table, parents, event, set_here)]
        seen: set[tuple[Table, frozenset[Column[Any]], tuple[Any, ...]]] = set()
        while waiting:
            table, parents, event, set_here = waiting.pop()
            for constraint, deletes in _children(table, event, set_here):
                child, written = constraint.table, frozenset[Column[Any]]() if deletes else _columns(constraint)
                rows = [
                    one
                    for one in _referring(connection, constraint, parents)
                    if (child, written, _identity(one)) not in seen
                ]
                seen |= {(child, written, _identity(one)) for one in rows}
                for rule in self._rules.get(child.fullname, ()):
                    if deletes or rule.concerns(written) is not False:
                        Batch(connection, child, rows, lock=True)
                        self._before(connection, rule, written, [(one, {}) for one in rows], child)
                if rows:
                    waiting.append((child, rows, "delete" if deletes else "update", written))

    def _reached(self, table: Table, plan: Plan) -> tuple[Rule, ...]:
        """The rules about rows of a table, and of those that the database changes with it."""
        if not plan.cascades:
            return plan.rules
        cascaded = {one.fullname for one in _cascaded(table, plan.kind, plan.set_here)}
        return tuple(dict.fromkeys([*plan.rules, *_all(self._rules, cascaded)]))

    def _ask_unknown(self, rule: Rule, connection: Connection) -> None:
        self.stale += rule.ask(Known({}), connection)[0]


def begin_in_sqlite(connection: Connection, kind: str) -> None:
    """Begin a transaction in SQLite, whose driver begins none for a SELECT or a SAVEPOINT.

    Without one, rows that were read could change before they are written, and the release of a savepoint would commit.
    """
    if _is_alone(connection) and not getattr(connection.connection.driver_connection, "in_transaction", True):
        connection.exec_driver_sql(f"BEGIN {kind}")


def _is_alone(connection: Connection) -> bool:
    """Whether no other transaction can write while this one does."""
    return connection.dialect.name == "sqlite"


def _key(
    where: ColumnElement[bool] | None, primary: Sequence[Column[Any]], sent: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """The values of the primary key that a condition asks for, if it names them all."""
    values = {}
    for one in _conjuncts(where):
        if isinstance(one, BinaryExpression) and one.operator is operators.eq:
            left, right = (one.left, one.right) if isinstance(one.right, BindParameter) else (one.right, one.left)
            if isinstance(right, BindParameter) and left in primary:
                values[left] = right.effective_value if right.unique else sent.get(right.key, right.effective_value)
    return tuple(values[one] for one in primary) if len(values) == len(primary) else None


def _conjuncts(where: Any) -> Iterator[ColumnElement[Any]]:
    if isinstance(where, BooleanClauseList) and where.operator is operators.and_:
        for one in where.clauses:
            yield from _conjuncts(one)
    elif where is not None:
        yield where


def _named(where: ColumnElement[Any] | None) -> Iterator[str]:
    """The parameters of a condition whose values are sent by name."""
    for one in visitors.iterate(where) if where is not None else ():
        if isinstance(one, BindParameter) and not one.unique:
            yield one.key


def _rows_sent(table: Table, execution: Execution, result: Any) -> list[Known]:
    """The rows of an INSERT, as far as their values were sent or told by the database."""
    sent = execution.compiled_parameters
    is_one = execution.invoked_statement._multi_values  # noqa: SLF001  # several rows in one VALUES
    several = max((_number(name) for name in sent[0]), default=0) if is_one else 0
    if several:
        named = [{one: _of_row(sent[0], one.key, number) for one in table.c} for number in range(several + 1)]
    else:
        named = [{one: _of_row(row, one.key, 0) for one in table.c} for row in sent]
    rows: list[Values] = [{one: value[0] for one, value in row.items() if value} for row in named]
    primary = tuple(table.primary_key.columns)
    for row, key in zip(rows, [] if several else _keys_told(result), strict=False):
        row |= {one: value for one, value in zip(primary, key or (), strict=False) if value is not None}
    found = []
    for row in rows:
        has_key = bool(primary) and all(one in row for one in primary)
        found.append(Known(row, tuple(row[one] for one in primary) if has_key else None))
    return found


def _keys_told(result: Any) -> Sequence[Any]:
    try:
        return result.inserted_primary_key_rows  # type: ignore[no-any-return]  # rows, or None for each
    except InvalidRequestError:  # RETURNING was asked for, whose rows are the caller's
        return ()


def _number(name: str) -> int:
    """N of `name_mN`, as SQLAlchemy names the values of the rows in one VALUES."""
    _, mark, number = name.rpartition("_m")
    return int(number) if mark and number.isdecimal() else 0


def _of_row(sent: Mapping[str, Any], key: str, number: int) -> tuple[Any, ...]:
    """The value of a column in one row, in a tuple; an empty one if it was not sent."""
    for name in (f"{key}_m{number}", *([] if number else [key])):
        if name in sent:
            return (sent[name],)
    return ()


def _is_upsert(statement: Any) -> bool:
    clause = statement._post_values_clause  # noqa: SLF001  # ON CONFLICT, ON DUPLICATE KEY
    return clause is not None and "nothing" not in type(clause).__name__.lower()


def _conflict_target(statement: Any, table: Table) -> frozenset[ColumnElement[Any]]:
    """The columns in which an upserted row equals the one that it replaces, if they are known."""
    clause = statement._post_values_clause  # noqa: SLF001  # as above
    target = getattr(clause, "inferred_target_elements", None) or ()
    names = {getattr(one, "key", one) for one in target}
    return frozenset(one for one in table.c if one.key in names or one.name in names)


def _cascaded(table: Table, kind: str, set_here: frozenset[Column[Any]]) -> set[Table]:
    """The tables whose rows the database deletes or updates with those of this one, which may be among them."""
    waiting = [(table, kind, set_here)]
    found: dict[tuple[Table, str, frozenset[Column[Any]]], None] = {}
    while waiting:
        for constraint, deletes in _children(*waiting.pop()):
            written = frozenset[Column[Any]]() if deletes else _columns(constraint)
            child = (constraint.table, "delete" if deletes else "update", written)
            if child not in found:
                found[child] = None
                waiting.append(child)
    return {one for one, _, _ in found}


def _identity(known: Known) -> tuple[Any, ...]:
    return known.key or tuple(known.values.values())


def _columns(constraint: ForeignKeyConstraint) -> frozenset[Column[Any]]:
    return frozenset(constraint.columns)


def _referring(connection: Connection, constraint: ForeignKeyConstraint, parents: Sequence[Known]) -> list[Known]:
    """The rows that refer to one of the parents, locked."""
    referred = [element.column for element in constraint.elements]
    values = {tuple(one.values.get(column) for column in referred) for one in parents}
    if not values:
        return []
    where = has_values(tuple(constraint.columns), list(values))
    return rows_where(connection, constraint.table, Shape(constraint.table), where, lock=True)


def _children(
    table: Table, event: str, set_here: frozenset[Column[Any]]
) -> Iterator[tuple[ForeignKeyConstraint, bool]]:
    """The foreign keys by which the database writes a table with this one, and whether it deletes rows of that."""
    if event == "insert":
        return
    for other in table.metadata.tables.values():
        for constraint in other.foreign_key_constraints:
            try:
                referred = [element.column for element in constraint.elements]
            except NoReferenceError:  # a table that is declared elsewhere, or nowhere
                continue
            if referred[0].table is not table or (event == "update" and set_here.isdisjoint(referred)):
                continue
            rule = ((constraint.ondelete if event == "delete" else constraint.onupdate) or "").upper()
            if rule.startswith(("CASCADE", "SET NULL", "SET DEFAULT")):
                yield constraint, event == "delete" and rule == "CASCADE"
