"""A graph that two processes share, over the users of one database."""

import sqlite3

from mizan_core import Graph, build, client

from .blog import Orgs, Users

CACHE_SECRET = "a secret of the tests, 32 bytes long"
HOLD_SECONDS = 1.0
PREFIX = "dying writes "


def graph_over(database: str) -> Graph:
    @client(context=Users)
    async def user_name(user_id: int) -> str:
        with sqlite3.connect(database) as connection:
            ((name,),) = connection.execute("SELECT name FROM users WHERE id = ?", (user_id,)).fetchall()
        connection.close()
        return str(name)

    @client(context=Orgs)
    async def org(org_id: int) -> int:
        return org_id

    return build([user_name, org])
