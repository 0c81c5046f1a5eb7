"""Calls and fetches as lines of JSON: recorded by an observer, and read again by an audit.

A line is `{"call": name, "args": {...}, "as": {...}}` or `{"fetch": context, "params": {...}, "as": {...}}`, where `as`
is the caller: `user_id`, `staff`, `superuser`, `permissions` and `claims`, each left out where it says nothing. What
the caller's identity fills in is no argument here. A recording holds what people sent: keep it as safe as the database.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, TextIO

from ..engine.observers import Calling, Fetched, Observer
from ..errors import DeclarationError
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.values import Json, jsonable

logger = logging.getLogger("mizan")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line: a call of a function, or a fetch of a context."""

    kind: str  # "call" or "fetch"
    name: str
    values: Mapping[str, Json]
    identity: Identity = ANONYMOUS

    def line(self) -> str:
        """The line, with its end."""
        values = "args" if self.kind == "call" else "params"
        told: dict[str, object] = {self.kind: self.name, values: self.values}
        if caller := _caller(self.identity):
            told["as"] = caller
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n"


class Recorder(Observer):
    """Writes every call and every fetch to `file`: `Engine(graph, observers=[Recorder(file)])`.

    An argument that has no JSON form, such as an upload, leaves its call out, which is logged once for each function.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._left_out: set[str] = set()

    def fetched(self, event: Fetched) -> None:
        if not event.inside and event.reader is None:
            filled = {one.name for one in event.asked.plan.identity_params}
            self._record("fetch", event.context, event.asked.spelling.sent, filled, event.identity)

    def calling(self, event: Calling) -> None:
        self._record("call", event.function, event.arguments, event.filled, event.identity)

    def _record(self, kind: str, name: str, values: Mapping[str, object], filled: Set[str], identity: Identity) -> None:
        try:
            plain = {key: jsonable(value) for key, value in values.items() if key not in filled}
        except Exception:  # noqa: BLE001  # a value's own code may raise anything
            if name not in self._left_out:
                self._left_out.add(name)
                logger.warning("%s is not recorded: an argument has no JSON form.", name)
            return
        self._file.write(Recorded(kind, name, plain, identity).line())


def read_recording(lines: Iterable[str]) -> Iterator[Recorded]:
    """The calls and fetches of a recording. Raises `DeclarationError` with the number of a line that is none."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _read(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                said = f"Line {number} of the recording is neither a call nor a fetch: {line[:80]!r}"
                raise DeclarationError(said) from error


def _read(told: Any) -> Recorded:
    kind = "call" if "call" in told else "fetch"
    values = told["args" if kind == "call" else "params"]
    caller = told.get("as", {})
    user_id = caller.get("user_id")
    identity = ANONYMOUS
    if caller:
        identity = Identity(
            user_id,
            staff=bool(caller.get("staff")),
            superuser=bool(caller.get("superuser")),
            permissions=caller.get("permissions", ()),
            claims=caller.get("claims"),
        )
    return Recorded(kind, str(told[kind]), dict(values.items()), identity)


def _caller(identity: Identity) -> dict[str, object]:
    told: dict[str, object] = {}
    if identity.user_id is not None:
        told["user_id"] = identity.user_id
    if identity.staff:
        told["staff"] = True
    if identity.superuser:
        told["superuser"] = True
    if identity.permissions:
        told["permissions"] = sorted(identity.permissions)
    if identity.claims:
        told["claims"] = identity.claims
    return told
