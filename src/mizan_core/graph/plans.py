"""Facts of a context, derived once: its policy, scope shapes and fingerprint."""

import hashlib
from collections.abc import Mapping, Sequence

from ..protocol.cache_policy import CachePolicy, most_private, shortest
from ..protocol.values import canonical_json
from .access import Anyone
from .inputs import Compiled, Parameter
from .model import Function
from .types.result_shapes import result_shape

# A context's entries depend on one tag per shape, so shapes are few (protocol, section 7).
MAXIMUM_SHAPES = 16


# Versions of one context that live side by side are few; 64 bits tell them apart.
FINGERPRINT_BYTES = 8


def _policy(readers: Sequence[Function]) -> CachePolicy:
    return CachePolicy(
        rev=max(reader.declaration.rev for reader in readers),
        lifetime=shortest([reader.declaration.lifetime for reader in readers]),
        per=most_private([reader.private_to for reader in readers]),
        guarded=any(reader.guard != Anyone() for reader in readers),
    )


def _fingerprint(
    readers: Sequence[Function], parameters: Mapping[str, Parameter], shapes: Sequence[tuple[str, ...]]
) -> bytes:
    message = {
        "readers": sorted(reader.name for reader in readers),
        "parameters": {
            name: [one.default_text, one.required, sorted(one.kinds.own)] for name, one in parameters.items()
        },
        "shapes": shapes,
        "results": {reader.name: result_shape(reader.result) for reader in readers if reader.result is not None},
    }
    return hashlib.sha256(canonical_json(message).encode()).digest()[:FINGERPRINT_BYTES]


def _always_narrows(argument: Compiled, parameter: Compiled) -> bool:
    is_alone = argument.kinds.is_list == parameter.kinds.is_list
    return argument.input.required and not argument.kinds.nullable and is_alone and parameter.round_trip is None
