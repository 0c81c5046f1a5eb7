"""The journal: scopes that edges may have yet to be told, kept where every process finds them if this one dies.

Each is noted before its function runs, with a lease that is renewed until the edges have been told. A scope whose lease
has ended belongs to a process that has died: another one claims it, and tells the edges.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Container, Iterable, Sequence
from typing import Any

from ..cache.backends.backend import CacheBackend, JournalBackend
from ..errors import CacheUnavailable
from ..protocol.invalidation import Invalidation

# A scope of longer texts is noted as its whole context.
_MAXIMUM_NOTE_BYTES = 2_048
# Scopes that one look claims. The next look claims more.
CLAIMED_AT_ONCE = 500


class Journal:
    """Notes scopes in a backend that keeps a journal. In any other backend nothing is noted: `is_durable` is False.

    `deadline`: how long one command may take, in seconds. `lease`: for how many seconds a note is left to its process.
    """

    def __init__(self, backend: CacheBackend, *, deadline: float, lease: float) -> None:
        self._backend = backend if isinstance(backend, JournalBackend) else None
        self._deadline = deadline
        self.lease = lease

    @property
    def is_durable(self) -> bool:
        """Whether notes outlive this process."""
        return self._backend is not None

    async def write(self, notes: Sequence[bytes]) -> None:
        """Note these, or renew their leases. Raises `CacheUnavailable`."""
        if self._backend is not None and notes:
            await self._bounded(self._backend.journal_write(notes, self.lease))

    async def strike(self, notes: Sequence[bytes]) -> None:
        """Remove these. Raises `CacheUnavailable`; then they are told once more, which is harmless."""
        if self._backend is not None and notes:
            await self._bounded(self._backend.journal_strike(notes))

    async def claim(self, contexts: Container[str]) -> dict[bytes, Invalidation]:
        """Claim notes whose lease has ended. Those of no known context are struck. Raises `CacheUnavailable`."""
        if self._backend is None:
            return {}
        found = await self._bounded(self._backend.journal_claim(CLAIMED_AT_ONCE, self.lease))
        read = {note: _read(note) for note in found}
        scopes = {note: scope for note, scope in read.items() if scope is not None and scope.context in contexts}
        await self.strike([note for note in read if note not in scopes])
        return scopes

    async def _bounded(self, operation: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._deadline):
                return await operation
        except Exception as error:
            raise CacheUnavailable("The journal of what edges have to be told cannot be reached.") from error


def notes_of(scopes: Iterable[Invalidation]) -> dict[bytes, Invalidation]:
    """One note for each scope, which no other mutation's is equal to."""
    author = secrets.token_hex(8)
    return {_note(author, scope): scope for scope in scopes}


def _note(author: str, scope: Invalidation) -> bytes:
    note = json.dumps([author, scope.context, dict(scope.scope)]).encode()
    return note if len(note) <= _MAXIMUM_NOTE_BYTES else json.dumps([author, scope.context, {}]).encode()


def _read(note: bytes) -> Invalidation | None:
    try:
        _, context, texts = json.loads(note)
        nulls = frozenset(name for name, text in texts.items() if text is None)
        params = {name: text for name, text in texts.items() if text is not None}
    except (ValueError, TypeError, AttributeError):  # another program wrote it
        return None
    return Invalidation(context, params, nulls=nulls) if isinstance(context, str) else None
