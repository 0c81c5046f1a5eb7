"""The documents taken apart: their pages, and the blocks of code on them in order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.(?:py|ini))\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `place` is its page and line; `file` the name of the file that it is, by its first line."""

    place: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        named = _FILE.match(self.text)
        return None if named is None else named[1]

    @property
    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Of a console: each command, and the lines that it prints."""
        for part in f"\n{self.text}".split("\n$ ")[1:]:
            command, *printed = part.rstrip("\n").split("\n")
            yield command.partition("  #")[0].rstrip(), printed


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    return [
        Block(f"{name}:{text.count(chr(10), 0, found.start()) + 1}", found[1], found[2])
        for found in _FENCE.finditer(text)
    ]


def first_of_each_language(page: Path, below: str = "") -> dict[str, str]:
    """The first block of each language on a page, or below a heading of it."""
    text = page.read_text(encoding="utf-8")
    if below:
        text = text.partition(f"\n## {below}\n")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for block in _FENCE.finditer(text):
        found.setdefault(block[1], block[2])
    return found
