"""The value that says what is out of date, and how such values merge and match (protocol, sections 3 to 5)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .values import texts_of

T = TypeVar("T")


class _Encodings:
    """A slot for `Invalidation.encoded`. It is no field, so it is neither shown, pickled nor serialised."""

    __slots__ = ("_encodings",)

    _encodings: dict[Callable[..., Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Invalidation(_Encodings):
    """A context, or one function of it, is out of date for the bundles whose parameters equal `params`.

    No parameters mean the whole context. Values are JSON values, or texts where they were read from a header; two
    invalidations are equal if their canonical texts are (protocol, section 2). A null says nothing of its parameter,
    except of those in `nulls`, which are null in each of the bundles.
    """

    context: str
    params: Mapping[str, object] = field(default_factory=dict)
    function: str | None = None
    nulls: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
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
        """What sets bundles apart: the canonical texts, and None for what is null in each of them."""
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


def merge(invalidations: Iterable[Invalidation]) -> tuple[Invalidation, ...]:
    """No repeats; a whole context swallows all else of it, a whole function what is scoped of that function."""
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
    """Whether the bundle with these canonical texts is out of date.

    A parameter that `texts` does not know may have any value, so nothing sets the bundle apart; None is a known null.
    """
    return invalidation.context == context and within(invalidation.scope, texts)


def within(scope: Mapping[str, str | None], texts: Mapping[str, str | None]) -> bool:
    """The same for the scope of an invalidation of the bundle's context."""
    return all(texts.get(name, text) == text for name, text in scope.items())
