"""What the user declares: which contexts the rows of a table are about, and by which columns they are narrowed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...errors import DeclarationError
from ...graph.declare import Context
from ...graph.defects import nearest
from ...graph.model import ContextPlan, Graph
from ...graph.narrowing import named
from .identifiers import Name, check_column, split_name

Columns: TypeAlias = str | Iterable[str]
By: TypeAlias = str | Iterable[str] | Mapping[str, str]
Affected: TypeAlias = Context | str | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Purge:
    """A context, or a reader, that is stale when a row of the table is written.

    `by`: the parameters that narrow it and have the name of a column; a mapping of parameters to columns where the
    names differ: `by={"customer_id": "id"}`. Without it, the whole context is stale. `columns`: an UPDATE counts only
    where it changes one of these, or one of `by`; without it, each counts.
    """

    affected: Affected
    by: By = ()
    columns: Columns = ()


class Table:
    """A table and what its rows are about. `Table("orders", Purge(Orders, by="customer_id"), Report)`.

    `name`: as PostgreSQL spells it, without quotes, after its schema and a dot if it is not in the search path; a pair
    `("schema", "name")` where a name has a dot in it. `key`: the columns that tell rows apart, for `columns=`.
    """

    __slots__ = ("key", "name", "purges")

    def __init__(self, name: str | tuple[str, str], *purges: Purge | Affected, key: Columns = "id") -> None:
        self.name: Name = split_name("table", name)
        self.purges = tuple(one if isinstance(one, Purge) else Purge(one) for one in purges)
        self.key = _columns(key)
        if not purges:
            raise DeclarationError(f"Table({name!r}) names no context; write Table({name!r}, Orders).")


@dataclass(frozen=True, slots=True)
class Rule:
    """One `Purge`, checked. `bindings`: for each parameter its column. `not_null`: parameters that have no null.

    `columns`: None where each UPDATE counts.
    """

    context: str
    function: str | None
    bindings: tuple[tuple[str, str], ...]
    not_null: frozenset[str]
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """One `Table`, checked."""

    name: Name
    key: tuple[str, ...]
    rules: tuple[Rule, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that triggers read, in order and without repeats."""
        found: dict[str, None] = {}
        for rule in self.rules:
            found |= dict.fromkeys(column for _, column in rule.bindings)
            if rule.columns is not None:
                found |= dict.fromkeys((*self.key, *rule.columns))
        return tuple(found)


def check_table(graph: Graph, table: Table) -> CheckedTable:
    """The table with its contexts and parameters found in the graph. Raises `DeclarationError`."""
    return CheckedTable(table.name, table.key, tuple(_rule(graph, table, one) for one in table.purges))


def _rule(graph: Graph, table: Table, purge: Purge) -> Rule:
    where = f"Table({'.'.join(table.name)!r})"
    [found] = named(graph, purge.affected, {})
    plan = graph.contexts[found.context]
    by = purge.by if isinstance(purge.by, Mapping) else {one: one for one in _columns(purge.by)}
    for name in by:
        _check_parameter(where, plan, name)
    bindings = tuple(sorted((name, check_column(column)) for name, column in by.items()))
    not_null = frozenset(name for name in by if plan.parameters[name].kinds.own.isdisjoint({"null", "any"}))
    return Rule(found.context, found.function, bindings, not_null, _columns(purge.columns) or None)


def _columns(given: Columns) -> tuple[str, ...]:
    return tuple(map(check_column, (given,) if isinstance(given, str) else given))


def _check_parameter(where: str, plan: ContextPlan, name: str) -> None:
    if name not in plan.parameters:
        known = ", ".join(plan.parameters) or "none at all"
        hint = nearest(name, plan.parameters) or "."
        raise DeclarationError(
            f"{where}: context {plan.name!r} has no parameter {name!r} to narrow by; it has {known}{hint}"
        )
