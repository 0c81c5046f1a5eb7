"""`Invalidation`, the value that names stale bundles: how two merge, and which bundles one touches (section 4)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .values import texts_of

T = TypeVar("T")


class _Encodings:
    """The slot of `Invalidation.encoded`: no field, so that it is not shown, pickled or serialised."""

    __slots__ = ("_encodings",)

    _encodings: dict[Callable[..., Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Invalidation(_Encodings):
    """A context, or one function of it, is stale in the bundles whose parameters equal `params`.

    Without parameters the whole context is stale. Values are JSON values, or texts if they come from a header; two
    invalidations are equal if their canonical texts are (protocol, section 2). A null parameter does not narrow, unless
    it is in `nulls`: then the stale bundles are those in which it is null.
    """

    context: str
    params: Mapping[str, object] = field(default_factory=dict)
    function: str | None = None
    nulls: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether no parameter narrows it."""
        return not self.nulls and (not self.params or all(value is None for value in self.params.values()))

    @property
    def texts(self) -> Mapping[str, str]:
        """The canonical text of every parameter that is not null."""
        return self.encoded(_texts)

    def encoded(self, encode: Callable[["Invalidation"], T]) -> T:
        """The result of `encode`, computed once: an engine answers with the same invalidation many times."""
        try:
            return self._encodings[encode]  # type: ignore[no-any-return]  # stored under the function that returned it
        except AttributeError:  # nothing was encoded yet
            object.__setattr__(self, "_encodings", {})
        except KeyError:
            pass
        return self._encodings.setdefault(encode, encode(self))  # type: ignore[no-any-return]  # as above

    @property
    def scope(self) -> Mapping[str, str | None]:
        """The canonical texts that narrow, and None for each parameter in `nulls`."""
        return {**self.texts, **dict.fromkeys(self.nulls)} if self.nulls else self.texts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Invalidation) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str | None, frozenset[tuple[str, str | None]]]:
        return self.context, self.function, frozenset(self.scope.items())


def _texts(invalidation: Invalidation) -> dict[str, str]:
    return texts_of(invalidation.params)


def spelled(invalidation: Invalidation) -> str:
    """As `X-Mizan-Invalidate` spells it, for people: not percent-encoded, and with its nulls."""
    reader = f"/{invalidation.function}" if invalidation.function else ""
    pairs = (f";{name}={'null' if text is None else text}" for name, text in sorted(invalidation.scope.items()))
    return f"{invalidation.context}{reader}{''.join(pairs)}"


def merge(invalidations: Iterable[Invalidation]) -> tuple[Invalidation, ...]:
    """The invalidations without repeats, and without those that a whole context or function among them includes."""
    every = tuple(invalidations)
    if len(every) < 2:
        return every
    distinct = list(dict.fromkeys(every))
    whole = {(one.context, one.function) for one in distinct if one.is_whole}
    return tuple(
        one
        for one in distinct
        if (one.is_whole and one.function is None)
        or ((one.context, None) not in whole and (one.is_whole or (one.context, one.function) not in whole))
    )


def touches(invalidation: Invalidation, context: str, texts: Mapping[str, str | None]) -> bool:
    """Whether the bundle of a context with these canonical texts is stale.

    None is null. A parameter that is missing from `texts` is unknown, and may have the value of the invalidation.
    """
    return invalidation.context == context and within(invalidation.scope, texts)


def within(scope: Mapping[str, str | None], texts: Mapping[str, str | None]) -> bool:
    """As `touches`, for the scope of an invalidation of the bundle's context."""
    return all(texts.get(name, text) == text for name, text in scope.items())
