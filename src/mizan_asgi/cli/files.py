"""Generated files: written all or none, and compared with the files that are there."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mizan_core.errors import DeclarationError

from ..codegen.modules import WRITTEN_BY


def out_of_date(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """The names of files that are missing or differ, apart from the line that names the command."""
    return [name for name, content in files.items() if _compared(_read(folder / name)) != _compared(content)]


def write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write the files that are out of date, all of them or none. Returns their names.

    Raises `DeclarationError` if `folder` is a file, or one of the files a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise DeclarationError(f"{folder} is not a folder; --out names the folder to write to.")
    for name in files:
        if (folder / name).is_dir():
            raise DeclarationError(f"{folder / name} is a folder; a file of this name is to be written.")
    folder.mkdir(parents=True, exist_ok=True)
    changed = out_of_date(folder, files)
    with contextlib.ExitStack() as undo:
        beside = {name: undo.enter_context(_beside(folder / name, files[name])) for name in changed}
        for name, temporary in beside.items():
            temporary.replace(folder / name)
    return changed


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """A temporary file in the folder of `path`. It is deleted at the end unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _compared(content: bytes | None) -> bytes | None:
    """A file's content without the line that names the command, in which one target has several spellings."""
    if content is None or not content.startswith((WRITTEN_BY.encode(), b"# Written by ")):
        return content
    return content.partition(b"\n")[2]


def _umask() -> int:
    """The process's umask, for the final file: a temporary file is readable by its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
