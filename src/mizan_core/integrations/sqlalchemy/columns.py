"""Columns of tables, and those that a database writes itself as a statement deletes or updates rows."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ForeignKey, Table
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.sql.expression import TableClause

ROWS = "*"


@dataclass(frozen=True, slots=True, order=True)
class TableColumn:
    """A column of a table; `name` is `ROWS` for which rows the table has."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"rows of {self.table}" if self.name == ROWS else f"{self.table}.{self.name}"


def with_cascades(table: TableClause, written: Iterable[TableColumn]) -> dict[TableColumn, str]:
    """What an UPDATE or a DELETE of a table writes, and what foreign keys of its metadata write in consequence.

    `written` has the table's `ROWS` for a DELETE. To each column its cascade in words, "" without one.
    """
    found = dict.fromkeys(written, "")
    if not isinstance(table, Table):
        return found
    foreign_keys = _foreign_keys(table)
    reached = deque(found)
    while reached:
        parent = reached.popleft()
        for key, referred in foreign_keys:
            child = _written_through(key, referred, parent)
            if child is not None and child[0] not in found:
                found[child[0]] = child[1]
                reached.append(child[0])
    return found


def rows_of(table: TableClause) -> TableColumn:
    """Which rows a table has."""
    return TableColumn(table.fullname, ROWS)


def _foreign_keys(table: Table) -> list[tuple[ForeignKey, TableColumn]]:
    """The foreign keys of the table's metadata, each with the column that it refers to."""
    found = []
    for other in table.metadata.tables.values():
        for key in other.foreign_keys:
            try:
                column = key.column
            except NoReferenceError:  # a table that is declared elsewhere, or nowhere
                continue
            found.append((key, TableColumn(column.table.fullname, column.name)))
    return found


def _written_through(key: ForeignKey, referred: TableColumn, parent: TableColumn) -> tuple[TableColumn, str] | None:
    """What a foreign key writes in its own table, and how, when `parent` is written."""
    own = TableColumn(key.parent.table.fullname, key.parent.name)
    if parent == TableColumn(referred.table, ROWS):
        event, rule = "DELETE", key.ondelete
    elif parent == referred:
        event, rule = "UPDATE", key.onupdate
    else:
        return None
    action = (rule or "").upper()
    if action == "CASCADE":
        written = TableColumn(own.table, ROWS) if event == "DELETE" else own
    elif action.startswith(("SET NULL", "SET DEFAULT")):
        written = own
    else:
        return None
    return written, f"{own} is ON {event} {action}"
