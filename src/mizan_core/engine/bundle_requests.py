"""What was asked of a context, found valid: its texts and its canonical query."""

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from uuid import UUID

from ..cache.slots import Slot
from ..errors import InvalidValue
from ..graph.inputs import Validator
from ..graph.model import ContextPlan, Function
from ..graph.types.round_trip import read_back
from ..graph.types.snapshots import copied
from ..protocol.urls import canonical_query
from ..protocol.values import canonical


@dataclass(frozen=True, slots=True)
class Spelling:
    """The canonical texts of all parameters, and the query of the canonical URL (protocol, sections 2 and 8).

    `query` is None where a value does not come back from its text, so that no URL is canonical. `sent`: the values that
    the texts stand for, those of defaults left out.
    """

    texts: Mapping[str, str]
    query: str | None
    sent: Mapping[str, object]


# What no reader can change in place, and so may be handed to one after the other.
_IMMUTABLE = (
    *(type(None), bool, int, float, str, bytes, Decimal, UUID, Enum),
    *(datetime.date, datetime.time, datetime.timedelta),
)


# What a remembered query costs beside its texts (tests/engine/test_cache_keys.py measures it): itself, a scope that it
# is in, a reader's place in it, and what a reader is given that does not take all parameters.
_QUERY_BYTES = 1_000


_TAG_BYTES = 200


_CALL_BYTES = 70


_SHARE_BYTES = 200


@dataclass(frozen=True, slots=True, eq=False)
class BundleRequest:
    """What was asked of a context and found valid. `slot` is None where the answer is kept nowhere.

    `canonical`: the query of the canonical URL, as it is sent; None where there is no such URL.
    """

    plan: ContextPlan
    spelling: Spelling
    canonical: bytes | None
    slot: Slot | None
    calls: Sequence[tuple[Function, Mapping[str, object]]] = field(init=False)  # the readers, and what each is given

    def __post_init__(self) -> None:
        calls = [(reader, _own(reader, _share(reader, self.spelling.sent))) for reader in self.plan.readers]
        object.__setattr__(self, "calls", calls)

    @property
    def may_be_remembered(self) -> bool:
        """Whether whoever asks the same again gets the same without another validation."""
        if self.canonical is None or not self.plan.validator.is_pure:
            return False
        return all(isinstance(value, _IMMUTABLE) for value in self.spelling.sent.values())

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        own = [share for _, share in self.calls if share is not self.spelling.sent]
        calls = _CALL_BYTES * len(self.calls) + _SHARE_BYTES * len(own)
        tags = 0 if self.slot is None else _TAG_BYTES * len(self.slot.tags)
        return _QUERY_BYTES + tags + calls + 4 * sys.getsizeof(self.spelling.query)


def spell(plan: ContextPlan, sent: Mapping[str, object]) -> Spelling:
    """Defaults filled in, nulls left out. Raises `InvalidInput` for a value that has no canonical text."""
    texts: dict[str, str] = {}
    for name, parameter in plan.parameters.items():
        text = _text(plan.validator, name, sent[name]) if name in sent else parameter.default_text
        if text is None:
            continue
        texts[name] = text
        if name in sent and text == parameter.default_text:  # readers are given what the canonical URL says
            sent = {key: value for key, value in sent.items() if key != name}
    if plan.round_trips:
        again = read_back(plan.round_trips, sent)
        if again is None:
            return Spelling(texts, None, sent)
        sent = again
    return Spelling(texts, canonical_query(texts, sent, plan.defaults), sent)


def page_texts(function: Function, sent: Mapping[str, object]) -> dict[str, str]:
    """The texts of a page's inputs, as `spell` has those of a bundle."""
    texts = {
        name: _text(function.validator, name, sent[name]) if name in sent else compiled.default_text
        for name, compiled in function.inputs.items()
    }
    return {name: text for name, text in texts.items() if text is not None}


def _own(reader: Function, share: Mapping[str, object]) -> Mapping[str, object]:
    """What no other reader of the bundle can change."""
    return copied(share, reader.mutable_inputs) if reader.mutable_inputs else share


def _share(reader: Function, sent: Mapping[str, object]) -> Mapping[str, object]:
    """The bundle's parameters that one of its readers takes; null for a nullable one that was left out."""
    if reader.required <= sent.keys() <= reader.inputs.keys():
        return sent
    share = {name: value for name, value in sent.items() if name in reader.inputs}
    return share | dict.fromkeys(reader.required - share.keys())


def _text(validator: Validator, name: str, value: object) -> str | None:
    try:
        return None if value is None else canonical(value)
    except InvalidValue:
        raise validator.refuse(name, "Has no canonical spelling", "canonical") from None
