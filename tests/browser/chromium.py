"""Where the system's Chromium is, and how it is started."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")

# No sandbox, as containers do not allow it; and nothing that asks for anything by itself.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
