"""The SQL of `mizan triggers`: pure functions from what was declared to statements.

For each table there are four triggers, each with a function of its own, for a transition table belongs to one kind of
statement. They run once for each statement, after it, and see its rows:

- INSERT and DELETE name the scopes of the new or the old rows; UPDATE those of both, for a row may have moved.
- UPDATE with `columns=` compares the old with the new rows as multisets of (key, parameters, columns), and leaves out
  what both have. Nothing else in a transition table tells which new row an old one has become.
- TRUNCATE has no rows: every context of the table is stale as a whole.

The values go out as JSON. A `char(n)` loses its padding, with which it would equal no argument. A `bytea` has no text
that the parameter's validator would read as the same bytes, so it goes out as an object, which narrows nothing.

A scope with a null for a parameter that cannot be null is the scope of no bundle, and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...graph.narrowing import MAXIMUM_ENTRIES
from .identifiers import dollar_quoted, literal, quoted, within_limit
from .payloads import payload
from .tables import CheckedTable, Rule

# A notification's payload has to be shorter than 8000 bytes.
MAXIMUM_PAYLOAD_BYTES = 7_999

_OLD, _NEW = "mizan_old", "mizan_new"

# The transition tables of each kind of statement, and how they are named in its trigger.
_EVENTS = {
    "insert": f"REFERENCING NEW TABLE AS {_NEW} ",
    "update": f"REFERENCING OLD TABLE AS {_OLD} NEW TABLE AS {_NEW} ",
    "delete": f"REFERENCING OLD TABLE AS {_OLD} ",
    "truncate": "",
}


class Delivery(Protocol):
    """The way in which triggers pass on a payload. `maximum_bytes`: of one payload; None for any number."""

    @property
    def maximum_bytes(self) -> int | None: ...

    @property
    def function_options(self) -> str:
        """Options of the triggers' functions."""
        ...

    def send(self, payload: str) -> str:
        """A query that sends the value of this expression, up to its FROM."""
        ...


@dataclass(frozen=True, slots=True)
class Notification:
    """By `NOTIFY`: heard by every listener that is connected when the transaction commits."""

    channel: str
    maximum_bytes: int | None = MAXIMUM_PAYLOAD_BYTES
    function_options: str = ""

    def send(self, payload: str) -> str:
        return f"PERFORM pg_notify({literal(self.channel)}, {payload})"


def mark(channel: str) -> str:
    """The comment on the functions of one set of triggers, by which they are found again."""
    return f"Made by `mizan triggers` for {channel}; made anew by it too."


def drop_statement(channel: str) -> str:
    """Drops every trigger that was made for this channel, also of tables that are not declared any more."""
    code = f"""DECLARE made regprocedure;
BEGIN
  FOR made IN
    SELECT objoid FROM pg_catalog.pg_description
    WHERE classoid = 'pg_catalog.pg_proc'::regclass AND description = {literal(mark(channel))}
  LOOP
    EXECUTE 'DROP FUNCTION ' || made || ' CASCADE';
  END LOOP;
END"""
    return f"DO {dollar_quoted(code)};"


def table_statements(table: CheckedTable, channel: str, delivery: Delivery) -> Iterator[str]:
    """Creates the triggers of one table."""
    if table.columns:  # a function that names a column that is not there would fail with the first write
        yield f"SELECT {', '.join(map(quoted, table.columns))} FROM {quoted(table.name)} LIMIT 0;"
    for event, referencing in _EVENTS.items():
        name = within_limit(f"mizan_{channel}_{table.name[-1]}_{event}")
        function = quoted((*table.name[:-1], name))
        body = "\n".join(_sent(rule, table, event, delivery) for rule in table.rules)
        code = dollar_quoted(f"BEGIN\n{body}\n  RETURN NULL;\nEND")
        yield f"""CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql{delivery.function_options}
SET search_path = pg_catalog, pg_temp SET IntervalStyle = iso_8601 AS {code};"""
        yield f"COMMENT ON FUNCTION {function}() IS {literal(mark(channel))};"
        yield (
            f"CREATE TRIGGER {quoted(name)} AFTER {event.upper()} ON {quoted(table.name)} {referencing}"
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}();"
        )


def _sent(rule: Rule, table: CheckedTable, event: str, delivery: Delivery) -> str:
    """The statement that sends what one rule says of one event."""
    whole = literal(payload(rule.context, rule.function, [{}]))
    if event == "truncate":
        return f"  {delivery.send(whole)};"
    rows = _rows(rule, table, event)
    if not rule.bindings:
        return f"  {delivery.send(whole)} WHERE EXISTS ({rows});"
    opening = literal(payload(rule.context, rule.function, []).removesuffix("]}"))
    full = f"{opening} || string_agg(scope::text, ', ') || ']}}'"
    limit = "" if delivery.maximum_bytes is None else f" OR octet_length({full}) > {delivery.maximum_bytes}"
    return f"""  {delivery.send("stale.payload")} FROM (
    SELECT CASE WHEN count(*) > {MAXIMUM_ENTRIES}{limit} THEN {whole} ELSE {full} END AS payload
    FROM (SELECT DISTINCT scope FROM ({rows}) AS written LIMIT {MAXIMUM_ENTRIES + 1}) AS scopes HAVING count(*) > 0
  ) AS stale;"""


def _rows(rule: Rule, table: CheckedTable, event: str) -> str:
    """A query of the scopes of the rows that count."""
    transitions = [one for one in (_OLD, _NEW) if one in _EVENTS[event]]
    if event != "update" or rule.columns is None:
        return " UNION ALL ".join(_scopes(rule, one) for one in transitions)
    compared = tuple(dict.fromkeys([*table.key, *(column for _, column in rule.bindings), *rule.columns]))
    old, new = (_scopes(rule, one, compared) for one in (_OLD, _NEW))
    return f"SELECT scope FROM (({old} EXCEPT ALL {new}) UNION ALL ({new} EXCEPT ALL {old})) AS changed"


def _scopes(rule: Rule, transition: str, compared: Sequence[str] = ()) -> str:
    pairs = [f"{literal(name)}, {_json(column)}" for name, column in rule.bindings]
    scope = f"jsonb_build_object({', '.join(pairs)}) AS scope"
    state = f", ROW({', '.join(map(_column, compared))})::text AS state" if compared else ""
    present = [f"{_column(column)} IS NOT NULL" for name, column in rule.bindings if name in rule.not_null]
    where = f" WHERE {' AND '.join(present)}" if present else ""
    return f"SELECT {scope}{state} FROM {transition} AS r{where}"


def _json(column: str) -> str:
    value = _column(column)
    return (
        f"CASE pg_typeof({value}) WHEN 'bpchar'::regtype THEN to_jsonb({value}::text) "
        f"WHEN 'bytea'::regtype THEN '{{}}' ELSE to_jsonb({value}) END"
    )


def _column(name: str) -> str:
    return f"r.{quoted(name)}"
