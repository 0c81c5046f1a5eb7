"""Pieces of the sentences that name a defect of a declaration or of a graph."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that a misspelt one resembles, to be put behind a sentence; empty if there is none."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message: Pydantic's messages go on with links and schemas."""
    return str(error).partition("\n")[0]
