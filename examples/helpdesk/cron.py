"""`python -m examples.helpdesk.cron` closes the tickets that have waited for 30 days. For cron, once a day.

It is written without an event loop, as scripts are: `blocking` has one in a thread of its own.
"""

import datetime
import sys

from . import database, settings
from .app import mizan


def main(days: int = 30) -> None:
    database.use(settings.database_path())
    before = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(days=days)
    closed = mizan.blocking.run("close_waiting", {"before": before})
    print("closed:", *closed.result)  # noqa: T201  # what cron mails


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
