"""Errors as objects: they can be sent to another process, and copied."""

import copy
import pickle
from collections.abc import Callable

import pytest

from mizan_core import CallError, Conflict, GraphError, InvalidInput
from mizan_core.errors import MethodNotAllowed, MizanError, PayloadTooLarge


class OutOfStock(CallError):
    """An error of an application, whose `__init__` does not take a detail."""

    __slots__ = ("shelf",)

    def __init__(self, sku: str) -> None:
        super().__init__(f"{sku} is out of stock.", status=409, code="out_of_stock")
        self.sku = sku
        self.shelf = 7


ERRORS = [
    CallError("Too many.", status=429, code="too_many"),
    Conflict("Taken."),
    InvalidInput("No.", [{"loc": ["args", "a"], "msg": "m", "type": "t"}]),
    MethodNotAllowed(["GET", "HEAD"]),
    PayloadTooLarge(100),
    GraphError(["one", "another"]),
    OutOfStock("lamp"),
]


def pickled(error: MizanError) -> MizanError:
    again: MizanError = pickle.loads(pickle.dumps(error))
    return again


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickle_and_copy(error: MizanError, again: Callable[[MizanError], MizanError]) -> None:
    made = again(error)
    assert type(made) is type(error)
    assert (made.args, str(made), vars(made)) == (error.args, str(error), vars(error))
    assert getattr(made, "shelf", None) == getattr(error, "shelf", None)
