"""Counts calls of functions, Python's and native ones: work that makes no more calls for more input takes no longer."""

import gc
import sys
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """How many functions a piece of work calls."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:  # as Python calls it
        nonlocal counted
        counted += event in ("call", "c_call")

    work()  # what is made at the first time is made
    before, collected = sys.getprofile(), gc.isenabled()
    gc.disable()  # what it finalises would be counted as well
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collected:
            gc.enable()
    return counted
