"""What is held and purged, and by which names. `memory_holds` and `backend_holds` say how it is written."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """What an invalidation purges: its tag, and the tag of its whole context."""

    tag: str
    whole: str
    fingerprint: bytes


class TagValues:
    """Fresh values of tags: unguessable, and telling by whose scope shapes (their fingerprint) they were made."""

    PREFIX = b"n"
    RANDOM_BYTES = 15

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def fresh(self, fingerprint: bytes) -> bytes:
        return self.PREFIX + fingerprint + self._random(self.RANDOM_BYTES)

    def holder(self) -> str:
        return self._random(self.RANDOM_BYTES).hex()

    @classmethod
    def is_one(cls, value: bytes, fingerprint: bytes) -> bool:
        """Whether a tag's value is a nonce, of this fingerprint or of another as long."""
        return len(value) == len(cls.PREFIX) + len(fingerprint) + cls.RANDOM_BYTES and value.startswith(cls.PREFIX)

    @classmethod
    def made_by(cls, value: object, fingerprint: bytes) -> bool:
        """Whether a tag's value is a nonce of this fingerprint's."""
        return isinstance(value, bytes) and value.startswith(cls.PREFIX + fingerprint)
