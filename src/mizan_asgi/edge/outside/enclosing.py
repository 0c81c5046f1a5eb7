"""Whether `outermost` stands inside of another application, which could change answers after they were judged.

A framework shows in the scope. Plain middleware does not, so the frames of the callers are looked at: those of
coroutines that await this one. A frame that has `scope`, `receive` and `send` as arguments is an ASGI application; it
is harmless if it passed its own `send` on, as servers' adapters do.
"""

import sysconfig
from dataclasses import dataclass
from types import CodeType, FrameType

from starlette.types import Scope, Send

from .marks import MARK

# Keys that frameworks and their middleware put into a scope, and that no server does.
_OF_FRAMEWORKS = (
    *("app", "router", "endpoint", "path_params", "app_root_path", "starlette.exception_handlers"),
    *("session", "user", "auth", "fastapi_astack", "fastapi_middleware_astack", "litestar_app", "url_route"),
)

_ASGI = {"scope", "receive", "send"}
_FRAMEWORKS = ("starlette", "fastapi")
_CLIENTS = ("starlette.testclient",)
_SERVERS = ("uvicorn", "hypercorn", "granian", "daphne", "mangum")


# Where the code of other people is installed.
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})


@dataclass(frozen=True, slots=True)
class Enclosing:
    """What is around `outermost`, in words. `is_own`: code of the host's own, which may do no more than watch."""

    name: str
    is_own: bool = False


def enclosing(scope: Scope, send: Send, caller: FrameType | None) -> Enclosing | None:
    """What encloses `outermost`; None where nothing is known to. `caller`: the frame that awaits it."""
    if MARK in scope:
        return Enclosing("another outermost(...)")
    for key in _OF_FRAMEWORKS:
        if key in scope:
            return Enclosing(f"an application that put {key!r} into the scope")
    own: Enclosing | None = None
    while caller is not None:
        module = caller.f_globals.get("__name__", "")
        if _is_of(module, _FRAMEWORKS) and not _is_of(module, _CLIENTS):
            return Enclosing(_named(caller))
        if not _is_application(caller.f_code):
            break
        if not _is_of(module, _SERVERS) and not _passes_its_own(caller, send):
            if caller.f_code.co_filename.startswith(_INSTALLED):
                return Enclosing(_named(caller))
            own = own or Enclosing(_named(caller), is_own=True)
        send, caller = caller.f_locals["send"], caller.f_back
    return own


def _is_application(code: CodeType) -> bool:
    return _ASGI.issubset(code.co_varnames[: code.co_argcount])


def _passes_its_own(caller: FrameType, send: Send) -> bool:
    """Whether this is the `send` that the caller was given, so that it sees no message on its way out."""
    made_there = getattr(send, "__code__", None) in caller.f_code.co_consts
    return caller.f_locals.get("send") is send and not made_there


def _is_of(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)


def _named(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} of {frame.f_globals.get('__name__', frame.f_code.co_filename)}"
