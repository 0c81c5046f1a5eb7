"""Settings of the environment. The cache has its own, `MIZAN_...`, which `Mizan.from_env` reads."""

import os

# Only the default of a demonstration on this machine. Whoever knows the secret can sign in as anybody.
_DEMONSTRATION = "a secret that everybody knows, for demonstrations alone"


def database_url() -> str:
    return os.environ.get("CONDUIT_DATABASE_URL", "postgresql+psycopg://localhost/conduit")


def secret() -> str:
    """What tokens are signed with."""
    return os.environ.get("CONDUIT_SECRET", _DEMONSTRATION)


def caching() -> bool:
    """Whether answers are kept. Without, every request is computed, and the answers are the same."""
    return os.environ.get("CONDUIT_CACHE", "on") != "off"


def admin_password() -> str | None:
    """The password of `/admin`, which is served only where there is one."""
    return os.environ.get("CONDUIT_ADMIN_PASSWORD")
