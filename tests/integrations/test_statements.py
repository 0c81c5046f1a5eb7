"""What statements read and write, by the columns that SQLAlchemy renders."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    alias,
    create_engine,
    delete,
    event,
    exists,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy import column as a_column
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import CompileError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, aliased, joinedload, load_only, selectinload
from sqlalchemy.sql.expression import ClauseElement, Executable

from mizan_core.integrations.sqlalchemy.columns import ROWS, TableColumn
from mizan_core.integrations.sqlalchemy.statements import (
    MAXIMUM_TEXT,
    Effects,
    Statements,
    changes_something,
    effects_of_text,
)

from .shop import Base, Customer, Diary, Line, Order

POSTGRESQL: Any = vars(psycopg)["PGDialect_psycopg"]()

TABLES = [one for name, one in Base.metadata.tables.items() if name != "diary"]
CASCADED = {
    "rows of customers": "",
    "rows of orders": "orders.customer_id is ON DELETE CASCADE",
    "rows of lines": "lines.order_id is ON DELETE CASCADE",
    "diary.customer_id": "diary.customer_id is ON DELETE SET NULL",
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine, tables=TABLES)
    with Session(engine) as session:
        session.add(Customer(id=1, name="Ada", orders=[Order(id=1)]))
        session.commit()
    yield engine
    engine.dispose()


class Seen:
    """What the statements of an engine did."""

    def __init__(self, engine: Engine) -> None:
        self.reads: set[str] = set()
        self.writes: dict[str, str] = {}
        self.opaque: list[str] = []
        self._statements = Statements()
        event.listen(engine, "before_cursor_execute", self._executing)

    def _executing(self, conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        effects = self._statements.effects_of(context.compiled, statement)
        self.reads |= set(map(str, effects.reads))
        self.writes |= {str(one): how for one, how in effects.writes.items()}
        self.opaque += effects.opaque


def effects_of(statement: Any, dialect: Any = None) -> Effects:
    compiled = statement.compile(dialect=dialect)
    return Statements().effects_of(compiled, compiled.string)


def reads(statement: Any) -> set[str]:
    return set(map(str, effects_of(statement).reads))


def writes(statement: Any, dialect: Any = None) -> dict[str, str]:
    return {str(one): how for one, how in effects_of(statement, dialect).writes.items()}


class TestReads:
    def test_entities_read_their_columns_without_deferred_ones(self) -> None:
        assert reads(select(Customer)) == {"rows of customers", "customers.id", "customers.name"}
        assert reads(select(Order).options(load_only(Order.status))) == {"rows of orders", "orders.id", "orders.status"}

    def test_conditions_and_order_are_read(self) -> None:
        query = select(Order.id).join(Customer).where(Customer.note == "").order_by(Order.status.desc())
        assert reads(query) == {
            *("rows of orders", "orders.id", "orders.customer_id", "orders.status"),
            *("rows of customers", "customers.id", "customers.note"),
        }

    def test_subqueries_and_ctes_read_their_own_columns(self) -> None:
        read = {"rows of customers", "customers.id", "customers.name"}
        inner = select(Customer.id, (Customer.name + "!").label("shown"))
        assert reads(select(inner.subquery().c.shown)) == read
        assert reads(select(inner.cte().c.id)) == read
        assert reads(select(inner.union_all(inner).subquery().c.shown)) == read

    def test_aliases_are_seen_through(self) -> None:
        read = {"rows of customers", "customers.name"}
        assert reads(select(aliased(Customer).name)) == read
        assert reads(select(alias(Customer.__table__, "c").c.name)) == read

    def test_a_count_reads_the_rows_alone(self) -> None:
        assert reads(select(func.count()).select_from(Order)) == {"rows of orders"}
        assert effects_of(select(func.count()).select_from(Order)).opaque == ()

    def test_exists_reads_its_conditions(self) -> None:
        query = select(Customer.id).where(exists().where(Order.customer_id == Customer.id))
        assert reads(query) == {"rows of customers", "customers.id", "rows of orders", "orders.customer_id"}
        assert effects_of(query).opaque == ()

    def test_light_tables_are_read_by_their_names(self) -> None:
        light = table("customers", a_column("name"))
        assert reads(select(light.c.name)) == {"rows of customers", "customers.name"}
        assert reads(select(a_column("name"))) == set()

    @pytest.mark.parametrize("options", [(joinedload(Customer.orders),), (selectinload(Customer.orders),), ()])
    def test_relationships_are_read_when_they_are_loaded(self, engine: Engine, options: Any) -> None:
        seen = Seen(engine)
        with Session(engine) as session:
            customer = session.scalars(select(Customer).options(*options)).unique().one()
            assert [order.status for order in customer.orders] == ["new"]
        assert {"orders.status", "rows of orders", "customers.name"} <= seen.reads
        assert "customers.note" not in seen.reads

    def test_a_deferred_column_is_read_when_it_is_loaded(self, engine: Engine) -> None:
        seen = Seen(engine)
        with Session(engine) as session:
            assert session.scalars(select(Customer)).one().note == ""
        assert "customers.note" in seen.reads


class TestWrites:
    def test_an_insert_writes_rows_and_cascades_nothing(self) -> None:
        assert writes(insert(Customer).values(name="Eve")) == {"rows of customers": ""}
        assert writes(insert(Diary).from_select(["text"], select(Customer.name))) == {"rows of diary": ""}

    def test_a_delete_cascades_through_foreign_keys(self) -> None:
        assert writes(delete(Customer)) == CASCADED
        assert writes(delete(Base.metadata.tables["customers"])) == CASCADED
        assert writes(delete(Line)) == {"rows of lines": ""}

    def test_an_update_writes_the_columns_that_it_sets(self) -> None:
        assert writes(update(Line).values(sku="x").where(Line.order_id == 1)) == {"lines.sku": ""}
        assert writes(update(Line).values({Line.sku: Line.sku + "x"})) == {"lines.sku": ""}
        assert writes(update(Line).ordered_values(("sku", "x"))) == {"lines.sku": ""}

    def test_an_update_writes_what_the_database_computes(self) -> None:
        assert writes(update(Order).values(status="paid")) == {"orders.status": "", "orders.changed_at": ""}
        assert writes(update(Customer).values(note="")) == {"customers.note": "", "customers.shout": ""}

    def test_an_update_of_a_key_cascades(self) -> None:
        assert writes(update(Customer).values(id=2)) == {
            "customers.id": "",
            "customers.shout": "",
            "orders.customer_id": "orders.customer_id is ON UPDATE CASCADE",
        }

    def test_an_update_of_several_tables_writes_the_columns_of_each(self) -> None:
        both = update(Line).values({Line.sku: "x", Order.status: "new"}).where(Line.order_id == Order.id)
        assert writes(both, MySQLDialect_pymysql()) == {"lines.sku": "", "orders.status": ""}

    def test_a_write_inside_of_a_query_is_seen(self) -> None:
        gone = delete(Line).where(Line.sku == "").returning(Line.id).cte()
        assert writes(select(gone.c.id), POSTGRESQL) == {"rows of lines": ""}

    def test_light_tables_are_written_by_their_names(self) -> None:
        light = table("lines", a_column("id"), a_column("sku"))
        assert writes(light.update().values(sku="x")) == {"lines.sku": ""}
        assert writes(light.delete()) == {"rows of lines": ""}

    def test_a_flush_writes_the_changed_columns_alone(self, engine: Engine) -> None:
        with Session(engine) as session:
            order = session.scalars(select(Order)).one()
            seen = Seen(engine)
            order.status = "paid"
            session.flush()
            assert seen.writes == {"orders.status": "", "orders.changed_at": ""}
            session.execute(update(Order), [{"id": 1, "status": "sent"}])
            assert seen.writes == {"orders.status": "", "orders.changed_at": ""}

    def test_a_deleted_object_cascades(self, engine: Engine) -> None:
        with Session(engine) as session:
            customer = session.scalars(select(Customer)).one()
            seen = Seen(engine)
            session.delete(customer)
            session.flush()
        assert seen.writes == CASCADED


class TestOpaque:
    def test_text_is_told_as_opaque(self) -> None:
        statement = text("SELECT name\nFROM  customers")
        opaque = ("SELECT name FROM customers",)
        assert effects_of(statement) == Effects(opaque=opaque)
        known = frozenset({TableColumn("customers", "name")})
        assert effects_of(statement.columns(Customer.name)) == Effects(reads=known, opaque=opaque)

    def test_text_inside_of_a_query_is_told_beside_its_columns(self) -> None:
        query = select(Customer.id, literal_column("name"), func.lower(text("note"))).where(text("age > 1"))
        found = effects_of(query)
        assert set(found.opaque) == {"name", "note", "age > 1"}
        assert set(map(str, found.reads)) == {"rows of customers", "customers.id"}

    def test_a_star_of_ones_own_is_opaque(self) -> None:
        assert effects_of(select(literal_column("*")).select_from(Customer)).opaque == ("*",)

    @pytest.mark.parametrize("harmless", ["1", "'a name'", "NULL", "-1.5"])
    def test_a_value_in_text_is_not_opaque(self, harmless: str) -> None:
        assert effects_of(select(literal_column(harmless), Customer.id)).opaque == ()

    def test_prefixes_are_not_opaque(self) -> None:
        statement = insert(Line).prefix_with("OR IGNORE").values(sku="x")
        assert effects_of(statement) == Effects(writes={TableColumn("lines", ROWS): ""})

    @pytest.mark.parametrize("harmless", ["BEGIN IMMEDIATE", " pragma foreign_keys = ON", "SAVEPOINT a", "set x = 1"])
    def test_transactions_and_settings_are_not_opaque(self, harmless: str) -> None:
        assert effects_of_text(harmless) == effects_of(text(harmless)) == Effects()

    def test_a_long_text_is_shortened(self) -> None:
        (told,) = effects_of_text(f"SELECT {'x' * MAXIMUM_TEXT}").opaque
        assert (len(told), told[-1]) == (MAXIMUM_TEXT, "…")

    def test_what_cannot_be_compiled_again_is_opaque(self) -> None:
        assert effects_of(Once()) == Effects(opaque=("VACUUM once",))

    def test_definitions_of_tables_have_no_effects(self, engine: Engine) -> None:
        seen = Seen(engine)
        Base.metadata.drop_all(engine, tables=TABLES)
        Base.metadata.create_all(engine, tables=TABLES)
        with engine.begin() as connection:
            connection.execute(text("PRAGMA user_version"))
        assert (seen.reads, seen.writes, seen.opaque) == (set(), {}, [])


class Once(Executable, ClauseElement):
    """A construct that compiles once."""

    inherit_cache = False
    has_compiled = False


@compiles(Once)
def _compile_once(element: Once, compiler: Any, **kw: Any) -> str:
    if element.has_compiled:
        raise CompileError
    element.has_compiled = True
    return "VACUUM once"


@pytest.mark.parametrize(
    ("statement", "may_change"),
    [
        ("UPDATE orders SET status = 'new'", True),
        ('WITH gone AS (DELETE FROM shop."orders" RETURNING id) SELECT * FROM gone', True),
        ("CALL close_month()", True),
        ("UPDATE reorders SET status = 'new'", False),
        ("SELECT * FROM orders FOR UPDATE", False),
        ("SELECT * FROM orders FOR NO KEY UPDATE", False),
    ],
)
def test_texts_that_may_write_a_table_are_told_apart(statement: str, may_change: bool) -> None:
    assert changes_something(statement, ["shop.orders"]) is may_change
