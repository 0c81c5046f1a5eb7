"""Forked processes: a child has its parent's objects, but none of its threads, and must not touch its event loops."""

import os
import weakref
from typing import Protocol


class BeginsAnew(Protocol):
    """An object that depends on threads, event loops or connections."""

    def begin_anew(self) -> None:
        """Forget what belongs to the parent. Called in the child, before anything else."""
        ...


_listening: "weakref.WeakSet[BeginsAnew]" = weakref.WeakSet()
_of_the_parent: list[object] = []


def listen(one: BeginsAnew) -> None:
    """Let an object begin anew in every child, for as long as it lives."""
    _listening.add(one)


def keep(*objects: object) -> None:
    """Keep objects of the parent for ever. Collecting a connection would close it through the parent's event loop.

    The file descriptor of that loop's `epoll` is shared, so the parent would never hear of its connection again.
    """
    _of_the_parent.extend(objects)


def _begin_anew() -> None:
    for one in list(_listening):
        one.begin_anew()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_begin_anew)
