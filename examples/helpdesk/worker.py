"""`python -m examples.helpdesk.worker` does the jobs of the queue, one after the other.

It has no web server. Its engine shares the cache with those of the web processes, so what it changes they see at once.
"""

import asyncio
import logging

from . import database, queue, settings
from .app import mizan

logger = logging.getLogger("helpdesk")


async def main() -> None:
    database.use(settings.database_path())
    async with mizan.engine as engine:
        async for job, args in queue.jobs():
            try:
                answer = await engine.run(job, args)
            except Exception:  # a job that fails is logged, and the next one is done
                logger.exception("%s of %s failed.", job, args)
            else:
                print("done:", job, args, answer.result, flush=True)  # noqa: T201  # what a worker says


if __name__ == "__main__":
    asyncio.run(main())
