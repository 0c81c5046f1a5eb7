"""A thousand random models: a value passes the TypeScript compiler if and only if Python accepts it.

"Accepts" is Pydantic's strict mode on JSON. What lax mode takes besides, such as "5" for an int, is for query strings
and forms: types are of what is documented.
"""

import json
import random
import sys
import types
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from mizan_asgi.codegen.client import client_files
from mizan_asgi.codegen.modules import Language
from mizan_core import Graph, build
from mizan_core.graph.model import Function

from .compiling import complaints, project
from .random_models import Json, Models

COUNT = 1000
VALUES = 4
SEED = 20261126

TYPES = """import type { Functions } from "./mizan.js";

type Argument<Name extends keyof Functions> = Functions[Name]["args"] extends { value: infer Value } ? Value : never;
type Result<Name extends keyof Functions> = Functions[Name]["result"];
"""


def compiled(source: str) -> Graph:
    module = types.ModuleType("random_models_under_test")
    sys.modules[module.__name__] = module
    exec(source, vars(module))
    return build([vars(module)[f"f{number}"] for number in range(COUNT)])


def accepts(function: Function, text: str) -> bool:
    try:
        function.inputs["value"].adapter.validate_json(text, strict=True)
    except ValidationError:
        return False
    return True


def sent(function: Function, text: str) -> str:
    """What a function sends that returns this value."""
    assert function.result is not None
    value = function.result.validate_json(text, strict=True)
    return json.dumps(function.result.dump_python(value, mode="json", by_alias=True))


def lines(function: Function, values: list[Json]) -> tuple[list[str], Counter[bool]]:
    """A line for each value that is accepted, and two for each that is not: the second has to be refused."""
    written, verdicts = [], Counter[bool]()
    for value in values:
        text = json.dumps(value)
        accepted = accepts(function, text)
        verdicts[accepted] += 1
        if accepted:
            written.append(f'take<Result<"{function.name}">>({sent(function, text)});')
        else:
            written.append("// @ts-expect-error")
        written.append(f'take<Argument<"{function.name}">>({text});')
    return written, verdicts


@pytest.mark.timeout(180)
def test_typescript_accepts_exactly_the_values_of_python(tmp_path: Path) -> None:
    models = Models(random.Random(SEED))
    kinds = [models.model(number) for number in range(COUNT)]
    graph = compiled("\n".join(models.source))
    program, verdicts = [TYPES, "function take<Value>(_: Value): void {}"], Counter[bool]()
    for number, kind in enumerate(kinds):
        fitting = [kind.sample() for _ in range(VALUES)]
        values = [*fitting, *(models.changed(value) for value in fitting)]
        written, counted = lines(graph.functions[f"f{number}"], values)
        program += written
        verdicts += counted
    assert min(verdicts.values()) > COUNT
    files = client_files(graph, Language.TS, base_url="", react=False, command="")
    project(tmp_path, {**files, "values.ts": "\n".join(program).encode()})
    assert complaints(tmp_path)[:2000] == "", tmp_path
