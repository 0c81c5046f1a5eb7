"""The chart: one panel for each kind of request, in bars from zero."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Result


def draw(results: "Sequence[Result]", around: dict[str, str], path: Path) -> None:
    """Bars for each workload, this project's in another colour."""
