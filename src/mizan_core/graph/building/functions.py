"""Compiles one declaration to a `Function`: its signature, the validators of its inputs, the type of its result."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from ...errors import DeclarationError
from ...protocol.cache_policy import Per
from ..access import Check
from ..declare import Declaration, check_signature
from ..defects import first_line
from ..inputs import INVALID_DEFAULT, Compiled, compile_input, compile_type, compile_validator
from ..model import Function
from ..provide import Provided, key_of
from ..signature import Input, Signature, read_signature
from ..types.declared_types import show_type
from ..types.sendable import unsendable

# By the kind of a core schema that takes no JSON: the reason, and the type to use in its place.
_UNSENDABLE = {
    "literal": "no JSON is read as one of its values; let them be texts, numbers or members of a StrEnum or IntEnum",
    "enum": "no JSON is read as one of its members; give these texts or numbers for values",
    "is-instance": "no JSON is read as one; use what Pydantic builds from JSON, such as a model, a text or a number",
    "is-subclass": "no JSON is read as a class; take a text, such as a Literal, and look the class up",
    "callable": "no JSON is read as a function; take a text, such as a Literal, and look the function up",
}


def compile_function(name: str, declaration: Declaration, provided: Provided, defects: list[str]) -> Function | None:
    """The function that calls know by this name, with nothing in `affects` yet; None where a defect is in the way."""
    signature = _signature(declaration, defects)
    resources = None if signature is None else _resources(declaration, signature, provided, defects)
    if signature is None or resources is None:
        return None
    sent = {name: one for name, one in signature.inputs.items() if (one.argument or name) not in resources}
    signature = replace(signature, inputs=sent)
    inputs: dict[str, Compiled] = {}
    for one in signature.inputs.values():
        compiled = _input(declaration, one, defects)
        if compiled is not None:
            inputs[one.name] = compiled
            _check_sendable(declaration, compiled, defects)
    result = None if signature.is_view else _result(declaration, signature, defects)
    if len(inputs) < len(signature.inputs) or (result is None and not signature.is_view):
        return None
    function = Function(
        name=name,
        declaration=declaration,
        signature=signature,
        inputs=MappingProxyType(inputs),
        validator=compile_validator("args", inputs.values(), _required(inputs)),
        result=result,
        resources=MappingProxyType(resources),
    )
    if function.context is not None and declaration.per is Per.ALL and signature.identities:
        defects.append(
            f"{declaration.name}: per='all' cannot serve everyone an answer made from one Identity; "
            "use per='user' or drop the parameter"
        )
    return function


def _signature(declaration: Declaration, defects: list[str]) -> Signature | None:
    if declaration.signature is not None:
        return declaration.signature
    try:
        signature = read_signature(declaration.function, {})
    except DeclarationError as error:
        defects.append(f"{declaration.name}: {error}")
        return None
    except NameError as error:
        defects.append(
            f"{declaration.name}: an annotation uses what cannot be found ({error}); "
            "define or import it beside the function"
        )
        return None
    found = [f"{declaration.name}: {defect}" for defect in check_signature(declaration, signature)]
    defects.extend(found)
    return None if found else signature


def _resources(
    declaration: Declaration, signature: Signature, provided: Provided, defects: list[str]
) -> dict[str, Any] | None:
    """The keys of the resources that the function takes, by the names of its parameters; None for a defect."""
    found = {}
    try:
        for name, one in signature.inputs.items():
            key = key_of(one, provided)
            if key is not None:
                found[one.argument or name] = key
    except DeclarationError as error:
        defects.append(f"{declaration.name}: {error}")
        return None
    in_route = [name for name in declaration.route_parameters if name in found]
    if in_route:
        named = ", ".join(f"{{{name}}}" for name in in_route)
        defects.append(f"{declaration.name}: its route has {named}, which the server provides; take it out")
        return None
    guard = declaration.guard
    asked = [name for name in guard.arguments if name in found] if isinstance(guard, Check) else []
    if asked:
        defects.append(
            f"{declaration.name}: its guard takes {', '.join(asked)}, which is opened for the function alone, "
            "after the guard; let the guard open what it needs"
        )
        return None
    return found


def _input(declaration: Declaration, one: Input, defects: list[str]) -> Compiled | None:
    where = f"{declaration.name}: parameter {one.name!r}"
    try:
        if one.make_default is not None:
            one = replace(one, default=one.make_default())
        return compile_input(one)
    except INVALID_DEFAULT:
        defects.append(f"{where}: its default {one.default!r} is not a {show_type(one.annotation)}")
    except Exception as error:  # noqa: BLE001  # a type's hook may raise anything, and is one defect among others
        shown = show_type(one.annotation)
        remedy = (
            f"; if the server opens it: build(..., provide={{{shown}: ...}})" if type(one.annotation) is type else ""
        )
        defects.append(f"{where}: Pydantic cannot validate {shown} ({first_line(error)}){remedy}")
    return None


def _check_sendable(declaration: Declaration, compiled: Compiled, defects: list[str]) -> None:
    """A private function without a route is exempt: only the server calls it, with any Python object."""
    if (
        compiled.input.source is not None
        or compiled.input.is_file
        or (declaration.private and declaration.route is None)
    ):
        return
    found = unsendable(compiled.adapter.core_schema)
    if found is not None:
        defects.append(
            f"{declaration.name}: parameter {compiled.input.name!r} is a "
            f"{show_type(compiled.input.annotation)}, and {_UNSENDABLE[found]}"
        )


def _result(declaration: Declaration, signature: Signature, defects: list[str]) -> TypeAdapter[Any] | None:
    try:
        return compile_type(signature.returns)
    except Exception as error:  # noqa: BLE001  # as for inputs
        defects.append(
            f"{declaration.name}: Pydantic cannot serialise what it returns, {show_type(signature.returns)} "
            f"({first_line(error)})"
        )
        return None


def _required(inputs: Mapping[str, Compiled]) -> frozenset[str]:
    return frozenset(name for name, compiled in inputs.items() if compiled.input.required)
