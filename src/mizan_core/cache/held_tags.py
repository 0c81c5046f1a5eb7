"""A tag that mutations hold: the states of protocol section 7 and the steps between them.

A mutation that was refused has changed nothing, so the tag may get back the value that it had, and the entries stored
under it are valid again. The value is restored only if every holder was refused, no hold expired (its process may have
died after it wrote), and no purge met the tag while it was held. Redis does the same in Lua (`backends/redis_scripts`);
the tests of Redis compare the two.
"""

import math

# The `before` of a tag that was absent when it was first held.
ABSENT = b""


class HeldTag:
    """A held tag: its holders, with the moments at which their holds expire, and the value to restore.

    `before`: the value that the tag had, or `ABSENT`; None once it is spoiled, so that nothing is restored. `shown`:
    the value under the tag while it is held. All times are of one clock.
    """

    __slots__ = ("_earliest", "before", "holders", "shown")

    def __init__(self, before: bytes | None) -> None:
        self.before = before
        self.holders: dict[str, float] = {}
        self.shown = b""
        self._earliest = math.inf  # no holder expires before this

    def hold(self, holder: str, expires: float, now: float) -> None:
        """Add a holder, or extend its hold, until `expires`."""
        self.expire(now)
        self.holders[holder] = expires
        self._earliest = min(self._earliest, expires)

    def release(self, holder: str, now: float) -> None:
        """Remove a holder that may have written, or purge for one that holds nothing: the tag is spoiled."""
        self.before = None
        self.expire(now)
        self.holders.pop(holder, None)

    def restore(self, holder: str, now: float) -> None:
        """Remove a holder that was refused and wrote nothing."""
        self.expire(now)
        self.holders.pop(holder, None)

    def expire(self, now: float) -> None:
        """Remove holders whose holds have expired. Each counts as having written."""
        if now < self._earliest:
            return
        late = [holder for holder, expires in self.holders.items() if expires <= now]
        for holder in late:
            del self.holders[holder]
        if late:
            self.before = None
        self._earliest = min(self.holders.values(), default=math.inf)
