"""A tag that mutations hold: the states of protocol section 7 and the steps between them.

A mutation that was refused has changed nothing, so the tag may get back the nonce that it had, and the entries stored
under it are as good as before. That takes that every holder was refused, that none expired (its process may have died
after it wrote), and that no purge met the tag while it was held. In Redis the same is done in Lua
(`cache/redis_scripts.py`); the tests of Redis compare the two.
"""

import math

# What a tag had before it was held, if it was not there.
ABSENT = b""


class HeldTag:
    """The holders of a tag with the moments at which they expire, and what it had `before`, unless that is spoiled.

    `before`: a nonce, `ABSENT`, or None where nothing may come back. `shown`: the value that the tag has while it is
    held. Times are of any one clock.
    """

    __slots__ = ("_earliest", "before", "holders", "shown")

    def __init__(self, before: bytes | None) -> None:
        self.before = before
        self.holders: dict[str, float] = {}
        self.shown = b""
        self._earliest = math.inf  # no holder expires before this

    def hold(self, holder: str, expires: float, now: float) -> None:
        """Hold it, beside all that hold it already, until it expires."""
        self.expire(now)
        self.holders[holder] = expires
        self._earliest = min(self._earliest, expires)

    def release(self, holder: str, now: float) -> None:
        """Purge it, for a holder that may have written, or for a purge that met it while others hold it."""
        self.before = None
        self.expire(now)
        self.holders.pop(holder, None)

    def restore(self, holder: str, now: float) -> None:
        """Let go of it, for a holder that was refused and wrote nothing."""
        self.expire(now)
        self.holders.pop(holder, None)

    def expire(self, now: float) -> None:
        """Forget holders that have expired. They count as having written."""
        if now < self._earliest:
            return
        late = [holder for holder, expires in self.holders.items() if expires <= now]
        for holder in late:
            del self.holders[holder]
        if late:
            self.before = None
        self._earliest = min(self.holders.values(), default=math.inf)
