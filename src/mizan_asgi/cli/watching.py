"""`--watch`: the command runs again, each time in a new process, whenever a source file changes."""

import contextlib
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import mizan_core.errors

# Short enough after saving a file, and rare enough to spare the battery.
POLL_SECONDS = 0.3

# Folders of files that are not the project's own.
_FOREIGN_FOLDERS = tuple(
    {Path(path).resolve() for name, path in sysconfig.get_paths().items() if name.endswith(("stdlib", "lib"))}
    | {Path(__file__).resolve().parents[1], Path(mizan_core.errors.__file__).resolve().parent}
)

_PROGRAM = "from mizan_asgi.cli import main; main()"

# A file's modification time and size; None if it is missing.
Stamp: TypeAlias = tuple[int, int] | None


def watch(arguments: Sequence[str], *, pause: Callable[[float], object] = time.sleep) -> int:
    """Run `mizan` with these arguments, and again after every change of the files it imported or of files beside them.

    The command has to take `--sources`. Returns the status of a run that leaves nothing to watch.
    """
    before: Mapping[Path, Stamp] = {}
    while True:
        began = time.time_ns()
        status, sources = _run(arguments)
        if not sources:
            return status
        # A file that changed during the run may have been read before the change, so it counts as changed.
        after = _stamps(sources)
        seen = {path: before.get(path, _unless_newer(stamp, began)) for path, stamp in after.items()}
        while (now := _stamps(sources)) == seen:
            pause(POLL_SECONDS)
        before = now


@contextlib.contextmanager
def noting_sources(report: Path | None) -> Iterator[None]:
    """Write to `report` the project's files that were imported in the block, and those in which an import failed."""
    failed: set[str] = set()
    try:
        yield
    except BaseException as error:
        failed.update(_files_of(error))
        raise
    finally:
        if report is not None:
            imported = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
            report.write_text("\n".join(sorted(map(str, _own(imported | failed)))), encoding="utf-8")


def _run(arguments: Sequence[str]) -> tuple[int, frozenset[Path]]:
    """The status of the run, and the files that it imported."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "sources")
        command = [sys.executable, "-c", _PROGRAM, *arguments, "--sources", str(report)]
        # In a session of its own, so that Ctrl-C reaches only the process that waits.
        ran = subprocess.run(command, check=False, start_new_session=True)  # noqa: S603  # ourselves
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return ran.returncode, frozenset(map(Path, lines))


def _stamps(sources: Iterable[Path]) -> dict[Path, Stamp]:
    """The stamps of the sources, and of modules beside them and one folder below, which discovery may import."""
    folders = {source.parent for source in sources}
    beside = (path for folder in folders for pattern in ("*.py", "*/*.py") for path in folder.glob(pattern))
    return {path: _stamp(path) for path in {*sources, *beside}}


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _unless_newer(stamp: Stamp, moment: int) -> Stamp:
    return None if stamp is not None and stamp[0] > moment else stamp


def _own(files: Iterable[str]) -> Iterator[Path]:
    """The paths of the project's own files among these."""
    for file in files:
        path = Path(file).resolve()
        if path.is_file() and not any(path.is_relative_to(folder) for folder in _FOREIGN_FOLDERS):
            yield path


def _files_of(error: BaseException) -> Iterator[str]:
    """The files in an error's traceback: a module whose import failed is not in `sys.modules`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SyntaxError) and seen.filename is not None:
            yield seen.filename
        yield from (frame.f_code.co_filename for frame, _ in traceback.walk_tb(seen.__traceback__))
        seen = seen.__cause__ or seen.__context__
