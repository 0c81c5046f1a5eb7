"""What a function of `writes.on` is given and may answer: inheritance, unknown values, cascades, wrong declarations."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
    synonym,
)

from mizan_core import Context, DeclarationError, Invalidation, build, client
from mizan_core import Engine as MizanEngine
from mizan_core.integrations.sqlalchemy import Writes
from mizan_core.integrations.sqlalchemy import changes as changes_module
from mizan_core.integrations.sqlalchemy.statements import Statements

from .blog import Article, Purged, Status, Tag, User, enforce_foreign_keys, tagged
from .blog import Base as BlogBase

Things, People = Context("things"), Context("people")


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    team: Mapped[int] = mapped_column(default=1)
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Engineer(Person):
    __tablename__ = "engineers"

    id: Mapped[int] = mapped_column(ForeignKey("people.id"), primary_key=True)
    machine: Mapped[int]
    __mapper_args__: ClassVar = {"polymorphic_identity": "engineer"}


class Clerk(Person):
    desk: Mapped[int | None]
    __mapper_args__: ClassVar = {"polymorphic_identity": "clerk"}


class Thing(Base):
    __tablename__ = "things"

    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    c: Mapped[int | None]
    parent: Mapped[int | None]

    half = column_property(literal_column("a / 2", Integer))

    @property
    def pair(self) -> str:
        return f"{self.a}-{self.b}"

    @hybrid_property
    def total(self) -> int:
        return self.a + self.b

    def tripled(self) -> int:
        return 3 * self.a

    limit = 12


class Renamed(Base):
    __tablename__ = "renamed"

    id: Mapped[int] = mapped_column(primary_key=True)
    outer: Mapped[int] = mapped_column("inner")
    things: Mapped[list["Link"]] = relationship(foreign_keys="Link.renamed_id")
    links = synonym("things")


class Link(Base):
    __tablename__ = "links"

    id: Mapped[int] = mapped_column(primary_key=True)
    renamed_id: Mapped[int] = mapped_column(ForeignKey("renamed.id", ondelete="CASCADE"))
    other_id: Mapped[int | None] = mapped_column(ForeignKey("renamed.id"))


class Node(Base):
    __tablename__ = "nodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"))


loose = Table("loose", Base.metadata, Column("owner", Integer), Column("value", Integer))


@client(context=Things)
async def thing(a: int) -> int:
    return a


@client(context=Things)
async def things() -> int:
    return 1


@client(context=People)
async def person(team: int) -> int:
    return team


class World:
    def __init__(self, metadata: Any) -> None:
        self.database = create_engine("sqlite://")
        event.listen(self.database, "connect", enforce_foreign_keys)
        metadata.create_all(self.database)
        self.sessions = sessionmaker(self.database)
        self.mizan = MizanEngine(build([thing, things, person]))
        self.writes = Writes(self.mizan)
        self.purged = Purged()

    def listen(self) -> None:
        self.mizan.observe(self.purged)
        self.writes.attach(self.sessions)

    def run(self, *statements: Any) -> set[str]:
        """What these statements purge; each comes alone or with what it is sent."""
        with self.sessions.begin() as session:
            for one in statements:
                session.execute(*one) if isinstance(one, tuple) else session.execute(one)
        return self.purged.take()


@pytest.fixture
def world() -> Iterator[World]:
    yield from opened(Base.metadata)


@pytest.fixture
def blog() -> Iterator[World]:
    yield from opened(BlogBase.metadata)


def opened(metadata: Any) -> Iterator[World]:
    made = World(metadata)
    yield made
    made.writes.close()
    made.mizan.blocking.close()
    made.database.dispose()


flags = Table(
    "flags", BlogBase.metadata, Column("id", Integer, primary_key=True), *(Column(f"f{n}", Boolean) for n in range(7))
)


def named_a(row: Thing) -> Invalidation:
    return Things.of(a=row.a)


class TestRows:
    def test_a_row_has_properties_methods_and_constants_of_its_class(self, world: World) -> None:
        seen = []

        @world.writes.on(Thing)
        def look(row: Thing) -> None:
            seen.append((row.pair, row.total, row.tripled(), row.limit, repr(row)))
            with pytest.raises(AttributeError, match="cannot be changed"):
                row.a = 5

        world.listen()
        world.run(insert(Thing).values(a=1, b=2, c=3))
        assert seen[-1] == ("1-2", 3, 3, 12, "<row of Thing>")

    def test_expressions_are_read(self, world: World) -> None:
        seen = []
        world.writes.on(Thing)(lambda row: seen.append(row.half))
        world.listen()
        world.run(insert(Thing).values(a=4, b=2), delete(Thing))
        assert seen[-1] == 2

    def test_a_relationship_is_refused_with_the_remedy(self, blog: World) -> None:
        @blog.writes.on(User)
        def look(row: User) -> Invalidation:
            return Things.of(a=len(row.articles))

        blog.listen()
        with pytest.raises(AttributeError, match="take a second parameter"):
            blog.run(insert(User).values(id=1, name="Ada"))

    def test_a_synonym_is_the_attribute(self, blog: World) -> None:
        blog.writes.on(Article)(lambda row: Things.of(a=row.writer))
        blog.listen()
        blog.run(insert(User).values(id=7, name="Ada"))
        assert blog.run(insert(Article).values(id=1, author_id=7)) == {"things;a=7"}

    def test_composite_keys_are_read_in_one_go(self, world: World) -> None:
        world.writes.on(Thing)(lambda row: Things.of(a=row.c))
        world.listen()
        rows = [{"a": number, "b": 1, "c": 10 + number} for number in range(3)]
        world.run((insert(Thing), rows))
        statement = Thing.__table__.delete().where(Thing.a == bindparam("x"), Thing.b == bindparam("y"))
        assert world.run((statement, [{"x": 0, "y": 1}, {"x": 2, "y": 1}])) == {"things;a=10", "things;a=12"}

    def test_a_key_of_another_type_is_found(self, world: World) -> None:
        world.writes.on(Thing)(lambda row: Things.of(a=row.c))
        world.listen()
        world.run(insert(Thing).values(a=1, b=1, c=5))
        statement = Thing.__table__.delete().where(Thing.a == bindparam("x", type_=None), Thing.b == 1)
        assert world.run((statement, {"x": "1"})) == {"things;a=5"}

    def test_an_absent_row_purges_nothing(self, world: World) -> None:
        world.writes.on(Thing)(lambda row: Things.of(a=row.c))
        world.listen()
        assert world.run(delete(Thing).where(Thing.a == 1, Thing.b == 1)) == set()

    def test_a_changed_key_purges_both(self, world: World) -> None:
        world.writes.on(Thing)(named_a)
        world.listen()
        world.run(insert(Thing).values(a=1, b=1))
        assert world.run(update(Thing).where(Thing.a == 1, Thing.b == 1).values(a=2)) == {"things;a=1", "things;a=2"}
        assert world.run(update(Thing).where(Thing.b == 1).values(a=Thing.a + 1)) == {"things"}

    def test_tables_without_keys_are_read_by_their_conditions(self, world: World) -> None:
        world.writes.on(loose)(lambda row: Things.of(a=row.owner))
        world.listen()
        assert world.run((insert(loose), [{"owner": 1, "value": 1}, {"owner": 2, "value": 2}])) == {
            "things;a=1",
            "things;a=2",
        }
        assert world.run(loose.update().where(loose.c.value == 1).values(owner=5)) == {"things;a=1", "things;a=5"}
        statement = loose.delete().where(loose.c.owner == bindparam("one"))
        assert world.run((statement, [{"one": 5}, {"one": 2}])) == {"things;a=5", "things;a=2"}

    def test_a_row_written_twice_has_its_last_values(self, world: World) -> None:
        world.writes.on(Thing)(lambda row: Things.of(a=row.c))
        world.listen()
        first = insert(Thing).values(a=1, b=1, c=5)
        assert world.run(first, update(Thing).where(Thing.c == 5).values(c=6)) == {"things;a=5", "things;a=6"}

    def test_rows_of_several_batches_are_all_noted(self, world: World) -> None:
        world.writes.on(loose)(lambda row: Things.of(a=row.owner))
        world.listen()
        statement = insert(loose).returning(loose.c.owner).execution_options(insertmanyvalues_page_size=2)
        sent = [{"owner": number, "value": 1} for number in range(5)]
        assert world.run((statement, sent)) == {f"things;a={number}" for number in range(5)}

    def test_keys_that_are_returned_to_the_caller_widen(self, blog: World) -> None:
        blog.writes.on(User)(lambda row: Things.of(a=row.id))
        blog.listen()
        table = User.__table__
        assert blog.run(insert(table).values(name="Ada").returning(table.c.id)) == {"things"}

    def test_columns_are_named_as_attributes_or_as_in_the_database(self, world: World) -> None:
        world.writes.on(Renamed, columns=("inner",))(lambda row: Things.of(a=row.outer))
        world.writes.on(Renamed, columns=(Renamed.outer,))(lambda row: Things.of(a=row.outer + 10))
        world.listen()
        assert world.run(insert(Renamed).values(id=1, outer=2)) == {"things;a=2", "things;a=12"}
        assert world.run(update(Renamed).values(outer=3)) == {f"things;a={one}" for one in (2, 3, 12, 13)}


class TestUnknown:
    def test_nullable_and_boolean_and_enum_values_are_all_assumed(self, blog: World) -> None:
        seen = []

        @blog.writes.on(Article)
        def look(row: Article) -> Invalidation | None:
            if row.editor_id is None:
                return Things.of(a=1)
            seen.append((row.status, row.pinned))
            return Things.of(a=2) if row.pinned else None

        blog.listen()
        copied = select(Article.author_id, Article.title, Article.status, Article.pinned)
        statement = insert(Article).from_select(["author_id", "title", "status", "pinned"], copied)
        assert blog.run(statement) == {"things;a=1", "things;a=2"}
        assert set(seen) == {(status, pinned) for status in Status for pinned in (True, False)}

    def test_to_decide_by_what_is_not_known_fails_the_statement(self, world: World) -> None:
        @world.writes.on(Thing)
        def look(row: Thing) -> Invalidation | None:
            return Things.of(a=1) if f"{row.a}" else None

        world.listen()
        with pytest.raises(DeclarationError, match="decides by a"):
            world.run(insert(Thing).from_select(["a", "b"], select(Thing.a, Thing.b)))
        with world.sessions() as session:
            with pytest.raises(DeclarationError):
                session.execute(insert(Thing).from_select(["a", "b"], select(Thing.a, Thing.b)))
            with pytest.raises(DeclarationError):
                session.commit()  # though its error was caught

    def test_too_many_possibilities_fail_the_statement(self, blog: World) -> None:
        @blog.writes.on(flags)
        def look(row: Any) -> list[Invalidation]:
            return [Things.of(a=sum(bool(getattr(row, f"f{number}")) for number in range(7)))]

        blog.listen()
        with pytest.raises(DeclarationError, match="decides by f0, f1"):
            blog.run(insert(flags).from_select(["id"], select(flags.c.id)))

    def test_too_many_rows_purge_what_they_have_in_common(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes_module, "MANY_ROWS", 3)
        world.writes.on(Thing)(named_a)
        world.listen()
        rows = [{"a": number, "b": 1} for number in range(4)]
        assert world.run((insert(Thing), rows)) == {f"things;a={number}" for number in range(4)}
        assert world.run(update(Thing).where(Thing.a < 3).values(c=1)) == {f"things;a={number}" for number in range(3)}
        assert world.run(update(Thing).values(c=2)) == {"things"}
        assert world.run(delete(Thing)) == {"things"}

    def test_statements_within_statements_purge_whole_contexts(self, world: World) -> None:
        plans = []
        world.writes.on(Thing)(named_a)
        rule = world.writes._rules[0]
        inner = insert(Thing.__table__).values(a=1, b=1).returning(Thing.a).cte("inner_one")
        statement = select(inner.c.a)
        compiled = statement.compile(dialect=postgresql.dialect())
        effects = Statements().effects_of(compiled, str(compiled))
        plans.append(changes_module.plan_of(compiled, effects, {"things": [rule]}))
        assert [(one.kind, one.rules, one.elsewhere) for one in plans if one] == [("", (), (rule,))]


class TestInheritance:
    def test_joined_tables_are_one_row(self, world: World) -> None:
        world.writes.on(Engineer)(lambda row: [Things.of(a=row.machine), People.of(team=row.team)])
        world.listen()
        with world.sessions.begin() as session:
            session.add_all([Engineer(id=1, machine=4, team=2), Person(id=2, team=9), Clerk(id=3, team=8)])
        assert world.purged.take() == {"things;a=4", "people;team=2"}
        with world.sessions.begin() as session:
            session.get_one(Engineer, 1).team = 3
        assert world.purged.take() == {"things;a=4", "people;team=2", "people;team=3"}
        with world.sessions.begin() as session:
            session.get_one(Person, 2).team = 4
            session.get_one(Engineer, 1).machine = 5
        assert world.purged.take() == {"things;a=4", "things;a=5", "people;team=3"}
        with world.sessions.begin() as session:
            session.delete(session.get_one(Person, 1))
        assert world.purged.take() == {"things;a=5", "people;team=3"}

    def test_subclasses_in_one_table_are_told_apart(self, world: World) -> None:
        world.writes.on(Clerk)(lambda row: Things.of(a=row.desk))
        world.writes.on(Person)(lambda row: People.of(team=row.team))
        world.listen()
        with world.sessions.begin() as session:
            session.add_all([Person(id=2, team=9), Clerk(id=3, team=8, desk=1)])
        assert world.purged.take() == {"things;a=1", "people;team=9", "people;team=8"}


class TestCascades:
    def test_keys_that_are_set_null_or_follow_are_purged(self, blog: World) -> None:
        blog.writes.on(Article, columns=("editor_id",))(lambda row: Things.of(a=row.editor_id))
        blog.writes.on(tagged)(lambda row: Things.of(a=row.article_id))
        blog.listen()
        blog.run((insert(User), [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Ben"}]), insert(Tag).values(name="red"))
        blog.run(
            insert(Article).values(id=5, author_id=1, editor_id=2), insert(tagged).values(article_id=5, tag_name="red")
        )
        assert blog.run(update(Tag).where(Tag.name == "red").values(name="blue")) == {"things;a=5"}
        assert blog.run(delete(User).where(User.id == 2)) == {"things"}
        assert blog.run(delete(User).where(User.name == "Ada")) == {"things"}

    def test_only_rows_that_refer_to_the_deleted_ones_are_purged(self, world: World) -> None:
        world.writes.on(Link)(lambda row: Things.of(a=row.renamed_id))
        world.listen()
        world.run((insert(Renamed), [{"id": 1, "outer": 1}, {"id": 2, "outer": 2}]))
        world.run((insert(Link), [{"renamed_id": 1}, {"renamed_id": 2}, {"renamed_id": 2}]))
        assert world.run(delete(Renamed).where(Renamed.outer > 5)) == set()
        assert world.run(delete(Renamed).where(Renamed.outer == 2)) == {"things;a=2"}

    def test_tables_that_are_declared_nowhere_are_passed_over(self, world: World) -> None:
        metadata = MetaData()
        parents = Table("parents", metadata, Column("id", Integer, primary_key=True))
        ways = {"ondelete": "CASCADE"}
        Table("astray", metadata, Column("id", Integer, ForeignKey("nowhere.id", **ways), primary_key=True))
        found = Table("found", metadata, Column("id", Integer, ForeignKey("parents.id", **ways), primary_key=True))
        metadata.create_all(world.database, tables=[parents, found])
        world.writes.on(found)(lambda row: Things.of(a=row.id))
        world.listen()
        world.run(insert(parents).values(id=1), insert(found).values(id=1))
        assert world.run(delete(parents)) == {"things;a=1"}

    def test_a_tree_is_purged_down_to_its_leaves(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.writes.on(Node)(lambda row: Things.of(a=row.id))
        world.listen()
        rows = [{"id": one, "parent_id": parent} for one, parent in ((1, None), (2, 1), (3, 2), (4, None), (5, 4))]
        world.run((insert(Node), rows))
        assert world.run(delete(Node).where(Node.id == 1)) == {"things;a=1", "things;a=2", "things;a=3"}
        monkeypatch.setattr(changes_module, "MANY_ROWS", 1)
        assert world.run(delete(Node)) == {"things"}

    def test_too_many_parents_widen_their_children(self, blog: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes_module, "MANY_ROWS", 1)
        blog.writes.on(tagged)(lambda row: Things.of(a=row.article_id))
        blog.listen()
        blog.run((insert(User), [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Ben"}]))
        assert blog.run(delete(User)) == {"things"}


class TestDeclarations:
    def test_every_kind_of_sessions_can_be_attached(self, world: World) -> None:
        world.writes.on(Thing)(named_a)
        world.mizan.observe(world.purged)

        class Own(Session):
            pass

        class OwnAsync(AsyncSession):
            sync_session_class = Own

        makers = (
            sessionmaker(world.database),
            scoped_session(sessionmaker(world.database)),
            lambda: Own(world.database),
        )
        targets = (*makers[:2], Own)
        for number, (target, maker) in enumerate(zip(targets, makers, strict=True)):
            world.writes.attach(target)
            world.writes.attach(target)
            with maker() as session:
                session.add(Thing(a=number, b=1))
                session.commit()
            assert world.purged.take() == {f"things;a={number}"}
            world.writes.close()
        several = async_sessionmaker(class_=OwnAsync)
        world.writes.attach(async_scoped_session(several, scopefunc=lambda: 1))
        world.writes.attach(several)
        assert issubclass(several.kw["sync_session_class"], Own)
        world.writes.attach(OwnAsync)
        assert event.contains(Own, "after_commit", world.writes._committed)
        one = several()
        world.writes.attach(one)
        assert event.contains(one.sync_session, "after_commit", world.writes._committed)

    @pytest.mark.parametrize(
        ("declare", "said"),
        [
            (lambda writes: writes.on(5), "neither a mapped class nor a table"),
            (lambda writes: writes.on(Thing)(later), "is async"),
            (lambda writes: writes.on(Thing)(lambda: None), "takes 0 parameters"),
            (lambda writes: writes.attach(5), "neither a sessionmaker"),
        ],
    )
    def test_a_wrong_declaration_is_refused_at_once(
        self, declare: Callable[[Writes], Any], said: str, world: World
    ) -> None:
        with pytest.raises(DeclarationError, match=said):
            declare(world.writes)

    def test_an_unknown_column_is_refused(self, world: World) -> None:
        world.writes.on(Thing, columns=("d",))(named_a)
        world.listen()
        with pytest.raises(DeclarationError, match="no column 'd'; it has half, a, b"):
            world.run(update(Thing).values(c=1))

    def test_an_unknown_context_fails_the_commit(self, world: World) -> None:
        world.writes.on(Thing)(lambda row: "thingz")
        world.listen()
        with pytest.raises(DeclarationError, match="thingz"):
            world.run(insert(Thing).values(a=1, b=1))
        assert world.run(delete(Thing)) == set()

    def test_an_error_of_the_function_fails_the_statement(self, world: World) -> None:
        @world.writes.on(Thing)
        def look(row: Thing) -> Invalidation:
            raise LookupError

        world.listen()
        with pytest.raises(LookupError):
            world.run(insert(Thing).values(a=1, b=1))

    def test_readers_contexts_and_names_are_answers(self, world: World) -> None:
        answers: list[Any] = []
        world.writes.on(Thing)(lambda row: answers)
        world.writes.on(Thing)(lambda row: answers[0])
        world.listen()
        for number, (answer, purged) in enumerate(
            [(thing, "things/thing"), (Things, "things"), ("things", "things"), (Things.of(a=[5]), "things;a=5")]
        ):
            answers[:] = [answer]
            assert world.run(insert(Thing).values(a=number, b=1)) == {purged}

    def test_columns_that_the_function_reads_count_too(self, world: World) -> None:
        world.writes.on(Thing, columns=("parent",))(lambda row: Things.of(a=row.c))

        def deciding(row: Thing, connection: Connection) -> Invalidation | None:
            return People.of(team=row.c) if row.a == 1 else None

        world.writes.on(Thing, columns=("parent",))(deciding)
        world.listen()
        world.run((insert(Thing), [{"a": 1, "b": 1, "c": 5}, {"a": 2, "b": 1, "c": 7}]))
        assert world.run(update(Thing).values(c=6)) == {
            *("things;a=5", "things;a=6", "things;a=7"),
            *("people;team=5", "people;team=6"),
        }


async def later(row: object) -> None: ...
