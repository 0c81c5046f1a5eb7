"""Valid requests for bundles: the values of the parameters, their canonical texts, and the canonical query."""

import datetime
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from itertools import repeat
from typing import Any
from uuid import UUID

from ..cache.outcomes import Computed
from ..cache.slots import Slot
from ..errors import InvalidInput, InvalidValue
from ..graph.inputs import Validator
from ..graph.model import ContextPlan, Function
from ..graph.types.round_trip import read_back
from ..graph.types.snapshots import copied
from ..protocol.bodies import encode_json
from ..protocol.kept_pages import kept_form
from ..protocol.urls import canonical_query, encode_text
from ..protocol.values import canonical
from .answers import plain_result


@dataclass(slots=True)
class Spelling:
    """The canonical texts of all parameters, and the query of the canonical URL (protocol, sections 2 and 8).

    `query`: None if reading a value's text would give another value, so that no URL is canonical. `sent`: the values of
    the texts, without those equal to their defaults.
    """

    texts: Mapping[str, str]
    query: str | None
    sent: Mapping[str, object]


# Types whose values no reader can change in place, so that one value may be passed to several readers.
_IMMUTABLE = (
    *(type(None), bool, int, float, str, bytes, Decimal, UUID, Enum),
    *(datetime.date, datetime.time, datetime.timedelta),
)


# The bytes of a remembered request beside its texts (tests/engine/test_cache_keys.py measures them): the request, each
# of its tags, each reader's call, and the arguments of each reader that does not take all parameters.
_QUERY_BYTES = 1_000
_TAG_BYTES = 200
_CALL_BYTES = 70
_SHARE_BYTES = 200


@dataclass(slots=True, eq=False)
class BundleRequest:
    """A valid request for the bundle of a context. `slot`: None if the answer is not stored.

    `canonical`: the query of the canonical URL, as it is sent; None if there is no such URL.
    """

    plan: ContextPlan
    spelling: Spelling
    canonical: bytes | None
    slot: Slot | None
    calls: Sequence[tuple[Function, Mapping[str, object]]] = field(init=False)  # the readers, each with its arguments
    name: Hashable = field(init=False)  # of its computation: the slot's key, or else the context and its parameters

    def __post_init__(self) -> None:
        plan, sent, slot = self.plan, self.spelling.sent, self.slot
        self.name = slot.key if slot is not None else (plan.label, frozenset(self.spelling.texts.items()))
        if plan.readers_share_parameters and len(sent) == len(plan.parameters):
            self.calls = list(zip(plan.readers, repeat(sent)))
        else:
            self.calls = [(reader, _own(reader, _share(reader, sent))) for reader in plan.readers]

    @property
    def texts(self) -> dict[str, str | None]:
        """The canonical text of every parameter; None for a null. As `touches` takes them."""
        return {**dict.fromkeys(self.plan.parameters), **self.spelling.texts}

    @property
    def may_be_remembered(self) -> bool:
        """Whether this may stand for later requests with the same query, without validating them."""
        if self.canonical is None or not self.plan.is_pure:
            return False
        for value in self.spelling.sent.values():  # noqa: SIM110  # takes half the time that a generator does
            if not isinstance(value, _IMMUTABLE):
                return False
        return True

    finish = staticmethod(plain_result)  # makes what `computed` takes of a reader's result

    def computed(self, results: Sequence[Any], *, personal: bool, declined: bool) -> Computed:
        """The answer of the readers' results, in their order, as `finish` makes them."""
        named = {reader.member: result for reader, result in zip(self.plan.readers, results, strict=True)}
        return Computed(encode_json(named), personal, declined)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        sent = self.spelling.sent
        own = 0 if self.plan.readers_share_parameters else sum(share is not sent for _, share in self.calls)
        calls = _CALL_BYTES * len(self.calls) + _SHARE_BYTES * own
        tags = 0 if self.slot is None else _TAG_BYTES * len(self.slot.tags)
        return _QUERY_BYTES + tags + calls + 4 * sys.getsizeof(self.spelling.query)


class ReaderRequest(BundleRequest):
    """A valid request for one reader's value by itself."""

    __slots__ = ()

    def computed(self, results: Sequence[Any], *, personal: bool, declined: bool) -> Computed:
        return Computed(encode_json(results[0]), personal, declined)


class PageRequest(ReaderRequest):
    """A valid request for the response of a view, for one caller.

    `own`: empty, or the response that was made for this caller and cannot be kept, whether it looked at its caller, and
    whether it declined to be kept.
    """

    __slots__ = ("own",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.own: list[tuple[Any, bool, bool]] = []

    @staticmethod
    def finish(function: Function, result: object) -> Any:  # noqa: ARG004  # as `plain_result`
        """The response as it is."""
        return result

    def computed(self, results: Sequence[Any], *, personal: bool, declined: bool) -> Computed:
        (response,) = results
        kept = kept_form(response)
        if kept is None:
            self.own[:] = [(response, personal, declined)]
            return Computed(b"", personal=True, declined=declined)
        body, seconds = kept
        return Computed(body, personal, declined, seconds)


def spell(plan: ContextPlan, sent: Mapping[str, object]) -> Spelling:
    """The canonical texts, defaults filled in and nulls left out. Raises `InvalidInput` for a value without one."""
    texts: dict[str, str] = {}
    pairs: list[str] = []
    is_plain = not plan.round_trips
    for name, default, begin in plan.spelled:
        value = sent.get(name)
        if value is None:
            if default is not None and name not in sent:
                texts[name] = default
            continue
        try:
            text = texts[name] = canonical(value)
        except InvalidValue:
            raise _refused(plan.validator, name) from None
        if text == default:  # readers get the default, as by the canonical URL
            sent = {key: value for key, value in sent.items() if key != name}
        elif begin is not None:
            pairs.append(begin + encode_text(text))
            is_plain = is_plain and text[:1] != "["
    if is_plain:  # `canonical_query`, written out: `spelled` is sorted
        return Spelling(texts, "&".join(pairs), sent)
    if plan.round_trips:
        again = read_back(plan.round_trips, sent)
        if again is None:
            return Spelling(texts, None, sent)
        sent = again
    in_url = {name: text for name, text in texts.items() if name in plan.client_parameters}
    return Spelling(texts, canonical_query(in_url, sent, plan.defaults), sent)


def _own(reader: Function, share: Mapping[str, object]) -> Mapping[str, object]:
    """The arguments of a reader, with copies of those that it could change in place."""
    return copied(share, reader.mutable_inputs) if reader.mutable_inputs else share


def _share(reader: Function, sent: Mapping[str, object]) -> Mapping[str, object]:
    """The bundle's parameters that one of its readers takes; null for a nullable one that was left out."""
    if reader.required <= sent.keys() <= reader.inputs.keys():
        return sent
    share = {name: value for name, value in sent.items() if name in reader.inputs}
    return share | dict.fromkeys(reader.required - share.keys())


def _refused(validator: Validator, name: str) -> InvalidInput:
    return validator.refuse(name, "Has no canonical spelling", "canonical")
