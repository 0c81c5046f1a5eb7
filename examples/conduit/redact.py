"""`python -m examples.conduit.redact OLD NEW` replaces a word in all articles and comments, by plain SQL.

It has no event loop and no sessions, so it says itself what it changes.
"""

import sys

import psycopg
from sqlalchemy import make_url

from mizan_asgi import Mizan

from . import settings
from .app import mizan
from .clients import ArticleContext, ArticlesContext, CommentsContext, FeedContext

_ARTICLES = """
UPDATE articles SET description = replace(description, %(old)s, %(new)s), body = replace(body, %(old)s, %(new)s)
WHERE strpos(description, %(old)s) > 0 OR strpos(body, %(old)s) > 0
"""
_COMMENTS = "UPDATE comments SET body = replace(body, %(old)s, %(new)s) WHERE strpos(body, %(old)s) > 0"


def redact(mizan: Mizan, url: str, old: str, new: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with (
        mizan.blocking.changing(ArticleContext, ArticlesContext, FeedContext, CommentsContext, name="redact"),
        psycopg.connect(plain) as connection,  # commits at its end, before what is held is purged
    ):
        for statement in (_ARTICLES, _COMMENTS):
            connection.execute(statement, {"old": old, "new": new})


if __name__ == "__main__":
    redact(mizan, settings.database_url(), *sys.argv[1:])
