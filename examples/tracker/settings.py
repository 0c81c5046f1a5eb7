"""Settings from the environment, which no other module reads."""

import os
from pathlib import Path


def database_path() -> Path:
    """`TRACKER_DB`, or `tracker.db` beside this file."""
    return Path(os.environ.get("TRACKER_DB") or Path(__file__).with_name("tracker.db"))


def webhook_secret() -> bytes | None:
    """`TRACKER_WEBHOOK_SECRET`, which the sender of webhooks shares. Without it there are no webhooks."""
    secret = os.environ.get("TRACKER_WEBHOOK_SECRET")
    return secret.encode() if secret else None
