"""What each kind of statement makes stale, on a real PostgreSQL."""

import json
from collections.abc import Iterator

import psycopg
import pytest

from mizan_core import Context, build, client
from mizan_core.integrations.postgresql import Purge, Table, Triggers
from mizan_core.integrations.postgresql.tables import Affected
from tests.integrations.postgresql.heard import Database, database

Article, Feed, Author = Context("article"), Context("feed"), Context("author")


@client(context=Article)
async def article(code: str) -> str:
    return code


@client(context=Feed)
async def feed(tag: str | None = None) -> list[str]:
    return []


@client(context=Author)
async def author_name(user_id: int) -> str:
    return str(user_id)


@client(context=Author)
async def author_articles(user_id: int) -> list[str]:
    return []


GRAPH = build([article, feed, author_name, author_articles])

ARTICLES = """CREATE TABLE articles (
    id int PRIMARY KEY, code text, author_id int, title text, views int NOT NULL DEFAULT 0, extra json)"""
COMMENTS = "CREATE TABLE comments (id int PRIMARY KEY, article_id int REFERENCES articles ON DELETE CASCADE, code text)"

SOME = "INSERT INTO articles (id, code, author_id, title) VALUES (1, 'a', 7, 'A'), (2, 'b', 7, 'B'), (3, 'c', 8, 'C')"


def triggers(*purges: Purge | Affected) -> Triggers:
    return Triggers(GRAPH, Table("articles", *purges))


@pytest.fixture
def base(postgres_url: str) -> Iterator[Database]:
    with database(postgres_url, GRAPH, ARTICLES, COMMENTS) as base:
        yield base


class TestStatements:
    @pytest.fixture
    def articles(self, base: Database) -> Database:
        base.create(triggers(Purge(Article, by="code"), Purge(Author, by={"user_id": "author_id"}), Feed))
        return base

    def test_an_insert_is_about_its_new_rows(self, articles: Database) -> None:
        assert articles.write(SOME) == {
            *("article;code=a", "article;code=b", "article;code=c"),
            *("author;user_id=7", "author;user_id=8", "feed"),
        }

    def test_an_update_is_about_old_and_new_rows(self, articles: Database) -> None:
        articles.write(SOME)
        moved = articles.write("UPDATE articles SET code = 'z', author_id = 9 WHERE id = 3")
        assert moved == {"article;code=c", "article;code=z", "author;user_id=8", "author;user_id=9", "feed"}

    def test_a_delete_is_about_its_old_rows(self, articles: Database) -> None:
        articles.write(SOME)
        assert articles.write("DELETE FROM articles WHERE id = 2") == {"article;code=b", "author;user_id=7", "feed"}

    def test_a_truncate_is_about_all(self, articles: Database) -> None:
        assert articles.write("TRUNCATE articles CASCADE") == {"article", "author", "feed"}

    def test_an_upsert_is_about_what_it_inserts_and_updates(self, articles: Database) -> None:
        articles.write(SOME)
        stale = articles.write(
            "INSERT INTO articles (id, code) VALUES (1, 'n'), (4, 'd') ON CONFLICT (id) DO UPDATE SET code = 'x'"
        )
        assert stale == {"article;code=a", "article;code=x", "article;code=d", "author;user_id=7", "feed"}

    def test_copy_is_an_insert(self, articles: Database) -> None:
        with articles.writer.cursor().copy("COPY articles (id, code) FROM STDIN") as copy:
            copy.write_row((5, "copied"))
        assert articles.write() == {"article;code=copied", "feed"}

    @pytest.mark.parametrize(
        "statement", ["UPDATE articles SET views = 1 WHERE id = 99", "DELETE FROM articles WHERE id = 99"]
    )
    def test_a_statement_without_rows_tells_nothing(self, articles: Database, statement: str) -> None:
        assert articles.payloads(statement) == []

    def test_what_is_rolled_back_tells_nothing(self, articles: Database) -> None:
        with articles.writer.transaction(force_rollback=True):
            articles.writer.execute(SOME)
        with articles.writer.transaction(), articles.writer.transaction(force_rollback=True):
            articles.writer.execute(SOME)
        assert articles.payloads() == []

    def test_equal_scopes_are_told_once_for_a_statement(self, articles: Database) -> None:
        told = [json.loads(one) for one in articles.payloads(SOME)]
        assert [one["scopes"] for one in told if one["context"] == "author"] == [[{"user_id": 7}, {"user_id": 8}]]
        assert len(told) == 3


class TestPartitions:
    def test_statements_on_a_partitioned_table_are_told(self, base: Database) -> None:
        base.writer.execute("CREATE TABLE parts (id int, code text) PARTITION BY LIST (code)")
        for code in "ab":
            base.writer.execute(f"CREATE TABLE parts_{code} PARTITION OF parts FOR VALUES IN ('{code}')")
        base.create(Triggers(GRAPH, Table("parts", Purge(Article, by="code", columns="id"))))
        assert base.write("INSERT INTO parts VALUES (1, 'a')") == {"article;code=a"}
        assert base.write("UPDATE parts SET code = 'b'") == {"article;code=a", "article;code=b"}


class TestForeignKeys:
    def test_rows_deleted_by_a_cascade_are_told(self, base: Database) -> None:
        base.create(Triggers(GRAPH, Table("comments", Purge(Article, by="code"))))
        base.write(SOME, "INSERT INTO comments VALUES (1, 1, 'a'), (2, 1, 'b')")
        assert base.write("DELETE FROM articles WHERE id = 1") == {"article;code=a", "article;code=b"}


class TestColumns:
    @pytest.fixture
    def titles(self, base: Database) -> Database:
        base.create(triggers(Purge(Article, by="code", columns="title"), Purge(Feed, columns=("title", "extra"))))
        base.write(SOME)
        return base

    def test_an_update_of_other_columns_tells_nothing(self, titles: Database) -> None:
        assert titles.payloads("UPDATE articles SET views = views + 1") == []
        assert titles.payloads("UPDATE articles SET title = title") == []

    def test_an_update_tells_only_of_rows_that_it_changes(self, titles: Database) -> None:
        changed = titles.write("UPDATE articles SET views = 5, title = CASE id WHEN 2 THEN 'new' ELSE title END")
        assert changed == {"article;code=b", "feed"}

    def test_a_changed_parameter_counts_too(self, titles: Database) -> None:
        assert titles.write("UPDATE articles SET code = 'z' WHERE id = 1") == {"article;code=a", "article;code=z"}

    def test_rows_that_exchange_their_values_have_changed(self, titles: Database) -> None:
        assert titles.write("UPDATE articles SET title = CASE id WHEN 1 THEN 'B' ELSE 'A' END WHERE id < 3") == {
            *("article;code=a", "article;code=b"),
            "feed",
        }
        titles.write("UPDATE articles SET code = 'same'")
        assert titles.write("UPDATE articles SET title = CASE id WHEN 1 THEN 'A' ELSE 'B' END WHERE id < 3") == {
            "article;code=same",
            "feed",
        }

    def test_null_and_the_empty_text_differ(self, titles: Database) -> None:
        assert "feed" in titles.write("UPDATE articles SET title = NULL WHERE id = 1")
        assert "feed" in titles.write("UPDATE articles SET title = '' WHERE id = 1")

    def test_a_column_without_equality_can_be_compared(self, titles: Database) -> None:
        assert titles.write("""UPDATE articles SET extra = '{"a": 1}' WHERE id = 1""") == {"feed"}
        assert titles.write("""UPDATE articles SET extra = '{"a": 1}' WHERE id = 1""") == set()

    def test_inserts_and_deletes_count_all_the_same(self, titles: Database) -> None:
        assert titles.write("INSERT INTO articles (id, code) VALUES (9, 'n')") == {"article;code=n", "feed"}
        assert titles.write("DELETE FROM articles WHERE id = 9") == {"article;code=n", "feed"}


class TestNull:
    def test_a_parameter_without_null_has_no_bundle_for_it(self, base: Database) -> None:
        base.create(triggers(Purge(Author, by={"user_id": "author_id"})))
        assert base.payloads("INSERT INTO articles (id) VALUES (1)") == []
        assert base.write("UPDATE articles SET author_id = 7") == {"author;user_id=7"}
        assert base.write("UPDATE articles SET author_id = NULL") == {"author;user_id=7"}

    def test_a_parameter_with_null_is_narrowed_by_it(self, base: Database) -> None:
        base.create(triggers(Purge(Feed, by={"tag": "title"})))
        assert base.write("INSERT INTO articles (id) VALUES (1)") == {"feed;tag=null"}


class TestWidening:
    @pytest.fixture
    def codes(self, base: Database) -> Database:
        base.create(triggers(Purge(Article, by="code")))
        return base

    def test_many_scopes_are_the_whole_context(self, codes: Database) -> None:
        insert = "INSERT INTO articles (id, code) SELECT n, n FROM generate_series({}, {}) AS n"
        assert len(codes.write(insert.format(1, 64))) == 64
        [payload] = codes.payloads(insert.format(101, 165))
        assert json.loads(payload) == {"context": "article", "scopes": [{}]}

    def test_a_payload_that_is_too_long_is_the_whole_context(self, codes: Database) -> None:
        fits = 7_999 - len('{"context": "article", "scopes": [{"code": ""}]}')
        insert = "INSERT INTO articles (id, code) VALUES ({}, repeat('x', {}))"
        [payload] = codes.payloads(insert.format(1, fits))
        assert len(payload) == 7_999
        assert codes.write(insert.format(2, fits + 1)) == {"article"}

    def test_the_length_is_counted_in_bytes(self, codes: Database) -> None:
        assert codes.write("INSERT INTO articles (id, code) VALUES (1, repeat('é', 4000))") == {"article"}

    def test_many_notifications_at_once_are_merged(self, codes: Database) -> None:
        inserts = [f"INSERT INTO articles (id, code) VALUES ({n}, {n})" for n in range(65)]
        assert codes.write(*inserts) == {"article"}


class TestCreation:
    def test_triggers_are_made_anew(self, base: Database) -> None:
        base.create(Triggers(GRAPH, Table("articles", Feed), Table("comments", Purge(Article, by="code"))))
        base.create(triggers(Purge(Author, by={"user_id": "author_id"})))
        base.create(triggers(Purge(Author, by={"user_id": "author_id"})))
        assert len(base.payloads("INSERT INTO articles (id, author_id) VALUES (1, 7)")) == 1
        assert base.payloads("INSERT INTO comments VALUES (1, 1, 'a')") == []

    def test_dropping_leaves_nothing_behind(self, base: Database) -> None:
        [before] = base.writer.execute("SELECT count(*) FROM pg_proc").fetchall()
        base.create(triggers(Feed))
        for statement in triggers(Feed).drop():
            base.writer.execute(statement)
        assert base.payloads(SOME) == []
        assert base.writer.execute("SELECT count(*) FROM pg_proc").fetchall() == [before]
        assert base.writer.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchall() == [(0,)]

    def test_another_channel_is_left_alone(self, base: Database) -> None:
        other = Triggers(GRAPH, Table("articles", Article), channel="other")
        base.create(other)
        base.create(triggers(Feed))
        for statement in other.drop():
            base.writer.execute(statement)
        assert base.write(SOME) == {"feed"}

    def test_a_column_that_is_not_there_is_found_at_once(self, base: Database) -> None:
        with pytest.raises(psycopg.errors.UndefinedColumn, match="kode"):
            base.create(triggers(Purge(Article, by={"code": "kode"})))
        with pytest.raises(psycopg.errors.UndefinedColumn, match="uid"):
            base.create(Triggers(GRAPH, Table("articles", Purge(Feed, columns="title"), key="uid")))

    def test_odd_names_are_quoted(self, base: Database) -> None:
        base.writer.execute('CREATE SCHEMA "Odd ""one"".\'$"')
        base.writer.execute('CREATE TABLE "Odd ""one"".\'$"."select" (id int, "a ""b"" \'c\' $mizan$" text)')
        table = Table(('Odd "one".\'$', "select"), Purge(Article, by={"code": "a \"b\" 'c' $mizan$"}))
        odd = Triggers(
            GRAPH,
            table,
        )
        base.create(odd)
        base.create(odd)
        insert = 'INSERT INTO "Odd ""one"".\'$"."select" VALUES (1, \'a\')'
        assert base.write(insert) == {"article;code=a"}

    def test_long_names_stay_different(self, base: Database) -> None:
        names = [f"{'n' * 60}{end}" for end in "ab"]
        for name in names:
            base.writer.execute(f"CREATE TABLE {name} (id int, code text)")
        base.create(Triggers(GRAPH, *(Table(f"public.{name}", Purge(Article, by="code")) for name in names)))
        assert [base.write(f"INSERT INTO {name} VALUES (1, '{name[-1]}')") for name in names] == [
            {"article;code=a"},
            {"article;code=b"},
        ]

    def test_a_reader_can_be_named(self, base: Database) -> None:
        base.create(triggers(Purge(author_articles, by={"user_id": "author_id"}), author_name))
        assert base.write(SOME) == {
            *("author/author_articles;user_id=7", "author/author_articles;user_id=8", "author/author_name")
        }

    def test_the_writers_search_path_does_not_matter(self, base: Database) -> None:
        base.create(triggers(Purge(Article, by="code", columns="title")))
        base.writer.execute("SET search_path = ''")
        insert = "INSERT INTO public.articles (id, code) VALUES (1, 'a')"
        assert base.write(insert) == {"article;code=a"}
