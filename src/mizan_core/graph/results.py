"""A function's result, validated against its return annotation and dumped as plain JSON types."""

from typing import Any

from ..protocol.bodies import encode_json
from .model import Function


def serialised(function: Function, result: object) -> tuple[Any, Any]:
    """The validated result, and the same as plain JSON types. Raises Pydantic's error for a misfit."""
    validated = function.validate_result(result, from_attributes=True)
    return validated, function.dump_result(validated, mode="json", by_alias=True)


def plain_result(function: Function, result: object) -> Any:
    """The result of one reader of a bundle, as plain JSON types. `serialised`, written out: every miss passes here."""
    validated = function.validate_result(result, from_attributes=True)
    return function.dump_result(validated, mode="json", by_alias=True)


def page_result(function: Function, result: object) -> object:
    """The answer of a page: the response of a view as it is, or the JSON of data."""
    return result if function.is_view else encode_json(plain_result(function, result))
