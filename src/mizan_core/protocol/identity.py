"""The identity of a caller: a user id or none, permissions and claims (protocol, sections 1 and 11)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from typing_extensions import TypedDict

from ..errors import DeclarationError, InvalidValue
from .values import Json, canonical, canonical_json, jsonable


class _Claims(dict[str, Json]):
    """Claims that cannot be changed, and can be pickled."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("The claims of an identity cannot be changed; make another Identity.")

    __setitem__ = __delitem__ = update = setdefault = pop = popitem = clear = __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return _Claims, (dict(self),)


_NO_CLAIMS = _Claims()


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, or anonymous if `user_id` is None. Ids are text: `Identity(5).user_id` is `"5"`.

    `permissions` is None if only their `permission_key` is known, as with a token. `claims`: more that is known of the
    caller, as JSON values by name, such as the organisation; also of a caller that is anonymous. `by_token`: a token
    vouches for the identity.
    """

    user_id: str | None
    staff: bool
    superuser: bool
    permissions: frozenset[str] | None
    permission_key: str | None
    claims: Mapping[str, Json] = field(hash=False)
    by_token: bool = field(compare=False, repr=False)

    def __init__(
        self,
        user_id: object,
        *,
        staff: bool = False,
        superuser: bool = False,
        permissions: Iterable[str] | None = frozenset(),
        permission_key: str | None = None,
        claims: Mapping[str, object] | None = None,
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
        object.__setattr__(self, "claims", _checked_claims(claims) if claims else _NO_CLAIMS)
        object.__setattr__(self, "by_token", by_token)

    @property
    def is_authenticated(self) -> bool:
        """Whether this is a user. "0" and "" are ids of users."""
        return self.user_id is not None


ANONYMOUS = Identity(None)


def _checked_claims(claims: object) -> _Claims:
    """A copy of the claims. Raises `DeclarationError` for a name that is no text, and a value that is no JSON value."""
    if not isinstance(claims, Mapping):
        raise DeclarationError(
            f"Identity(claims=...) maps names to JSON values, and is given a {type(claims).__name__}."
        )
    found: dict[str, Json] = {}
    for name, value in claims.items():
        if not isinstance(name, str):
            raise DeclarationError(f"Identity(claims=...) has the name {name!r}, and the names of claims are texts.")
        try:
            canonical_json(value)
            found[name] = jsonable(value)
        except InvalidValue as error:
            raise DeclarationError(
                f"The claim {name!r} is a {type(value).__name__}, which is no JSON value: {error}"
            ) from None
    return _Claims(found)


def permission_key(identity: Identity) -> str:
    """The same text for all users with the same permissions: SHA-256 in hex (protocol, section 11)."""
    if identity.permission_key is not None:
        return identity.permission_key
    return _digest(identity.permissions or frozenset(), identity.staff, identity.superuser)


class Account(TypedDict, total=False):
    """What is known of a user beside the id: the fields of an `Identity`, as an account reader returns them."""

    staff: bool
    superuser: bool
    permissions: list[str]
    claims: dict[str, Any]


def claims_key(identity: Identity) -> str | None:
    """The same text for all identities with the same claims: canonical JSON. None for one without claims."""
    return canonical_json(identity.claims) if identity.claims else None


@lru_cache(maxsize=1024)  # an application has fewer sets of permissions
def _digest(permissions: frozenset[str], staff: bool, superuser: bool) -> str:
    message = canonical_json({"permissions": permissions, "staff": staff, "superuser": superuser})
    return hashlib.sha256(message.encode()).hexdigest()
