"""Mizan Web Tokens (MWT): identities as standard JWTs (protocol, section 11).

The newest key signs. A token names the key that verifies it.
"""

import math
from collections.abc import Mapping
from typing import Any

import jwt

from ..errors import DeclarationError, TokenError
from .identity import Identity, permission_key
from .keys import check_secret

ALGORITHM = "HS256"
# Clocks differ: `nbf`, `iat` and `exp` are compared with this tolerance.
LEEWAY_SECONDS = 5
# No honest token is longer. A longer one is refused before any cryptography.
MAXIMUM_TOKEN_BYTES = 4096
DEFAULT_TTL_SECONDS = 300

Keys = Mapping[str, str | bytes]

_CLAIM_TYPES: Mapping[str, type] = {"sub": str, "pkey": str, "staff": bool, "super": bool, "claims": dict}
_REQUIRED = ("exp", "iat", "sub", "aud")


def check_keys(keys: Keys) -> dict[str, bytes]:
    """The keys as bytes, in their order, newest last. Raises `DeclarationError` for none, or for a short one."""
    if not isinstance(keys, Mapping):
        raise DeclarationError(f"mwt_keys is a {type(keys).__name__}; it maps a key id to a secret, the newest last.")
    if not keys:
        raise DeclarationError("mwt_keys is empty; it maps a key id to a secret, the newest last.")
    return {kid: check_secret(f"MWT secret {kid!r}", secret) for kid, secret in keys.items()}


def issue_mwt(
    identity: Identity,
    keys: Keys,
    *,
    ttl: float = DEFAULT_TTL_SECONDS,
    audience: str = "mizan",
    now: float,
) -> str:
    """A token that vouches for the identity for `ttl` seconds from `now` (seconds since 1970).

    Raises `TokenError` for an anonymous identity and for one whose claims make the token too long, `DeclarationError`
    for keys that are not secrets.
    """
    checked = check_keys(keys)
    if identity.user_id is None:
        raise TokenError("Nobody cannot have a token: the identity has no user id.")
    if not 0 < ttl < math.inf:
        raise DeclarationError(f"A token's ttl is a number of seconds above 0, not {ttl!r}.")
    kid, secret = list(checked.items())[-1]
    issued = int(now)
    claims = {
        "sub": identity.user_id,
        "pkey": permission_key(identity),
        "staff": identity.staff,
        "super": identity.superuser,
        **({"claims": identity.claims} if identity.claims else {}),
        "aud": audience,
        "iat": issued,
        "nbf": issued,
        "exp": issued + math.ceil(ttl),
    }
    token = jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"kid": kid, "typ": "JWT"})
    if len(token) > MAXIMUM_TOKEN_BYTES:
        raise TokenError(
            f"The token has {len(token)} bytes with its claims, and no token may have more than {MAXIMUM_TOKEN_BYTES}; "
            "keep in claims what identifies, such as an id, and look the rest up."
        )
    return token


def verify_mwt(token: str, keys: Keys, *, audience: str = "mizan", now: float) -> Identity:
    """The identity that a token vouches for, with its claims and, for permissions, their key alone.

    Raises `TokenError` with the reason.
    """
    claims = _verified_claims(token, check_keys(keys))
    for name in _REQUIRED:
        if name not in claims:
            raise TokenError(f"claim {name!r} is missing")
    for name, kind in _CLAIM_TYPES.items():
        if name in claims and type(claims[name]) is not kind:
            raise TokenError(f"claim {name!r} is not a {kind.__name__}")
    _check_audience(claims["aud"], audience)
    _check_times(claims, now)
    staff, superuser = claims.get("staff", False), claims.get("super", False)
    unprivileged = permission_key(Identity(claims["sub"], staff=staff, superuser=superuser))
    return Identity(
        claims["sub"],
        staff=staff,
        superuser=superuser,
        permissions=None,
        permission_key=claims.get("pkey", unprivileged),
        claims=claims.get("claims"),
        by_token=True,
    )


def names_key(token: str, keys: Keys) -> bool:
    """Whether a token names one of these keys: it is meant for Mizan, and has to be verified."""
    if len(token.encode(errors="replace")) > MAXIMUM_TOKEN_BYTES:
        return False
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return False
    return isinstance(kid, str) and kid in keys


def _verified_claims(token: str, keys: Mapping[str, bytes]) -> dict[str, Any]:
    if len(token.encode(errors="replace")) > MAXIMUM_TOKEN_BYTES:
        raise TokenError(f"longer than {MAXIMUM_TOKEN_BYTES} bytes")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        if not isinstance(kid, str) or kid not in keys:
            raise TokenError("its key id is unknown")
        # `verify_mwt` checks times and audience itself: by the caller's clock, and stricter about types than PyJWT.
        return jwt.decode(
            token,
            keys[kid],
            algorithms=[ALGORITHM],
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise TokenError(f"{type(error).__name__}: not a valid token") from error


def _check_audience(claimed: object, audience: str) -> None:
    audiences = claimed if isinstance(claimed, list) else [claimed]  # RFC 7519, 4.1.3: one text or a list
    if not all(isinstance(one, str) for one in audiences):
        raise TokenError("claim 'aud' is not a str")
    if audience not in audiences:
        raise TokenError("it is for another audience")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "iat", "nbf"):
        time = claims.get(name, 0)
        if type(time) not in (int, float) or not -math.inf < time < math.inf:
            raise TokenError(f"claim {name!r} is not a number")
    if claims["exp"] + LEEWAY_SECONDS <= now:
        raise TokenError("it has expired")
    if max(claims["iat"], claims.get("nbf", 0)) - LEEWAY_SECONDS > now:
        raise TokenError("it is not valid yet")
