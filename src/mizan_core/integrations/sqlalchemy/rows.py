"""Rows as the functions of `Writes.on` see them, before and after a change.

A value that was neither sent nor read yet is read when a function asks for it, for all rows of the batch at once. One
that cannot be read, such as those of `INSERT ... SELECT`, is `UNKNOWN`: an invalidation that is narrowed by it is
not narrowed. Where a function may decide by such a value, it is asked for each one that the column can have.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from inspect import getattr_static
from typing import Any, NoReturn

import sqlalchemy
from sqlalchemy import Boolean, Column, Connection, Enum, Table, and_, or_, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.elements import ColumnElement

from ...errors import DeclarationError

# Databases bound the parameters of one statement, SQLite at 32,766.
_ROWS_PER_READ = 500

# For how many combinations of unknown values a function is asked at most.
_MAXIMUM_RUNS = 64

Values = dict[ColumnElement[Any], Any]


class Absent(Exception):  # no error: it ends the function that asks
    """There is no such row."""


class Unknown:
    """A value that is not known, and that nothing may be decided by."""

    __slots__ = ()

    def _undecided(self, *_: object) -> NoReturn:
        raise TypeError("The value is not known.")

    __bool__ = __eq__ = __ne__ = __str__ = __format__ = _undecided
    __hash__ = _undecided


UNKNOWN = Unknown()
_ANY = object()


class Known:
    """What is known of one row: values by column. `key`: of its primary key, if it can be read by that."""

    __slots__ = ("batch", "key", "values")

    def __init__(self, values: Values, key: tuple[Any, ...] | None = None) -> None:
        self.values = values
        self.key = key
        self.batch: Batch | None = None

    def value(self, columns: Sequence[ColumnElement[Any]], shape: "Shape") -> Any:
        """The value of one of these equivalent columns. Raises `Absent`."""
        while True:
            for column in columns:
                if column in self.values:
                    return self.values[column]
            if self.batch is None or self.key is None:
                return UNKNOWN
            self.batch.read(shape)


class Batch:
    """Rows of one table that are read together, and locked with `lock`."""

    def __init__(self, connection: Connection, table: Table, rows: Iterable[Known], *, lock: bool) -> None:
        self._connection = connection
        self._table = table
        self._rows = list(rows)
        self._lock = lock
        self._read: set[Shape] = set()
        for row in self._rows:
            row.batch = self

    def read(self, shape: "Shape") -> None:
        """Read what a shape has of these rows. Raises `Absent` if that was done: the row was not among them."""
        if shape in self._read:
            raise Absent
        self._read.add(shape)
        rows = [row for row in self._rows if row.key is not None]
        for start in range(0, len(rows), _ROWS_PER_READ):
            chunk = rows[start : start + _ROWS_PER_READ]
            found = {row.key: row for row in self._found(shape, chunk)}
            for row in chunk:
                # A key that was sent as another type, such as "5", is compared by the database.
                read = found.get(row.key) or next(iter(self._found(shape, [row])), None)
                if read is not None:
                    row.values = {**read.values, **row.values}

    def _found(self, shape: "Shape", rows: Sequence[Known]) -> list[Known]:
        primary = tuple(self._table.primary_key.columns)
        return rows_where(self._connection, self._table, shape, has_keys(primary, rows), lock=self._lock)


class Shape:
    """The values that a function may ask for: the attributes of a mapped class, or the columns of a table."""

    def __init__(self, model: Any) -> None:
        self.model = model
        inspected = sqlalchemy.inspect(model, raiseerr=False)
        if not isinstance(inspected, Mapper | Table):
            raise DeclarationError(f"writes.on({model!r}): it is neither a mapped class nor a table of SQLAlchemy.")
        self._inspected = inspected
        self.wanted: frozenset[str] | None = None  # the attributes that are worth reading; None for all

    @property
    def name(self) -> str:
        return self.model.fullname if isinstance(self.model, Table) else self.model.__name__

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Those that a row has its values from."""
        inspected = self._inspected
        tables = [inspected] if isinstance(inspected, Table) else inspected.tables
        return tuple(one for one in tables if isinstance(one, Table))

    @cached_property
    def selectable(self) -> Any:
        inspected = self._inspected
        return inspected if isinstance(inspected, Table) else inspected.persist_selectable

    @cached_property
    def attributes(self) -> Mapping[str, Sequence[ColumnElement[Any]]]:
        """By name: the columns that have the value, equivalent ones of joined tables included."""
        inspected = self._inspected
        if isinstance(inspected, Table):
            return {key: (column,) for key, column in inspected.c.items()}
        found: dict[str, Sequence[ColumnElement[Any]]] = {one.key: one.columns for one in inspected.column_attrs}
        for name, synonym in inspected.synonyms.items():
            if synonym.name in found:
                found[name] = found[synonym.name]
        return found

    @cached_property
    def kinds(self) -> tuple[ColumnElement[Any], frozenset[object]] | None:
        """The column that tells subclasses in one table apart, and its values for this class and those below it."""
        mapper = self._inspected
        if isinstance(mapper, Table) or mapper.inherits is None or not isinstance(mapper.polymorphic_on, Column):
            return None
        return mapper.polymorphic_on, frozenset(one.polymorphic_identity for one in mapper.self_and_descendants)

    @property
    def columns(self) -> Iterator[ColumnElement[Any]]:
        """The columns that are worth reading."""
        for name, columns in self.attributes.items():
            if self.wanted is None or name in self.wanted:
                yield from columns

    def columns_of(self, name: str) -> Sequence[ColumnElement[Any]]:
        """The columns of an attribute or a column of this name. Raises `DeclarationError`."""
        if name in self.attributes:
            return self.attributes[name]
        for columns in self.attributes.values():
            if any(getattr(column, "name", None) == name for column in columns):
                return columns
        known = ", ".join(self.attributes)
        raise DeclarationError(f"writes.on({self.name}): there is no column {name!r}; it has {known}.")


class Row:
    """The values of one row, as attributes. Properties and methods of its class work on them."""

    __slots__ = ("_asked",)

    def __init__(self, asked: "Asked") -> None:
        object.__setattr__(self, "_asked", asked)

    def __getattr__(self, name: str) -> Any:
        return self._asked.value(name, self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"The row that writes.on() hands on cannot be changed: .{name} was set.")

    def __repr__(self) -> str:
        return f"<row of {self._asked.shape.name}>"


class Asked:
    """One run of a function over one row. `assumed`: values that unknown attributes are taken to have."""

    def __init__(self, shape: Shape, known: Known, assumed: Mapping[str, Any]) -> None:
        self.shape = shape
        self.read: dict[str, None] = {}
        self.unknown: dict[str, Sequence[Any]] = {}
        self._known = known
        self._assumed = assumed

    def value(self, name: str, row: Row) -> Any:
        columns = self.shape.attributes.get(name)
        if columns is None:
            return self._of_class(name, row)
        self.read[name] = None
        value = self._known.value(columns, self.shape)
        if value is not UNKNOWN:
            return value
        choices = self.unknown[name] = _choices(columns[0])
        return self._assumed.get(name, choices[0])

    def _of_class(self, name: str, row: Row) -> Any:
        model = self.shape.model
        found = None if isinstance(model, Table) else getattr_static(model, name, None)
        if isinstance(found, property | hybrid_property) and found.fget is not None:
            return found.fget(row)
        if isinstance(found, types.FunctionType):
            return types.MethodType(found, row)
        if found is not None and not name.startswith("_") and not hasattr(found, "impl"):
            return getattr(model, name)
        raise AttributeError(
            f"The row of {self.shape.name} that writes.on() hands on has no {name!r}: it has values of columns. For "
            "rows of other tables, take a second parameter, the connection, and select with it."
        )


def rows_where(
    connection: Connection,
    table: Table,
    shape: Shape,
    where: ColumnElement[bool] | None,
    parameters: Mapping[str, object] | None = None,
    *,
    lock: bool,
    limit: int | None = None,
) -> list[Known]:
    """The rows of a table that a condition holds for, with the values of a shape."""
    primary = tuple(table.primary_key.columns)
    columns = tuple(dict.fromkeys([*primary, *shape.columns]))
    statement = select(*[one.label(f"c{number}") for number, one in enumerate(columns)])
    statement = statement.select_from(shape.selectable)
    if where is not None:
        statement = statement.where(where)
    if lock:
        statement = statement.with_for_update(of=table)
    found = []
    for row in connection.execute(statement.limit(limit), dict(parameters or {})):
        values = dict(zip(columns, row, strict=True))
        found.append(Known(values, tuple(values[one] for one in primary) or None))
    return found


def has_keys(columns: Sequence[ColumnElement[Any]], rows: Iterable[Known]) -> ColumnElement[bool]:
    """Whether these columns have the key of one of the rows."""
    return has_values(columns, [row.key for row in rows if row.key is not None])


def has_values(columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Whether these columns have one of these combinations of values."""
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return or_(*(and_(*(column == value for column, value in zip(columns, key, strict=True))) for key in keys))


def asked_for(
    shape: Shape, known: Known, run: Callable[[Row], Iterable[Any]]
) -> Iterator[tuple[Asked, Iterable[Any] | Exception]]:
    """Run a function over a row, once for each combination of what may be in it. Yields nothing where it is absent."""
    if shape.kinds is not None and known.values.get(shape.kinds[0], _ANY) not in {*shape.kinds[1], _ANY}:
        return
    waiting: list[dict[str, Any]] = [{}]
    for _ in range(_MAXIMUM_RUNS):
        if not waiting:
            return
        assumed = waiting.pop()
        asked = Asked(shape, known, assumed)
        answer: Iterable[Any] | Exception
        try:
            answer = run(Row(asked))
        except Absent:
            return
        except Exception as error:  # noqa: BLE001  # the developer's function; the caller raises it
            answer = error
        yield asked, answer
        fixed = dict(assumed)
        for name, choices in asked.unknown.items():
            if name not in assumed:
                waiting += [{**fixed, name: other} for other in choices[1:]]
                fixed[name] = choices[0]
    yield asked, TypeError("It decides by too many values that are not known.")


def _choices(column: ColumnElement[Any]) -> Sequence[Any]:
    """What an unknown value is taken to be, one after the other."""
    kind = column.type
    choices: list[Any] = [UNKNOWN]
    if isinstance(kind, Boolean):
        choices = [True, False]
    elif isinstance(kind, Enum):
        choices = list(kind.enum_class if kind.enum_class is not None else kind.enums)
    return [*choices, None] if getattr(column, "nullable", True) else choices
