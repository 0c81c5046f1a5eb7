"""What a statement reads and writes, found by compiling it once more with a compiler that notes what it renders.

A compiled statement has taken its final form only inside of its compiler: entities have become columns, options and
inheritance have added joins. So what is rendered is what is read, no more and no less.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, Delete, FromClause, Insert, Update
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnClause, ColumnElement, TableClause
from sqlalchemy.sql.util import find_tables

from .columns import TableColumn, rows_of, with_cascades

logger = logging.getLogger("mizan")

# Statements in text that read and write no rows of tables.
_WITHOUT_ROWS = re.compile(
    r"\s*(begin|start|commit|end|rollback|savepoint|release|set|reset|show|pragma|use|listen|unlisten|discard)\b",
    re.IGNORECASE,
)

# Texts inside of a statement that name no column: numbers, strings, NULL.
_WITHOUT_COLUMNS = re.compile(r"\s*([-+]?[\d.]+|'[^']*'|null|true|false)?\s*", re.IGNORECASE)


# Statements in text that may write. What a function of the database writes cannot be told from its call.
_CHANGING = re.compile(r"\b(insert|update|delete|merge|replace|truncate|copy)\b", re.IGNORECASE)
_LOCKING = re.compile(r"\bfor\s+(no\s+key\s+)?update\b", re.IGNORECASE)
_CALLING = re.compile(r"\s*(call|do|exec|execute)\b", re.IGNORECASE)


def changes_something(statement: str, tables: Iterable[str]) -> bool:
    """Whether a text may write one of these tables."""
    if _CALLING.match(statement):
        return True
    if not _CHANGING.search(_LOCKING.sub("", statement)):
        return False
    return any(re.search(rf"\b{re.escape(one.rpartition('.')[2])}\b", statement, re.IGNORECASE) for one in tables)


@dataclass(frozen=True, slots=True)
class Effects:
    """The columns that a statement reads and writes, and texts in it that SQLAlchemy passes on without reading them.

    Each written column comes with the cascade that writes it, "" without one.
    """

    reads: frozenset[TableColumn] = frozenset()
    writes: Mapping[TableColumn, str] = field(default_factory=dict)
    opaque: tuple[str, ...] = ()


NO_EFFECTS = Effects()


def effects_of_text(statement: str) -> Effects:
    """The effects of what is sent to the driver as a text."""
    return NO_EFFECTS if _WITHOUT_ROWS.match(statement) else Effects(opaque=(one_line(statement),))


def one_line(statement: str) -> str:
    """A statement without its line breaks, shortened."""
    line = " ".join(statement.split())
    return line if len(line) <= MAXIMUM_TEXT else f"{line[: MAXIMUM_TEXT - 1]}…"


# Enough of a statement to find it in the code.
MAXIMUM_TEXT = 200


class Statements:
    """The effects of compiled statements. SQLAlchemy keeps what it has compiled, so each is looked at once."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Compiled, Effects] = WeakKeyDictionary()

    def effects_of(self, compiled: Compiled | None, statement: str) -> Effects:
        """The effects of a statement, of which only the text is known where it was not compiled.

        Those that define tables have none.
        """
        if compiled is None:
            return effects_of_text(statement)
        known = self._known.get(compiled)
        if known is None:
            known = self._known[compiled] = _compiled_again(compiled)
        return known


def _compiled_again(compiled: Compiled) -> Effects:
    if not isinstance(compiled, SQLCompiler) or compiled.statement is None:
        return NO_EFFECTS
    found = _Found()
    kind = type("NotingCompiler", (_Noting, type(compiled)), {"found": found})
    try:
        kind(
            compiled.dialect,
            compiled.statement,
            column_keys=compiled.column_keys,
            for_executemany=compiled.for_executemany,
        )
    except Exception:  # a construct of the developer's, which need not compile twice
        logger.debug("A statement could not be compiled again.", exc_info=True)
        return Effects(opaque=(one_line(str(compiled)),))
    return Effects(frozenset(found.reads), found.writes, tuple(found.opaque))


class _Found:
    """What a compiler has rendered so far."""

    def __init__(self) -> None:
        self.reads: set[TableColumn] = set()
        self.writes: dict[TableColumn, str] = {}
        self.opaque: dict[str, None] = {}
        self.star_is_rows = False  # within `count(*)` and `EXISTS (SELECT *)`, whose tables are noted separately
        self.in_prefixes = False  # such as `OR IGNORE`, which name no column

    def text(self, text: str) -> None:
        names_none = _WITHOUT_ROWS.match(text) or _WITHOUT_COLUMNS.fullmatch(text)
        if not (names_none or self.in_prefixes or (self.star_is_rows and text == "*")):
            self.opaque[one_line(text)] = None

    def column(self, column: ColumnClause[Any]) -> None:
        if column.is_literal:
            self.text(column.name)
        for base in column.base_columns:
            table = getattr(base, "table", None)
            if isinstance(base, ColumnClause) and isinstance(table, TableClause):
                self.reads.add(TableColumn(table.fullname, base.name))

    def write(self, table: TableClause, written: Iterable[TableColumn]) -> None:
        self.writes = with_cascades(table, written) | self.writes

    def insert_into(self, target: FromClause) -> None:
        self.writes = {rows_of(table): "" for table in find_tables(target)} | self.writes

    def delete_from(self, target: FromClause) -> None:
        for table in find_tables(target):
            self.write(table, [rows_of(table)])


def _columns_set(table: TableClause, keys: Iterable[str | ColumnElement[Any]]) -> Iterator[TableColumn]:
    """The columns that an UPDATE sets, by the keys of its values, and those of the table that follow every UPDATE."""
    for key in keys:
        column = table.c.get(key) if isinstance(key, str) else key
        if isinstance(column, ColumnClause) and isinstance(column.table, TableClause):
            yield TableColumn(column.table.fullname, column.name)
    for column in table.c:
        if isinstance(column, Column) and (column.onupdate or column.server_onupdate or column.computed) is not None:
            yield TableColumn(table.fullname, column.name)


@contextmanager
def _set(found: _Found, flag: str) -> Iterator[None]:
    """The flag is set inside."""
    before = getattr(found, flag)
    setattr(found, flag, True)
    try:
        yield
    finally:
        setattr(found, flag, before)


def _noting_text(method: str) -> Callable[..., Any]:
    """A method that notes the text of an element, and goes on as the compiler's own."""

    def visit(self: "_Noting", element: Any, *args: Any, **kw: Any) -> Any:
        self.found.text(element.text)
        return getattr(super(_Noting, self), method)(element, *args, **kw)

    return visit


class _Noting(SQLCompiler):
    """In front of a dialect's own compiler."""

    found: _Found

    visit_textclause = _noting_text("visit_textclause")
    visit_tstring_text = _noting_text("visit_tstring_text")

    def visit_table(self, table: TableClause, *args: Any, **kw: Any) -> str:
        self.found.reads.add(rows_of(table))
        return super().visit_table(table, *args, **kw)  # type: ignore[no-any-return, no-untyped-call]

    def visit_column(self, column: ColumnClause[Any], *args: Any, **kw: Any) -> str:
        self.found.column(column)
        return super().visit_column(column, *args, **kw)

    def visit_function(self, func: Any, *args: Any, **kw: Any) -> str:
        with _set(self.found, "star_is_rows"):
            return super().visit_function(func, *args, **kw)

    def visit_unary(self, unary: Any, *args: Any, **kw: Any) -> str:
        if unary.operator is not operators.exists:
            return super().visit_unary(unary, *args, **kw)  # type: ignore[no-any-return, no-untyped-call]
        with _set(self.found, "star_is_rows"):
            return super().visit_unary(unary, *args, **kw)  # type: ignore[no-any-return, no-untyped-call]

    def _generate_prefixes(self, *args: Any, **kw: Any) -> str:
        with _set(self.found, "in_prefixes"):
            return super()._generate_prefixes(*args, **kw)  # type: ignore[no-any-return, no-untyped-call]

    def visit_insert(self, insert_stmt: Insert, *args: Any, **kw: Any) -> str:
        self.found.insert_into(insert_stmt.table)
        return super().visit_insert(insert_stmt, *args, **kw)  # type: ignore[no-any-return, no-untyped-call]

    def visit_delete(self, delete_stmt: Delete, *args: Any, **kw: Any) -> str:
        self.found.delete_from(delete_stmt.table)
        return super().visit_delete(delete_stmt, *args, **kw)  # type: ignore[no-any-return, no-untyped-call]

    def visit_update(self, update_stmt: Update, *args: Any, **kw: Any) -> str:
        state: Any = update_stmt._compile_state_factory(update_stmt, self, **kw)  # noqa: SLF001  # the final form
        set_here = [*(state._dict_parameters or ()), *(self.column_keys or ())]  # noqa: SLF001
        for table in find_tables(state.statement.table):
            self.found.write(table, _columns_set(table, set_here))
        return super().visit_update(update_stmt, *args, **kw)
