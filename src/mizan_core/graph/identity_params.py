"""Parameters that the caller's identity fills in (protocol, section 4): `Annotated[int, Me]`, `Claim("org")`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ..errors import Unauthorized
from ..protocol.identity import Identity
from ..protocol.values import canonical
from .inputs import Compiled, reading
from .types.identity_sources import IdentitySource

logger = logging.getLogger("mizan")


@dataclass(frozen=True, slots=True)
class IdentityParam:
    """A parameter of a function or a context that the identity fills in."""

    name: str
    source: IdentitySource
    compiled: Compiled = field(repr=False, compare=False)
    _read: Callable[[object], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_read", reading(self.compiled.adapter))

    @property
    def is_needed(self) -> bool:
        """Whether a caller without a value is refused."""
        return self.compiled.input.required and not self.compiled.kinds.nullable

    def value(self, identity: Identity) -> object:
        """The validated value. Without one: the default, or null, or else `Unauthorized`.

        A value that is not of the parameter's type is `Unauthorized` too, and logged: the host made the identity.
        """
        raw = self.source.of(identity)
        if raw is None:
            if not self.compiled.input.required:
                return self.compiled.input.default
            if self.compiled.kinds.nullable:
                return None
            raise Unauthorized
        try:
            return self._read(raw)
        except Exception as error:  # noqa: BLE001  # a validator of the developer's may raise anything
            why = error.errors(include_input=False)[0]["msg"] if isinstance(error, ValidationError) else type(error)
            logger.error(  # noqa: TRY400  # a traceback would show the value
                "%s is %s of the caller's identity, which does not fit: %s. The call was refused with 401.",
                self.name,
                self.source,
                why,
            )
            raise Unauthorized from None

    def text(self, identity: Identity) -> str | None:
        """The canonical text of the value, None for a null. Raises `Unauthorized` as `value` does."""
        value = self.value(identity)
        return None if value is None else canonical(value)


def identity_params_of(inputs: Mapping[str, Compiled]) -> tuple[IdentityParam, ...]:
    """Those of the inputs that the identity fills in."""
    found = ((name, one.input.source, one) for name, one in inputs.items())
    return tuple(IdentityParam(name, source, one) for name, source, one in found if source is not None)


def filled(params: Sequence[IdentityParam], sent: dict[str, Any], identity: Identity) -> dict[str, Any]:
    """The arguments that a client sent, and those that the identity fills in. Raises `Unauthorized`."""
    if not params:
        return sent
    return {**sent, **{one.name: one.value(identity) for one in params}}
