"""Random statements: every bundle that one of them changes is among what its triggers tell of."""

import random
from collections.abc import Iterator, Mapping

import pytest

from mizan_core import Context, build, client
from mizan_core.integrations.postgresql import Purge, Table, Triggers
from mizan_core.integrations.postgresql.listener import understood
from mizan_core.protocol.invalidation import touches
from tests.integrations.postgresql.heard import Database, database

Article, Author, Titles, Count = Context("article"), Context("author"), Context("titles"), Context("count")


@client(context=Article)
async def article(code: str) -> list[str]:
    return []


@client(context=Author)
async def author(user_id: int) -> list[str]:
    return []


@client(context=Titles)
async def titles() -> list[str]:
    return []


@client(context=Count)
async def count() -> int:
    return 0


GRAPH = build([article, author, titles, count])

ARTICLES = "CREATE TABLE articles (id int PRIMARY KEY, code text, author_id int, title text, views int)"

# The query of each context, and the parameters of its bundles.
BUNDLES: Mapping[str, tuple[str, str, list[object]]] = {
    "article": ("code", "SELECT title FROM articles WHERE code = %s ORDER BY id", ["a", "b", "c", "d"]),
    "author": ("user_id", "SELECT code FROM articles WHERE author_id = %s ORDER BY id", [1, 2, 3]),
    "titles": ("", "SELECT id, title FROM articles WHERE %s::text IS NULL ORDER BY id", [None]),
    "count": ("", "SELECT count(*) FROM articles WHERE %s::text IS NULL", [None]),
}


@pytest.fixture
def base(postgres_url: str) -> Iterator[Database]:
    with database(postgres_url, GRAPH, ARTICLES) as base:
        purges = (
            Purge(Article, by="code", columns="title"),
            Purge(Author, by={"user_id": "author_id"}, columns="code"),
            *(Purge(Titles, columns="title"), Purge(Count, columns=())),
        )
        base.create(Triggers(GRAPH, Table("articles", *purges)))
        yield base


def shown(base: Database) -> dict[tuple[str, object], list[tuple[object, ...]]]:
    return {
        (context, value): base.writer.execute(query, [value]).fetchall()
        for context, (_, query, values) in BUNDLES.items()
        for value in values
    }


def statement(chance: random.Random) -> str:
    def value(column: str) -> str:
        texts = {"code": ["'a'", "'b'", "'c'", "NULL", "code"], "author_id": ["1", "2", "NULL", "author_id % 3 + 1"]}
        texts |= {"title": ["'x'", "'y'", "NULL", "'x' || id", "title"], "views": ["views + 1", "0"]}
        return chance.choice(texts[column])

    number = chance.randint(0, 6)
    where = chance.choice([f"id = {number}", f"id < {number}", "code = 'a'", "author_id = 1", "true"])
    columns = chance.sample(["code", "author_id", "title", "views"], chance.randint(1, 3))
    changes = ", ".join(f"{one} = {value(one)}" for one in columns)
    row = f"({number}, {chance.choice(['1', '2'])}, {chance.choice(['NULL', chr(39) + 'x' + chr(39)])})"
    insert = f"INSERT INTO articles (id, author_id, title) VALUES {row} ON CONFLICT (id) DO "
    some = "INSERT INTO articles (id, code, author_id) SELECT n, 'c', n % 3 FROM generate_series(0, 6) AS n "
    some += "ON CONFLICT DO NOTHING"
    exchange = "UPDATE articles AS a SET title = b.title, code = b.code FROM articles AS b WHERE a.id = 7 - b.id"
    return chance.choice(
        [
            *[f"UPDATE articles SET {changes} WHERE {where}"] * 5,
            *[f"{insert}NOTHING", f"{insert}UPDATE SET title = excluded.title"] * 2,
            some,
            f"DELETE FROM articles WHERE {where}",
            exchange,
            *["TRUNCATE articles"] * (chance.random() < 0.2),
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_every_changed_bundle_is_told(base: Database, seed: int) -> None:
    chance = random.Random(seed)
    before, changes = shown(base), 0
    for _ in range(150):
        statements = [statement(chance) for _ in range(chance.choice([1, 1, 3]))]
        told = understood(GRAPH, base.payloads(*statements))
        after = shown(base)
        changed = [key for key in after if after[key] != before[key]]
        for context, value in changed:
            name = BUNDLES[context][0]
            texts: dict[str, str | None] = {name: str(value)} if name else {}
            assert any(touches(one, context, texts) for one in told), (statements, context, value)
        before, changes = after, changes + len(changed)
    assert changes > 100
