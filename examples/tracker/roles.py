"""Roles, what each may do, and the guards that ask for it."""

from collections.abc import Callable
from enum import StrEnum

from mizan_core import Identity


class Role(StrEnum):
    """What somebody is in this tracker. Each may do what those before it may."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    LEAD = "lead"
    ADMIN = "admin"


_VIEWER = frozenset({"comment.write"})
_DEVELOPER = _VIEWER | {"issue.report", "issue.edit"}
_LEAD = _DEVELOPER | {"issue.close", "issue.move", "project.archive", "people.workload"}

PERMISSIONS = {Role.VIEWER: _VIEWER, Role.DEVELOPER: _DEVELOPER, Role.LEAD: _LEAD, Role.ADMIN: _LEAD}


def identity_of(person_id: int, role: Role) -> Identity:
    """Who asks, as Mizan knows them."""
    return Identity(
        str(person_id),
        staff=role in (Role.LEAD, Role.ADMIN),
        superuser=role is Role.ADMIN,
        permissions=PERMISSIONS[role],
    )


def has(identity: Identity, permission: str) -> bool:
    return permission in (identity.permissions or ())


def may(permission: str) -> Callable[[Identity], bool]:
    """A guard for `auth=`: lets through whoever has the permission."""

    def guard(identity: Identity) -> bool:
        return has(identity, permission)

    return guard
