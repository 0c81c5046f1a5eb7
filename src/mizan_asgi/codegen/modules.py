"""A generated module: written once, rendered as TypeScript, or as JavaScript with its declarations (`.d.ts`)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

# The beginning of the line that names the command by which a file was written.
WRITTEN_BY = "// Written by "

_TYPED = re.compile("⟨(.*?)⟩", re.DOTALL)


class Language(StrEnum):
    """The language of a client."""

    TS = "ts"
    JS = "js"


@dataclass(frozen=True, slots=True)
class Declared:
    """Types and imports of types, which do not exist in JavaScript."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Code that runs, and its declaration, which is empty if the code is not exported."""

    typescript: str
    javascript: str
    declaration: str = ""


Part: TypeAlias = Declared | Code


def code(template: str, declaration: str = "", **values: str) -> Code:
    """Code from a template: types are between ⟨ and ⟩, and `$name$` is replaced by the value of that name."""

    def fill(text: str) -> str:
        return re.sub(r"\$(\w+)\$", lambda match: values[match[1]], text.strip("\n"))

    return Code(fill(_TYPED.sub(r"\1", template)), fill(_TYPED.sub("", template)), declaration)


def render(name: str, header: str, parts: Iterable[Part], language: Language) -> dict[str, str]:
    """The files of the module `name`, by their names."""
    listed = list(parts)
    if language is Language.TS:
        return {f"{name}.ts": _file(header, listed, lambda part: part.typescript, lambda part: part.text)}
    return {
        f"{name}.js": _file(header, listed, lambda part: part.javascript, lambda _: ""),
        f"{name}.d.ts": _file(header, listed, lambda part: part.declaration, lambda part: part.text),
    }


def _file(
    header: str, parts: list[Part], of_code: Callable[[Code], str], of_declared: Callable[[Declared], str]
) -> str:
    texts = [header, *(of_code(part) if isinstance(part, Code) else of_declared(part) for part in parts)]
    return "\n\n".join(filter(None, texts)) + "\n"
