"""What the inspector knows of one worker: its last calls and fetches, and rates since somebody looked.

The recorder observes the engine only while a page asks for it, and forgets everything once no page has asked for a
while. Everything in it is bounded. Arguments, results, tokens and cookies are never recorded; parameters of bundles and
scopes are, which say what went out of date.

A record may change after it was made: a call gains the fetches that followed it. Records are kept in the order of
their last change, so a page asks for those that changed after the last one that it has.
"""

import asyncio
import os
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mizan_core.engine.engine import Engine
from mizan_core.engine.observers import (
    CacheChanged,
    Called,
    Calling,
    Fetched,
    FetchFailed,
    Observer,
    Purged,
    Refused,
)
from mizan_core.errors import CallError
from mizan_core.proof import StaleProof, Verify, Width
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.invalidation import Invalidation

# A page asks once a second; a browser slows the timers of a page in the background down to one a minute.
IDLE_SECONDS = 90.0
# The list of a page that is looked at by a person.
MAXIMUM_RECORDS = 300
# Clients ask again at once; a fetch that comes later has another reason.
FOLLOWING_SECONDS = 10.0
MAXIMUM_FOLLOWING = 20
MAXIMUM_PURGES = 64
MAXIMUM_SCOPES = 24
MAXIMUM_TEXT = 240


@dataclass(slots=True)
class ContextRate:
    """How the bundles of one context were answered. `seconds`: of all misses and bypasses together."""

    hits: int = 0
    misses: Counter[str] = field(default_factory=Counter)  # by reason
    bypasses: Counter[str] = field(default_factory=Counter)  # by reason
    failed: int = 0
    seconds: float = 0.0
    largest: int = 0

    def note(self, event: Fetched) -> None:
        self.largest = max(self.largest, event.bytes)
        if event.status == "hit":
            self.hits += 1
            return
        self.seconds += event.seconds
        (self.misses if event.status == "miss" else self.bypasses)[_reason(event.detail)] += 1

    def plain(self) -> dict[str, Any]:
        return {
            "hits": self.hits,
            "misses": dict(self.misses),
            "bypasses": dict(self.bypasses),
            "failed": self.failed,
            "seconds": self.seconds,
            "largest": self.largest,
        }


@dataclass(slots=True)
class FunctionRate:
    """How the calls of one function ended. `purge` and `slowest_purge` in seconds, all together and the longest."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    purge: float = 0.0
    slowest_purge: float = 0.0
    followed: int = 0  # fetches of what it made stale

    def note(self, event: Called) -> None:
        self.outcomes[event.outcome] += 1
        self.seconds += event.seconds
        self.purge += event.purge
        self.slowest_purge = max(self.slowest_purge, event.purge)

    def plain(self) -> dict[str, Any]:
        return {
            "outcomes": dict(self.outcomes),
            "seconds": self.seconds,
            "purge": self.purge,
            "slowest_purge": self.slowest_purge,
            "followed": self.followed,
        }


@dataclass(slots=True)
class _Made:
    """A purge that was made, whose bundles are expected to be fetched again. `at` on the clock of the loop."""

    record: dict[str, Any]
    invalidations: tuple[Invalidation, ...]
    at: float
    function: str | None
    seen: set[tuple[Any, ...]] = field(default_factory=set)


class Recorder(Observer):
    """Records one engine while it is asked for. Its methods run on the engine's event loop."""

    def __init__(self, engine: Engine, verify: Verify | None) -> None:
        self.worker = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._engine = engine
        self._verify = verify
        self._idle: asyncio.TimerHandle | None = None
        self._change = 0  # the number of the last change
        self._number = 0  # the number of the last record
        self._forget()

    @property
    def is_observing(self) -> bool:
        return self._idle is not None

    def changes(self, after: int) -> dict[str, Any]:
        """All that changed after this change; observes from now on, for as long as this is called."""
        self._keep_observing()
        self._note_proofs(None)
        changed = []
        for record in reversed(self._records.values()):
            if record["change"] <= after:
                break
            changed.append(record)
        health = self._engine.health()
        found: dict[str, Any] = {
            "worker": self.worker,
            "change": self._change,
            "records": changed[::-1],
            "cache": {"state": health.cache, "owed": health.owed_purges, "shared": self._engine.cache_is_shared},
        }
        if after == 0 or self._change > after:
            found["contexts"] = {name: rate.plain() for name, rate in self._contexts.items()}
            found["functions"] = {name: rate.plain() for name, rate in self._functions.items()}
            found["verify"] = None if self._verify is None else _verified(self._verify)
        return found

    def fetched(self, event: Fetched) -> None:
        self._contexts.setdefault(event.context, ContextRate()).note(event)
        fetch = {
            "bundle": _bundle(event.asked.plan.label, event.params),
            "context": event.context,
            "status": event.status,
            "reason": _reason(event.detail),
            "seconds": event.seconds,
            "bytes": event.bytes,
            "caller": _caller(event.identity),
            "inside": event.inside,
        }
        made = None if event.inside else self._followed(event)
        if made is None:
            self._add("fetch", fetch)
            return
        if made.function is not None:
            self._functions.setdefault(made.function, FunctionRate()).followed += 1
        made.record["followed"] += 1
        if len(made.record["following"]) < MAXIMUM_FOLLOWING:
            made.record["following"].append(fetch)
        self._touch(made.record)

    def fetch_failed(self, event: FetchFailed) -> None:
        self._contexts.setdefault(event.context, ContextRate()).failed += 1
        shown = {"bundle": _bundle(event.context, event.params), "context": event.context}
        self._add("failed", {**shown, "error": _error(event.error), "seconds": event.seconds})

    def refused(self, event: Refused) -> None:
        if event.function is None:
            self._contexts.setdefault(event.name, ContextRate()).failed += 1
        else:
            self._functions.setdefault(event.name, FunctionRate()).outcomes["refused"] += 1
        is_call = event.function is not None
        shown = {"name": event.name, "is_call": is_call, "caller": _caller(event.identity)}
        self._add("refused", {**shown, "error": _error(event.error)})

    def calling(self, event: Calling) -> None:
        running = {"function": event.function, "caller": _caller(event.identity), "outcome": "running"}
        self._running[id(event)] = self._add("call", {**running, **_stale(self._engine, ()), "proofs": []})

    async def before_running(self, event: Calling) -> None:  # noqa: ARG002  # what differed before was written outside
        self._note_proofs(None)

    def called(self, event: Called) -> None:
        self._functions.setdefault(event.function, FunctionRate()).note(event)
        record = self._running.get(id(event.began))
        if record is None:  # it began before anybody looked
            self.calling(event.began)
            record = self._running[id(event.began)]
        record |= {
            "outcome": event.outcome,
            "error": None if event.error is None else _error(event.error),
            "seconds": event.seconds,
            "held": event.held,
            "purge": event.purge,
            **_stale(self._engine, event.invalidations),
        }
        self._note_purge(record, event.invalidations, event.function)
        self._touch(record)

    async def before_answer(self, event: Called) -> None:
        self._note_proofs(self._running.pop(id(event.began), None))

    def purged(self, event: Purged) -> None:
        facts = {"cause": _cut(event.cause), "proved": event.proof is not None, "purge": event.seconds}
        record = self._add("purge", {**facts, **_stale(self._engine, event.invalidations)})
        self._note_purge(record, event.invalidations, event.function)

    def cache_changed(self, event: CacheChanged) -> None:
        self._add("cache", {"state": event.state, "owed": event.owed})

    def _keep_observing(self) -> None:
        if self._idle is None:
            self._engine.observe(self)
        else:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._stop)

    def _stop(self) -> None:
        self._idle = None
        self._engine.unobserve(self)
        self._forget()

    def _forget(self) -> None:
        self._records: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._running: dict[int, dict[str, Any]] = {}
        self._purges: deque[_Made] = deque(maxlen=MAXIMUM_PURGES)
        self._contexts: dict[str, ContextRate] = {}
        self._functions: dict[str, FunctionRate] = {}
        self._proofs = 0  # how many of `verify.proved` are recorded

    def _add(self, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        record = {"number": self._number, "kind": kind, "at": self._engine.clock(), **facts}
        self._touch(record)
        return record

    def _touch(self, record: dict[str, Any]) -> None:
        """Note that a record is new or has changed."""
        self._change += 1
        record["change"] = self._change
        self._records[record["number"]] = record
        self._records.move_to_end(record["number"])
        if len(self._records) > MAXIMUM_RECORDS:
            self._records.popitem(last=False)

    def _note_purge(
        self, record: dict[str, Any], invalidations: tuple[Invalidation, ...], function: str | None
    ) -> None:
        if invalidations:
            self._purges.append(_Made(record, invalidations, asyncio.get_running_loop().time(), function))

    def _followed(self, event: Fetched) -> _Made | None:
        """The last purge that made this bundle stale, if this is its caller's first fetch of it after the purge."""
        began = asyncio.get_running_loop().time() - event.seconds
        for made in reversed(self._purges):
            if began - made.at > FOLLOWING_SECONDS:
                return None
            if made.at <= began and event.is_touched(made.invalidations):
                key = event.asked.plan.label, event.identity.user_id, *event.params.items()
                if key in made.seen or len(made.seen) >= MAXIMUM_RECORDS:
                    return None
                made.seen.add(key)
                return made
        return None

    def _note_proofs(self, call: dict[str, Any] | None) -> None:
        """Record what was proved meanwhile, and with `call` that it was the one to blame."""
        if self._verify is None:
            return
        proved = self._verify.proved
        if len(proved) < self._proofs:  # a test cleared them
            self._proofs = 0
        new, self._proofs = proved[self._proofs :], len(proved)
        for proof in new:
            blames = call is not None and proof.mutation == call["function"]
            self._add("proof", {**_proof(proof), "call": call["number"] if blames and call is not None else None})
            if blames and call is not None:
                call["proofs"].append(_cut(str(proof)))
                self._touch(call)


def _stale(engine: Engine, invalidations: Sequence[Invalidation]) -> dict[str, Any]:
    """The scopes of a purge, their tags, and nothing that followed yet."""
    shown = invalidations[:MAXIMUM_SCOPES]
    return {
        "scopes": [
            {
                "text": _cut(encode_header([one])),
                "context": one.context,
                "whole": one.is_whole,
                "tag": engine.tag_of(one),
            }
            for one in shown
        ],
        "more_scopes": len(invalidations) - len(shown),
        "following": [],
        "followed": 0,
    }


def _verified(verify: Verify) -> dict[str, Any]:
    return {
        "proved": len(verify.proved),
        "checked": verify.checked,
        "sample": verify.sample,
        "unstable": dict(verify.unstable),
        "widths": [_width(one) for one in verify.widths],
    }


def _width(width: Width) -> dict[str, Any]:
    return {
        "mutation": width.mutation,
        "context": width.context,
        "purged": width.purged,
        "changed": width.changed,
        "narrow_by": {name: str(origin) for name, origin in width.narrow_by.items()},
    }


def _proof(proof: StaleProof) -> dict[str, Any]:
    texts = {name: str(value) for name, value in proof.params.items() if value is not None}
    return {
        "mutation": proof.mutation,
        "context": proof.context,
        "bundle": _bundle(proof.context, texts),
        "path": _cut(proof.path),
        "remedy": _cut(proof.remedy),
        "beside": list(proof.beside),
    }


def _reason(detail: str) -> str:
    """Why a bundle was no hit, in the words of `Cache-Status`: `uri-miss`, `stale`, or the detail of a bypass."""
    members = dict(part.partition("=")[::2] for part in detail.split("; "))
    reason = members.get("detail") or members.get("fwd") or detail
    return f"{reason}, collapsed" if "collapsed" in members else reason


def _bundle(context: str, params: Mapping[str, str]) -> str:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    return _cut(f"{context}?{query}" if query else context)


def _caller(identity: Identity) -> str | None:
    return None if identity.user_id is None else _cut(str(identity.user_id))


def _error(error: Exception) -> str:
    """The class and the code. Texts of unexpected exceptions may be secret."""
    name = type(error).__name__
    return f"{name}, {error.status} {error.code}" if isinstance(error, CallError) else name


def _cut(text: str) -> str:
    return text if len(text) <= MAXIMUM_TEXT else f"{text[: MAXIMUM_TEXT - 1]}…"
