"""Files that are generated: written all or none, and compared with what is there."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mizan_core.errors import DeclarationError

from ..codegen.modules import WRITTEN_BY


def out_of_date(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """The files that are missing or say something else, whichever command they were written by."""
    return [name for name, content in files.items() if _said(_read(folder / name)) != _said(content)]


def write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write those that are out of date, all of them or none, and tell their names.

    Raises `DeclarationError` where a file, or a folder, is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise DeclarationError(f"{folder} is not a folder; --out names the folder to write to.")
    for name in files:
        if (folder / name).is_dir():
            raise DeclarationError(f"{folder / name} is a folder, where a file is to be written.")
    folder.mkdir(parents=True, exist_ok=True)
    changed = out_of_date(folder, files)
    with contextlib.ExitStack() as undo:
        beside = {name: undo.enter_context(_beside(folder / name, files[name])) for name in changed}
        for name, temporary in beside.items():
            temporary.replace(folder / name)
    return changed


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """A temporary file in the same folder; gone in the end, unless it has been moved."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _said(content: bytes | None) -> bytes | None:
    """What a file says besides the command that it was written by: one target has several spellings."""
    if content is None or not content.startswith(WRITTEN_BY.encode()):
        return content
    return content.partition(b"\n")[2]


def _umask() -> int:
    """What new files are created without; a temporary one is its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
