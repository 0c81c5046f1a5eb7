"""The people as whom a deployment is asked: `--as TOKEN`, `--as 'Cookie: session=...'`, `--as @file`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mizan_core.errors import DeclarationError

TOKEN_HEADER, BEARER_HEADER = "X-Mizan-Token", "Authorization"

# A token that was never issued: wherever it arrives, the application answers 401.
INVALID = "mizan-doctor"

# RFC 9110, 5.6.2 and 5.5: a header's name, and a value that is one line.
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_TOKEN = re.compile(r"[!-~]+")

_ORDINALS = ("1st", "2nd", "3rd")


@dataclass(frozen=True, slots=True)
class Person:
    """A caller. `label` stands for it in what is printed; its headers are secret."""

    label: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def sends(self, name: str) -> bool:
        return any(one.lower() == name.lower() for one in self.headers)


NOBODY = Person("nobody")
STRANGER = Person("an invalid token", {TOKEN_HEADER: INVALID})
BEARER_STRANGER = Person("an invalid Bearer token", {BEARER_HEADER: f"Bearer {INVALID}"})


def read_people(texts: Sequence[str]) -> list[Person]:
    """The people of all `--as`. Raises `DeclarationError` for one that is neither a token nor a header."""
    people: list[Person] = []
    for number, text in enumerate(texts, start=1):
        label = f"the {_ordinal(number)} --as"
        person = Person(label, _headers(text, label))
        if any(person.headers == other.headers for other in people):
            raise DeclarationError(f"{label} is the same as one before it: answers to two different people differ.")
        people.append(person)
    return people


def _headers(text: str, label: str) -> dict[str, str]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise DeclarationError(f"{label} names the file {text[1:]!r}, which cannot be read.") from None
    text = text.strip()
    header = _HEADER.fullmatch(text)
    if header is not None:
        name, value = header[1], header[2].strip()
        if name.lower() == "authorization" or value:
            return {name: value}
    if _TOKEN.fullmatch(text) and ":" not in text:
        return {TOKEN_HEADER: text}
    raise DeclarationError(
        f"{label} is neither a token, as `mizan token` prints it, nor a header such as 'Cookie: session=...' or "
        "'Authorization: Bearer ...', nor @FILE with one of them."
    )


def _ordinal(number: int) -> str:
    return _ORDINALS[number - 1] if number <= len(_ORDINALS) else f"{number}th"
