"""The key and tags of a bundle, from its canonical texts; the scopes to purge, from invalidations."""

import sys
from collections.abc import Callable, Mapping, Sequence

from ..cache.slots import Slot
from ..cache.tags import PurgeScope
from ..graph.model import ContextPlan, Graph
from ..memo import Memo
from ..protocol.cache_policy import Never, Per
from ..protocol.identity import Identity, claims_key, permission_key
from ..protocol.invalidation import Invalidation
from ..protocol.keys import ContextKeys, KeyMaker
from ..protocol.values import canonical_string, utf16_order
from .bundle_requests import BundleRequest, PageRequest, ReaderRequest, spell

# Enough for the scopes that mutations of a few thousand users name.
_REMEMBERED_SCOPES_BYTES = 2 * 1024 * 1024
# The bytes of a remembered scope beside its texts.
_SCOPE_BYTES = 800


class CacheKeys:
    """Keys and tags under one secret, for the scope shapes of one graph."""

    def __init__(self, graph: Graph, keys: KeyMaker) -> None:
        self._graph = graph
        self._keys = keys
        self._wholes = {name: keys.tag(name, {}) for name in graph.contexts}
        self._any = {name: keys.any_tag(name) for name, plan in graph.contexts.items() if plan.loose}
        self._scopes: Memo[tuple[object, ...], tuple[PurgeScope, ...]] = Memo(_REMEMBERED_SCOPES_BYTES)
        self._slots = _SlotsByPlan(self._slots_of)

    def query(self, plan: ContextPlan, sent: Mapping[str, object], identity: Identity) -> BundleRequest:
        """The request for these values, with the slot of its answer for this identity. Raises as `spell` does."""
        spelling = spell(plan, sent)
        slots = self._slots[plan]
        if spelling.query is None:  # its texts belong to other values too, and would find their answers
            return slots.kind(plan, spelling, None, None)
        slot = self.slot(plan, spelling.texts, identity) if slots.are_stored else None
        return slots.kind(plan, spelling, spelling.query.encode("ascii"), slot)

    def known_as(self, asked: BundleRequest, identity: Identity) -> BundleRequest:
        """The same request for an identity that is known better by now."""
        again = self.query(asked.plan, asked.spelling.sent, identity)
        if isinstance(again, PageRequest) and isinstance(asked, PageRequest):
            again.own = asked.own
        return again

    def slot(self, plan: ContextPlan, texts: Mapping[str, str], identity: Identity) -> Slot:
        """The slot of the bundle with these parameters, for this identity."""
        return self._slots[plan].slot(texts, identity)

    def page(self, plan: ContextPlan, texts: Mapping[str, str]) -> Slot:
        """A slot with the tags of all known scopes of these parameters, and no key."""
        return self._slots[plan].page(texts)

    def _slots_of(self, plan: ContextPlan) -> "_Slots":
        keys = self._keys.of_context(plan.name, plan.policy.rev, plan.alone)
        last = (self._any[plan.name],) if plan.alone is not None and plan.loose else ()
        return _Slots(plan, keys, self._wholes[plan.name], last)

    def purged(self, invalidations: Sequence[Invalidation]) -> tuple[PurgeScope, ...]:
        """The scopes to purge: for each invalidation the narrowest known scope that contains it comes first.

        Answers of readers alone that lack a parameter of that scope follow, as one scope of the context.
        """
        if len(invalidations) == 1:
            return self._scopes_of(invalidations[0])
        return tuple(dict.fromkeys([scope for one in invalidations for scope in self._scopes_of(one)]))

    def _scopes_of(self, invalidation: Invalidation) -> tuple[PurgeScope, ...]:
        texts = invalidation.scope
        named = invalidation.context, *texts.items()
        scopes = self._scopes.get(named)
        if scopes is None:
            plan = self._graph.contexts[invalidation.context]
            shape = plan.known_shape(texts.keys())
            tags = [self._tag(plan, shape, texts)]
            if shape in plan.loose:
                tags.append(self._any[plan.name])
            whole, fingerprint = self._wholes[plan.name], plan.fingerprint
            first, *others = tags
            scopes = (
                PurgeScope(first, whole, fingerprint, _named(plan, shape, texts)),
                *(PurgeScope(tag, whole, fingerprint) for tag in others),
            )
            self._scopes.put(named, scopes, _SCOPE_BYTES + 2 * sum(map(sys.getsizeof, texts.values())))
        return scopes

    def whole(self, context: str) -> PurgeScope:
        """The scope of a whole context."""
        return self._scopes_of(Invalidation(context))[0]

    def _tag(self, plan: ContextPlan, shape: tuple[str, ...], texts: Mapping[str, str | None]) -> str:
        """The tag of the scope of this shape that contains these parameters."""
        if not shape:
            return self._wholes[plan.name]
        return self._keys.tag(plan.name, {name: texts.get(name) for name in shape})


class _Slots:
    """Makes the slots of one context's bundles. All that does not depend on a request is derived once."""

    def __init__(self, plan: ContextPlan, keys: ContextKeys, whole: str, last: tuple[str, ...]) -> None:
        """`whole`: the tag of the whole context; `last`: tags that come after those of the shapes."""
        self.kind = BundleRequest if plan.alone is None else PageRequest if plan.readers[0].is_view else ReaderRequest
        self.are_stored = not isinstance(plan.policy.lifetime, Never)
        self._keys = keys
        self._per = plan.policy.per
        self._whole = whole
        self._last = last
        self._fingerprint = plan.fingerprint
        # Each parameter as canonical objects have it, in their order: its name, and how a member begins.
        self._members = [(name, f"{canonical_string(name)}:") for name in sorted(plan.parameters, key=utf16_order)]
        # The parameters of each shape but the widest, in that order; None for all of them.
        self._shapes = [
            None if len(shape) == len(self._members) else sorted(shape, key=utf16_order)
            for shape in plan.shapes
            if shape
        ]

    def slot(self, texts: Mapping[str, str], identity: Identity) -> Slot:
        """The slot for these parameters and this identity."""
        written = self._written(texts)
        params = f"{{{','.join(written.values())}}}"
        if self._per is Per.ALL:
            key = self._keys.entry_for_all(params)
        else:
            per_user = self._per is Per.USER
            key = self._keys.entry(
                params,
                user_id=identity.user_id if per_user else None,
                permission_key=permission_key(identity),
                claims=claims_key(identity) if per_user else None,
                of_visitors=per_user and not identity.is_authenticated,
            )
        return Slot(key, self._tags(written, params), self._fingerprint)

    def page(self, texts: Mapping[str, str]) -> Slot:
        """A slot without a key."""
        written = self._written(texts)
        return Slot("", self._tags(written, f"{{{','.join(written.values())}}}"), self._fingerprint)

    def _written(self, texts: Mapping[str, str]) -> dict[str, str]:
        """The members of the canonical object of these texts, by their names and in its order."""
        written = {}
        for name, begin in self._members:
            if name in texts:
                written[name] = begin + canonical_string(texts[name])
        return written

    def _tags(self, written: dict[str, str], params: str) -> tuple[str, ...]:
        """The tags of all known scopes that contain these members. A parameter without a text is null.

        `params`: the canonical object of the members.
        """
        if len(written) < len(self._members):
            written = {name: written.get(name) or f"{begin}null" for name, begin in self._members}
            params = f"{{{','.join(written.values())}}}"
        tag = self._keys.tag
        tags = [
            tag(params if shape is None else f"{{{','.join([written[name] for name in shape])}}}")
            for shape in self._shapes
        ]
        return (self._whole, *tags, *self._last)


def _named(plan: ContextPlan, shape: tuple[str, ...], texts: Mapping[str, str | None]) -> Invalidation:
    params = {name: text for name in shape if (text := texts[name]) is not None}
    return Invalidation(plan.name, params, nulls=frozenset(shape) - params.keys())


class _SlotsByPlan(dict[ContextPlan, _Slots]):
    """The slots of each context, made when they are first asked for."""

    def __init__(self, make: Callable[[ContextPlan], _Slots]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, plan: ContextPlan) -> _Slots:
        made = self[plan] = self._make(plan)
        return made
