"""The shop with its inspector, for uvicorn processes that share a Redis."""

import os

from mizan_asgi.inspector import Inspector
from mizan_core import RedisCache

from .shop import Shop

app = Shop().mizan(
    cache=RedisCache(os.environ["MIZAN_TEST_REDIS"], prefix="inspected:"),
    cache_secret="s" * 32,
    inspector=Inspector(several_workers=True),
)
