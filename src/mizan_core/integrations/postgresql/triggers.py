"""`Triggers`: which tables are which contexts, as SQL for the database and as a listener for the application."""

from collections.abc import Iterator

from ...errors import DeclarationError
from ...graph.model import Graph
from .connections import Conninfo, Mizan, engine_of, graph_of
from .identifiers import MAXIMUM_BYTES
from .listener import Listener
from .outbox import Outbox
from .sql import Delivery, Notification, drop_statement, table_statements
from .tables import Table, check_table


class Triggers:
    """Triggers that tell of every write to these tables, whichever program makes it.

    `channel`: of `NOTIFY`; applications that share a database need different ones. `outbox`: the triggers write to it,
    in the transaction itself, in place of a notification; its table has to be there before.
    """

    def __init__(
        self, mizan: Mizan | Graph, *tables: Table, channel: str = "mizan", outbox: Outbox | None = None
    ) -> None:
        if not 0 < len(channel.encode()) <= MAXIMUM_BYTES:
            raise DeclarationError(f"channel={channel!r} has to have 1 to {MAXIMUM_BYTES} bytes.")
        self._mizan = mizan
        graph = graph_of(mizan)
        self._tables = tuple(check_table(graph, one) for one in tables)
        self._channel = channel
        self._outbox = outbox
        self._delivery: Delivery = Notification(channel) if outbox is None else outbox.rows

    @property
    def contexts(self) -> tuple[str, ...]:
        """The names of the contexts that the tables are about."""
        return tuple(dict.fromkeys(rule.context for table in self._tables for rule in table.rules))

    def create(self) -> tuple[str, ...]:
        """Statements that make the triggers, in place of those that were made before. For one transaction."""
        return tuple(self._create())

    def drop(self) -> tuple[str, ...]:
        """Statements that drop all that `create` made, also for tables that are not declared any more."""
        return (drop_statement(self._channel),)

    def listener(self, conninfo: Conninfo) -> Listener:
        """Purges what the triggers notify of, in this process: `async with triggers.listener(url):`.

        `conninfo`: a URL such as `postgresql://user@host/name`, or a function that returns it.
        """
        if isinstance(self._mizan, Graph):
            raise DeclarationError("A listener purges: give Triggers a Mizan or an Engine in place of a graph.")
        if self._outbox is not None:
            raise DeclarationError("These triggers write to an outbox and notify nobody; use outbox.delivery(url).")
        return Listener(engine_of(self._mizan), self.contexts, conninfo, self._channel)

    def _create(self) -> Iterator[str]:
        yield from self.drop()
        for table in self._tables:
            yield from table_statements(table, self._channel, self._delivery)
