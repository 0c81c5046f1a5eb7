"""Scopes as holds and purges see them, and the values of their tags."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..protocol.invalidation import Invalidation


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """A scope to hold or purge: its tag, its context's whole tag, and the fingerprint of that context's shapes.

    `named`: the same scope by its names and canonical texts, as edges are told it.
    """

    tag: str
    whole: str
    fingerprint: bytes
    named: Invalidation | None = field(default=None, compare=False)


class TagValues:
    """Makes values of tags (the protocol's nonces): unguessable, and marked with a fingerprint of scope shapes."""

    PREFIX = b"n"
    RANDOM_BYTES = 15

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def fresh(self, fingerprint: bytes) -> bytes:
        """A value that no tag ever had."""
        return self.PREFIX + fingerprint + self._random(self.RANDOM_BYTES)

    def holder(self) -> str:
        """A name that no other hold has."""
        return self._random(self.RANDOM_BYTES).hex()

    @classmethod
    def is_one(cls, value: bytes, fingerprint: bytes) -> bool:
        """Whether this was made by `fresh`, with this fingerprint or another of its length."""
        return len(value) == len(cls.PREFIX) + len(fingerprint) + cls.RANDOM_BYTES and value.startswith(cls.PREFIX)

    @classmethod
    def made_by(cls, value: object, fingerprint: bytes) -> bool:
        """Whether this was made by `fresh` with this fingerprint."""
        return isinstance(value, bytes) and value.startswith(cls.PREFIX + fingerprint)
