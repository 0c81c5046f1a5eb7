"""The identity of a caller: a user id and permissions, or anonymous (protocol, sections 1 and 11)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ..errors import DeclarationError
from .values import canonical, canonical_json


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, or anonymous if `user_id` is None. Ids are text: `Identity(5).user_id` is `"5"`.

    `permissions` is None if only their `permission_key` is known, as with a token. `by_token`: a token vouches for the
    identity.
    """

    user_id: str | None
    staff: bool
    superuser: bool
    permissions: frozenset[str] | None
    permission_key: str | None
    by_token: bool = field(compare=False, repr=False)

    def __init__(
        self,
        user_id: object,
        *,
        staff: bool = False,
        superuser: bool = False,
        permissions: Iterable[str] | None = frozenset(),
        permission_key: str | None = None,
        by_token: bool = False,
    ) -> None:
        if isinstance(permissions, str):
            raise DeclarationError("Identity(permissions=...) takes a set of texts, not one text.")
        if permissions is None and permission_key is None:
            raise DeclarationError("Identity(permissions=None) needs the permission_key that stands for them.")
        object.__setattr__(self, "user_id", None if user_id is None else canonical(user_id))
        object.__setattr__(self, "staff", staff)
        object.__setattr__(self, "superuser", superuser)
        object.__setattr__(self, "permissions", None if permissions is None else frozenset(permissions))
        object.__setattr__(self, "permission_key", permission_key)
        object.__setattr__(self, "by_token", by_token)

    @property
    def is_authenticated(self) -> bool:
        """Whether this is a user. "0" and "" are ids of users."""
        return self.user_id is not None


ANONYMOUS = Identity(None)


def permission_key(identity: Identity) -> str:
    """The same text for all users with the same permissions: SHA-256 in hex (protocol, section 11)."""
    if identity.permission_key is not None:
        return identity.permission_key
    return _digest(identity.permissions or frozenset(), identity.staff, identity.superuser)


@lru_cache(maxsize=1024)  # an application has fewer sets of permissions
def _digest(permissions: frozenset[str], staff: bool, superuser: bool) -> str:
    message = canonical_json({"permissions": permissions, "staff": staff, "superuser": superuser})
    return hashlib.sha256(message.encode()).hexdigest()
