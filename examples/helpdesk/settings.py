"""Settings of the environment. The cache has its own, `MIZAN_...`, which `Mizan.from_env` reads."""

import os
from pathlib import Path

# Only the default of a demonstration on this machine: whoever knows a secret can sign in, or report mail, as anybody.
_DEMONSTRATION = "a secret that everybody knows, for demonstrations alone"


def database_path() -> Path:
    return Path(os.environ.get("HELPDESK_DB", "helpdesk.db"))


def files() -> Path:
    """The folder of attachments."""
    return Path(os.environ.get("HELPDESK_FILES", "helpdesk-files"))


def session_secret() -> str:
    """What session cookies are signed with: the same in all web processes."""
    return os.environ.get("HELPDESK_SESSION_SECRET", _DEMONSTRATION)


def mail_secret() -> bytes:
    """What the mail service signs its reports with."""
    return os.environ.get("HELPDESK_MAIL_SECRET", _DEMONSTRATION).encode()


def redis_url() -> str:
    """The worker's queue. The cache may share the server: its keys have a prefix of their own."""
    return os.environ.get("HELPDESK_QUEUE_URL") or os.environ["MIZAN_CACHE_REDIS_URL"]
