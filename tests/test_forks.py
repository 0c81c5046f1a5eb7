"""What listens to forks begins anew in a child; a real fork is in tests/engine/test_blocking.py."""

import os

from mizan_core import forks


class Counting:
    begun = 0

    def begin_anew(self) -> None:
        self.begun += 1


def test_a_child_begins_anew_and_its_parent_does_not() -> None:
    counting = Counting()
    forks.listen(counting)
    child = os.fork()
    if child == 0:
        os._exit(counting.begun)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert counting.begun == 0


def test_what_has_gone_is_not_called() -> None:
    kept, gone = Counting(), Counting()
    for one in (kept, gone):
        forks.listen(one)
    del gone, one
    forks._begin_anew()
    assert kept.begun == 1
