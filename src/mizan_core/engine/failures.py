"""Errors of the developer's code: the `CallError` that callers are told instead, and the notes that an error carries.

An error that an engine raises carries the invalidations of its call, for a host that answers with it. Several calls may
raise the same object; a call then raises a copy with its own invalidations.
"""

import asyncio
import copy
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..cache.outcomes import PersonalFailure
from ..errors import CallError, DeclarationError
from ..protocol.invalidation import Invalidation, merge

logger = logging.getLogger("mizan")

# The replacement of an error: a class of CallErrors, an instance, or a function, which may take the error.
Told: TypeAlias = type[CallError] | CallError | Callable[..., object]
Errors: TypeAlias = Mapping[type[Exception], Told]

_INVALIDATIONS = "__mizan_invalidations__"
_FUNCTION = "__mizan_function__"


class ErrorMapping:
    """Translates errors of the application's libraries into `CallError`s, by the nearest class.

    Raises `DeclarationError` for an entry that cannot work.
    """

    def __init__(self, errors: Errors) -> None:
        if not isinstance(errors, Mapping):
            raise DeclarationError(f"errors={errors!r} is no mapping such as {{IntegrityError: Conflict}}.")
        self._errors = {kind: _maker(kind, told) for kind, told in errors.items()}

    def told(self, error: Exception) -> Exception:
        """The `CallError` that callers are told for this error; the error itself if it is unexpected.

        An exception group with one member counts as that member.
        """
        only: BaseException = error
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        if isinstance(only, CallError):
            return only
        make = next((self._errors[kind] for kind in type(only).__mro__ if kind in self._errors), None)
        if make is None:
            return error
        try:
            made = make(only)
        except CallError as raised:
            made = raised
        except Exception:
            logger.exception("What errors= maps %s to failed.", type(only).__name__)
            return error
        if not isinstance(made, CallError):
            return error
        if made.__cause__ is None:
            made.__cause__ = only
        return made


def invalidations_of(error: BaseException) -> tuple[Invalidation, ...]:
    """The invalidations of the call that raised this error, or an error that this one was raised from."""
    carried = error.__dict__.get(_INVALIDATIONS)
    if carried is not None:
        return tuple(carried)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    around = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return merge(one for error in (*inner, around) if error is not None for one in invalidations_of(error))


def carrying(error: Exception, invalidations: Sequence[Invalidation]) -> Exception:
    """The error with its call's invalidations; a copy of the error if it carries those of another call.

    An error that cannot be copied carries both, which is wider, never narrower.
    """
    carried = error.__dict__.get(_INVALIDATIONS)
    if carried is not None and not set(carried) <= set(invalidations):
        copied = _copied(error)
        if copied is None:
            invalidations = merge([*carried, *invalidations])
        else:
            error = copied
    noted = tuple(invalidations)
    error.__dict__[_INVALIDATIONS] = noted
    if isinstance(error, CallError) or not hasattr(type(error), "invalidations"):
        error.__dict__["invalidations"] = noted
    return error


def blame(error: BaseException, function: str) -> None:
    """Note which function raised the error, for the log."""
    error.__dict__[_FUNCTION] = function


def blamed(error: BaseException) -> str | None:
    """The function that raised the error, if `blame` has noted it."""
    return error.__dict__.get(_FUNCTION)


def log_unheard(ended: object) -> None:
    """Log a reader's unexpected error if its caller has gone."""
    error = ended.error if isinstance(ended, PersonalFailure) else ended
    if isinstance(error, Exception) and not isinstance(error, CallError):
        logger.error("%s failed, and its caller had gone.", blamed(error) or "A reader", exc_info=error)


def is_cancelled() -> bool:
    """Whether the running task was cancelled. If not, a CancelledError is a function's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def cancelled_itself(function: str, error: BaseException) -> RuntimeError:
    """The error for a function's own CancelledError, whose caller was not cancelled."""
    failed = RuntimeError(f"{function} raised CancelledError, and nothing had cancelled it.")
    failed.__cause__ = error
    blame(failed, function)
    return failed


def _maker(kind: object, told: object) -> Callable[[BaseException], object]:
    """A function that makes a `CallError` of an error of this kind."""
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise DeclarationError(f"errors={{{kind!r}: ...}}: that is no class of exceptions.")
    where = f"errors={{{kind.__name__}: ...}}"
    if kind is Exception or issubclass(kind, CallError):
        why = "every defect would be a refusal, which changed nothing" if kind is Exception else "it is told as it is"
        raise DeclarationError(f"{where}: {why}; name errors of your libraries.")
    if isinstance(told, type):
        if not issubclass(told, CallError):
            raise DeclarationError(f"{where}: {told.__name__} is no CallError, such as Conflict.")
        try:
            told()  # type: ignore[call-arg]  # this tests whether it can be called so
        except TypeError:
            raise DeclarationError(
                f"{where}: {told.__name__}() needs arguments; give a function, lambda error: {told.__name__}(...)."
            ) from None
        return lambda _: told()  # type: ignore[call-arg]  # as above
    if isinstance(told, CallError):
        return lambda _: copy.copy(told)
    if not callable(told):
        raise DeclarationError(f"{where}: {told!r} is neither a class of CallErrors nor a function that makes one.")
    return told if _takes_one(told) else lambda _: told()


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        return False
    except ValueError:  # some builtins have no signature
        return True
    return True


def _copied(error: Exception) -> Exception | None:
    try:
        again = copy.copy(error)
    except Exception:  # noqa: BLE001  # copying fails for a class whose arguments are not its `args`
        return None
    if type(again) is not type(error) or again is error or again.args != error.args:
        return None
    again.__cause__, again.__context__ = error.__cause__, error.__context__
    again.__suppress_context__ = error.__suppress_context__
    return again.with_traceback(error.__traceback__)
