"""Guards: may an identity call a function (protocol, sections 3 and 11)? Asked on every request, before any cache."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias, assert_never

from ..errors import DeclarationError, Forbidden, Unauthorized
from ..graph.access import Anyone, Check, PlainGuard, SignedIn, Staff, Superuser
from ..graph.model import Function
from ..graph.signature import REQUEST
from ..graph.types.snapshots import copied
from ..protocol.identity import Identity
from .privacy import Watchable, lacks_permissions, watch_identity

PermissionsOf: TypeAlias = Callable[[Identity], Iterable[str] | Awaitable[Iterable[str]]]


async def authorise(
    function: Function,
    identity: Identity,
    permissions: PermissionsOf | None,
    arguments: Mapping[str, object] | None = None,
) -> Identity:
    """Raise `Forbidden` for an identity that the function's guard refuses, `Unauthorized` if it is anonymous.

    `arguments`: those of the guard beside the identity; without them, a guard that takes arguments is not asked yet.
    `permissions` loads the permissions of a token's identity if the guard reads them. Returns the identity, with its
    permissions if they were loaded.
    """
    guard = function.guard
    if not isinstance(guard, Check):
        allowed = lets_in(guard, identity)
    elif function.guard_arguments and arguments is None:
        return identity
    else:
        allowed, identity = await _checked(function, guard, identity, permissions, arguments or {})
    if not allowed:
        raise Forbidden if identity.is_authenticated else Unauthorized
    return identity


def lets_in(guard: PlainGuard, identity: Identity) -> bool:
    """Whether a guard that is no function lets this identity in."""
    match guard:
        case Anyone():
            return True
        case SignedIn():
            return identity.is_authenticated
        case Staff():
            return identity.is_authenticated and (identity.staff or identity.superuser)
        case Superuser():
            return identity.is_authenticated and identity.superuser
        case _ as unreachable:
            assert_never(unreachable)


def checked_arguments(function: Function, sent: Mapping[str, object], request: object) -> dict[str, object]:
    """The arguments of the function's guard: validated inputs, with defaults filled in, and the request."""
    values = {name: sent.get(name, one.input.default) for name, one in function.inputs.items()}
    values = copied(values, function.mutable_inputs)  # the guard gets copies, for a body may change its own
    named = {one.input.argument or name: values[name] for name, one in function.inputs.items()}
    given = {name: value for name, value in named.items() if name in function.guard_arguments}
    if REQUEST in function.guard_arguments:
        given[REQUEST] = request.plain() if isinstance(request, Watchable) else request
    return given


async def load_permissions(identity: Identity, permissions: PermissionsOf) -> Identity:
    """The identity with its permissions loaded, and so with the permission key of the user's sessions."""
    loaded = permissions(identity)
    known = await loaded if inspect.isawaitable(loaded) else loaded
    return replace(identity, permissions=frozenset(known), permission_key=None)


async def _checked(
    function: Function,
    check: Check,
    identity: Identity,
    permissions: PermissionsOf | None,
    arguments: Mapping[str, object],
) -> tuple[bool, Identity]:
    if not lacks_permissions(identity):
        return await _ask(check, identity, arguments), identity
    asked: list[str] = []

    def notice(name: str) -> None:
        if name == "permissions":
            asked.append(name)

    try:
        allowed = await _ask(check, watch_identity(identity, frozenset(), notice), arguments)
    except Exception:
        if not asked:
            raise
    if not asked:
        return allowed, identity
    if permissions is None:
        raise DeclarationError(
            f"The guard of {function.name} asks for identity.permissions, and a token does not carry them. "
            "Give the app permissions=, a function that loads them."
        )
    loaded = await load_permissions(identity, permissions)
    return await _ask(check, loaded, arguments), loaded


async def _ask(check: Check, identity: Identity, arguments: Mapping[str, object]) -> bool:
    allowed = check(identity, arguments)
    return bool(await allowed if inspect.isawaitable(allowed) else allowed)
