"""Names and texts as SQL spells them."""

import hashlib
from itertools import count
from typing import TypeAlias

from ...errors import DeclarationError

# A name, after its schema where it has one.
Name: TypeAlias = tuple[str, ...]

# PostgreSQL cuts longer names off (NAMEDATALEN - 1), so that two may become one.
MAXIMUM_BYTES = 63


def split_name(what: str, name: object) -> Name:
    """The parts of `"name"`, `"schema.name"` or `("schema", "name.with.dots")`. Raises `DeclarationError`."""
    parts = tuple(name.split(".", 1)) if isinstance(name, str) else name
    if isinstance(parts, tuple) and 0 < len(parts) < 3 and all(map(_is_name, parts)):
        return parts
    raise DeclarationError(
        f"{name!r} names no {what}: write its name, its schema, a dot and its name, or a pair of both; each of at most "
        f"{MAXIMUM_BYTES} bytes and without quotes."
    )


def check_column(name: object) -> str:
    """The name of a column. Raises `DeclarationError` for what cannot be one."""
    if not _is_name(name):
        raise DeclarationError(f"{name!r} names no column: it has 1 to {MAXIMUM_BYTES} bytes.")
    return str(name)


def quoted(name: Name | str) -> str:
    """A name in quotes: its spelling counts, and it may be a word of SQL's."""
    parts = (name,) if isinstance(name, str) else name
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in parts)


def literal(text: str) -> str:
    """A text constant. PostgreSQL reads it alike whatever `standard_conforming_strings` says."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in doubled else " E'{}'".format(doubled.replace("\\", "\\\\"))


def dollar_quoted(code: str) -> str:
    """A body of code, between tags that are not in it."""
    tag = next(tag for number in count() if (tag := f"$mizan{number or ''}$") not in code)
    return f"{tag}\n{code}\n{tag}"


def within_limit(name: str) -> str:
    """The name, or where it is too long its beginning and a hash of all of it."""
    if len(name.encode()) <= MAXIMUM_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: MAXIMUM_BYTES - 13].decode(errors='ignore')}_{digest}"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and "\0" not in name and 0 < len(name.encode()) <= MAXIMUM_BYTES
