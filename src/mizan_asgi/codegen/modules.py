"""A module as TypeScript, as JavaScript, and as the declarations beside it: written once, rendered three times."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

_TYPED = re.compile("⟨(.*?)⟩", re.DOTALL)


class Language(StrEnum):
    """What a client is written in."""

    TS = "ts"
    JS = "js"


@dataclass(frozen=True, slots=True)
class Declared:
    """What has no trace in JavaScript: types, and imports of them."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """What runs, and what is declared of it: nothing where it is not exported."""

    typescript: str
    javascript: str
    declaration: str = ""


Part: TypeAlias = Declared | Code


def code(template: str, declaration: str = "", **values: str) -> Code:
    """Code whose types stand between ⟨ and ⟩, and whose `$name$` is filled in with a value."""

    def fill(text: str) -> str:
        return re.sub(r"\$(\w+)\$", lambda match: values[match[1]], text.strip("\n"))

    return Code(fill(_TYPED.sub(r"\1", template)), fill(_TYPED.sub("", template)), declaration)


def render(name: str, header: str, parts: Iterable[Part], language: Language) -> dict[str, str]:
    """The module's files by their names."""
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


# How the line begins that says by which command a file was written.
WRITTEN_BY = "// Written by "
