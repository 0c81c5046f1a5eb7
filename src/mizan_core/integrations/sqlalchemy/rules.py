"""`Writes.on`: whose changes a function is asked for, and what it answers."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from sqlalchemy import Column, Connection
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from ...engine.hosts.changing import Affected
from ...errors import DeclarationError
from ...graph.declare import Context
from ...protocol.invalidation import Invalidation
from .rows import UNKNOWN, Asked, Known, Row, Shape, asked_for

# A row of which nothing is known.
_NOTHING = Known({})


class Rule:
    """A function of the developer's, with the class or table whose rows it is asked about.

    `columns`: the names of those whose changes count, or None for all.
    """

    def __init__(self, shape: Shape, columns: tuple[str, ...] | None, function: Callable[..., Any]) -> None:
        self.shape = shape
        self.function = function
        self._names = columns
        self._takes_connection = _takes_connection(shape, function)

    @cached_property
    def columns(self) -> frozenset[ColumnElement[Any]] | None:
        if self._names is None:
            return None
        return frozenset(one for name in self._names for one in self.shape.columns_of(name))

    @cached_property
    def reads(self) -> frozenset[str] | None:
        """The attributes that it reads of any row; None if that depends on their values."""
        found: set[str] = set()
        for asked, answer in self._runs(_NOTHING, None):
            if isinstance(answer, Exception):
                return None
            found.update(asked.read)
        self.shape.wanted = reads = frozenset(found)
        return reads

    def concerns(self, changed: frozenset[Column[Any]]) -> bool | None:
        """Whether a change of these columns counts; None if only the answer to a row can tell."""
        if self.columns is None or not self.columns.isdisjoint(changed):
            return True
        if self.reads is None:
            return None
        return self.reads_any(self.reads, changed)

    def reads_any(self, names: Iterable[str], changed: frozenset[Column[Any]]) -> bool:
        return any(one in changed for name in names for one in self.shape.attributes.get(name, ()))

    def ask(self, known: Known, connection: Connection) -> tuple[list[Affected], frozenset[str]]:
        """What is stale where this row changes, and the attributes that the function read to tell.

        Raises the function's error; a `DeclarationError` where it decides by a value that is not known.
        """
        stale: list[Affected] = []
        read: set[str] = set()
        for asked, answer in self._runs(known, connection):
            read.update(asked.read)
            if isinstance(answer, Exception):
                if not asked.unknown:
                    raise answer
                raise DeclarationError(self._undecided(asked)) from answer
            stale += answer
        return stale, frozenset(read)

    def _runs(self, known: Known, connection: Connection | None) -> Iterator[tuple[Asked, Any]]:
        def run(row: Row) -> list[Affected]:
            answer = self.function(row, _Selecting(connection)) if self._takes_connection else self.function(row)
            return [_widened(one) for one in _each(answer)]

        return asked_for(self.shape, known, run)

    def _undecided(self, asked: Asked) -> str:
        names = ", ".join(asked.unknown)
        return (
            f"writes.on({self.shape.name}): {self.function.__name__} decides by {names}, which Mizan cannot read of "
            "rows that come from a SELECT, of upserts, of bulk inserts without primary keys, and of rows that another "
            "transaction wrote meanwhile (try again). Write such rows one by one by the session, or let the function "
            "name a context without deciding."
        )


class _Selecting:
    """The connection of a function that selects. What is looked up by an unknown value is not known either."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection

    def scalar(self, statement: Any, *args: Any, **options: Any) -> Any:
        for one in visitors.iterate(statement):
            if isinstance(one, BindParameter) and one.value is UNKNOWN:
                return UNKNOWN
        return self.__getattr__("scalar")(statement, *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _takes_connection(shape: Shape, function: Callable[..., Any]) -> bool:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(
            f"writes.on({shape.name}): {function.__name__} is async; it is asked within a flush, so write it with def. "
            "As its second parameter it gets a connection to select with."
        )
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        one
        for one in inspect.signature(function).parameters.values()
        if one.kind in kinds and one.default is inspect.Parameter.empty
    ]
    if len(required) not in {1, 2}:
        raise DeclarationError(
            f"writes.on({shape.name}): {function.__name__} takes {len(required)} parameters; it has to take the row, "
            "and the connection if it selects."
        )
    return len(required) == 2


def _each(answer: Any) -> Iterable[Affected]:
    if answer is None:
        return ()
    if isinstance(answer, Context | Invalidation | str) or callable(answer):
        return (answer,)
    return answer  # type: ignore[no-any-return]  # an iterable, by the function's declaration


def _widened(affected: Affected) -> Affected:
    """An invalidation without the parameters that are not known."""
    if not isinstance(affected, Invalidation):
        return affected
    params = {name: value for name, value in affected.params.items() if not _has_unknown(value)}
    return (
        affected if len(params) == len(affected.params) else Invalidation(affected.context, params, affected.function)
    )


def _has_unknown(value: object) -> bool:
    return value is UNKNOWN or (isinstance(value, list | tuple | set) and any(one is UNKNOWN for one in value))
