"""The keys of entries and tags: HMAC-SHA256 under the cache secret (protocol, section 7)."""

import hmac
from collections.abc import Mapping

from ..errors import DeclarationError
from .values import canonical, canonical_object, canonical_string, texts_of

# HMAC-SHA256 gains nothing beyond the 32 bytes of its digest and loses strength below them (RFC 2104, section 3).
MINIMUM_SECRET_BYTES = 32


def check_secret(what: str, secret: str | bytes) -> bytes:
    """The secret as bytes, text in UTF-8. Raises `DeclarationError` for one that is too short; `what` names it."""
    raw = secret.encode() if isinstance(secret, str) else secret
    if not isinstance(raw, bytes):
        raise DeclarationError(f"The {what} is text or bytes, not {type(secret).__name__}.")
    if len(raw) < MINIMUM_SECRET_BYTES:
        raise DeclarationError(
            f"The {what} has {len(raw)} bytes and needs at least {MINIMUM_SECRET_BYTES}. "
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return raw


class KeyMaker:
    """Makes keys under one secret, from parameters that are canonical texts."""

    __slots__ = ("_mac",)

    def __init__(self, secret: str | bytes) -> None:
        self._mac = hmac.new(secret.encode() if isinstance(secret, str) else secret, digestmod="sha256")

    def entry(
        self,
        context: str,
        texts: Mapping[str, str],
        *,
        user_id: str | None = None,
        permission_key: str | None = None,
        claims: str | None = None,
        of_visitors: bool = False,
        rev: int = 0,
        reader: str | None = None,
    ) -> str:
        """The key of a bundle's entry. Null parameters are left out of `texts`; `claims` are canonical JSON.

        `of_visitors`: a bundle that is kept per user, for those that are not signed in. `reader`: the entry is that of
        this reader alone.
        """
        return self.of_context(context, rev, reader).entry(
            canonical_object(texts),
            user_id=user_id,
            permission_key=permission_key,
            claims=claims,
            of_visitors=of_visitors,
        )

    def tag(self, context: str, texts: Mapping[str, str | None]) -> str:
        """The tag of a scope. None is a parameter that is null in all of the scope."""
        return self.of_context(context).tag(canonical_object(texts))

    def any_tag(self, context: str) -> str:
        """The tag that is deleted with each scope by a parameter that one of the context's readers lacks."""
        return self.of_context(context).any_tag()

    def of_context(self, context: str, rev: int = 0, reader: str | None = None) -> "ContextKeys":
        """Makes the keys of this context alone; `rev` and `reader` are those of its entries."""
        return ContextKeys(self._mac, context, rev, reader)


class ContextKeys:
    """Makes the keys of one context. What their messages have in common is written once.

    Messages are canonical JSON: the methods write members in sorted order.
    """

    __slots__ = ("_alone", "_key", "_key_of_tag", "_mac", "_name", "_params", "_rev", "_scope")

    def __init__(self, mac: hmac.HMAC, context: str, rev: int, reader: str | None) -> None:
        self._mac = mac
        self._name = f'"c":{canonical_string(context)}'
        self._alone = "" if reader is None else f'"f":{canonical_string(reader)},'
        self._params = f'{{{self._name},{self._alone}"p":'
        self._scope = f'{{{self._name},"s":'
        self._rev = f',"r":{rev}'
        self._key = f"ctx:{context}:"
        self._key_of_tag = f"tag:{context}:"

    def entry(
        self,
        params: str,
        *,
        user_id: str | None = None,
        permission_key: str | None = None,
        claims: str | None = None,
        of_visitors: bool = False,
    ) -> str:
        """As `KeyMaker.entry`. `params`: the canonical object of the texts."""
        permissions = "" if permission_key is None else f'"k":{canonical_string(permission_key)},'
        claimed = "" if claims is None else f'"cl":{canonical_string(claims)},'
        user = "" if user_id is None else f',"u":{canonical_string(user_id)}'
        if of_visitors:
            user = ',"u":null'
        return self._key + self._hex(
            f'{{{self._name},{claimed}{self._alone}{permissions}"p":{params}{self._rev}{user}}}'
        )

    def entry_for_all(self, params: str) -> str:
        """As `entry`, of a bundle that is the same for everyone."""
        return self._key + self._hex(f"{self._params}{params}{self._rev}}}")

    def tag(self, params: str) -> str:
        """As `KeyMaker.tag`. `params`: the canonical object of the texts."""
        return self._key_of_tag + self._hex(f"{self._scope}{params}}}")

    def any_tag(self) -> str:
        """As `KeyMaker.any_tag`."""
        return self._key_of_tag + self._hex(f'{{"any":true,{self._name}}}')

    def _hex(self, message: str) -> str:
        """The HMAC of a message."""
        mac = self._mac.copy()
        mac.update(message.encode())
        return mac.hexdigest()


def entry_key(
    secret: str | bytes,
    context: str,
    params: Mapping[str, object],
    *,
    user_id: object | None = None,
    permission_key: str | None = None,
    rev: int = 0,
    reader: str | None = None,
) -> str:
    """The key under which one bundle is stored, or `reader`'s value alone: `ctx:{context}:` and 64 hex digits."""
    user = None if user_id is None else canonical(user_id)
    return KeyMaker(secret).entry(
        context, texts_of(params), user_id=user, permission_key=permission_key, rev=rev, reader=reader
    )


def scope_tag(secret: str | bytes, context: str, params: Mapping[str, object]) -> str:
    """The tag that a purge of this scope deletes: `tag:{context}:` and 64 hex digits. `{}` is the whole context."""
    return KeyMaker(secret).tag(context, texts_of(params))
