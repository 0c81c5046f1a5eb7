"""Whether an identity may call a function (protocol, sections 3 and 11). Checked on every request, before any cache."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeAlias, assert_never

from .errors import DeclarationError, Forbidden, Unauthorized
from .graph import Function
from .identity import Identity
from .policies import Anyone, AuthCheck, Check, SignedIn, Staff, Superuser
from .watch import watch_identity

PermissionsOf: TypeAlias = Callable[[Identity], Iterable[str] | Awaitable[Iterable[str]]]


async def authorise(function: Function, identity: Identity, permissions: PermissionsOf | None) -> None:
    """Raise `Unauthorized` for nobody and `Forbidden` for somebody whom the function's guard does not let through.

    `permissions` loads them for an identity by token, if the guard asks for one.
    """
    match function.guard:
        case Anyone():
            return
        case SignedIn():
            allowed = identity.is_authenticated
        case Staff():
            allowed = identity.is_authenticated and (identity.staff or identity.superuser)
        case Superuser():
            allowed = identity.is_authenticated and identity.superuser
        case Check(check=check):
            allowed = await _checked(function, check, identity, permissions)
        case _ as unreachable:
            assert_never(unreachable)
    if not allowed:
        raise Forbidden if identity.is_authenticated else Unauthorized


async def _checked(function: Function, check: AuthCheck, identity: Identity, permissions: PermissionsOf | None) -> bool:
    if identity.permissions is not None:
        return await _ask(check, identity)
    asked: list[str] = []

    def notice(name: str) -> None:
        if name == "permissions":
            asked.append(name)

    try:
        allowed = await _ask(check, watch_identity(identity, frozenset(), notice))
    except Exception:
        if not asked:
            raise
    if not asked:
        return allowed
    if permissions is None:
        raise DeclarationError(
            f"The guard of {function.name} asks for identity.permissions, and a token does not carry them. "
            "Give the app permissions=, a function that loads them."
        )
    loaded = permissions(identity)
    known = await loaded if inspect.isawaitable(loaded) else loaded
    return await _ask(check, replace(identity, permissions=frozenset(known)))


async def _ask(check: AuthCheck, identity: Identity) -> bool:
    allowed = check(identity)
    return bool(await allowed if inspect.isawaitable(allowed) else allowed)
