"""Roles, their permissions, and guards that ask for a permission."""

from collections.abc import Callable
from enum import StrEnum

from mizan_core import Identity


class Role(StrEnum):
    """A person's role in the tracker. Each has at least the permissions of the one before."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    LEAD = "lead"
    ADMIN = "admin"


_VIEWER = frozenset({"comment.write"})
_DEVELOPER = _VIEWER | {"issue.report", "issue.edit"}
_LEAD = _DEVELOPER | {"issue.close", "issue.move", "project.archive", "people.workload"}

PERMISSIONS = {Role.VIEWER: _VIEWER, Role.DEVELOPER: _DEVELOPER, Role.LEAD: _LEAD, Role.ADMIN: _LEAD}


def identity_of(person_id: int, role: Role, org_id: int) -> Identity:
    """The identity of a person, for Mizan."""
    return Identity(
        str(person_id),
        staff=role in (Role.LEAD, Role.ADMIN),
        superuser=role is Role.ADMIN,
        permissions=PERMISSIONS[role],
        claims={"org": org_id, "role": role},
    )


def visitor_of(org_id: int) -> Identity:
    """The identity of a visitor of an organisation, who is not signed in."""
    return Identity(None, claims={"org": org_id})


def has(identity: Identity, permission: str) -> bool:
    return permission in (identity.permissions or ())


def may(permission: str) -> Callable[[Identity], bool]:
    """A guard for `auth=`: lets callers with the permission through."""

    def guard(identity: Identity) -> bool:
        return has(identity, permission)

    return guard
