"""A real PostgreSQL server for tests: Debian's binaries, or `initdb`, `postgres` and `psql` on PATH.

PostgreSQL refuses to run as root, so root's tests run it as an unprivileged user.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from .redis_server import free_port

# Debian and Ubuntu put only the client on PATH.
PACKAGED = Path("/usr/lib/postgresql")

# Whose processes they become where root runs the tests: the user of the package, else one that is on every system.
_UNPRIVILEGED = ("postgres", "nobody")

_USER = "postgres"
_START_SECONDS = 30.0
_UNSYNCED = {"fsync": "off", "full_page_writes": "off"}  # a commit survives a crash of the server, not the machine's
_SMALL = {"max_connections": "200", "shared_buffers": "32MB", "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """The programs of one version."""

    initdb: Path
    postgres: Path
    psql: Path


def postgres_binaries() -> PostgresBinaries:
    """The newest version that is installed. Raises `RuntimeError` if there is none."""
    packaged = sorted(PACKAGED.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in packaged:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return PostgresBinaries(folder / "initdb", folder / "postgres", folder / "psql")
    match [shutil.which(name) for name in ("initdb", "postgres", "psql")]:
        case [str(initdb), str(postgres), str(psql)]:
            return PostgresBinaries(Path(initdb), Path(postgres), Path(psql))
        case _:
            raise RuntimeError(f"There is no PostgreSQL in {PACKAGED} or on PATH: install the package postgresql.")


class PostgresServer:
    """One server process on a free port of 127.0.0.1, with a data directory of its own.

    `settings`: more of `postgresql.conf`; `fsync="on"` gives the speed of writing that users have.
    """

    def __init__(self, **settings: str) -> None:
        self.settings = _SMALL | _UNSYNCED | settings
        self.binaries = postgres_binaries()
        self.process: subprocess.Popen[bytes] | None = None
        self._user = unprivileged_user()
        self._names = count(1)
        self._folder = Path(tempfile.mkdtemp(prefix="mizan-postgres-"))
        try:
            self._initialise()
            self._start()
        except BaseException:
            self.close()
            raise

    def url(self, name: str) -> str:
        """Where a database of this server is."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    @contextlib.contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, dropped at the end. `template`: the name of a database that it is a copy of."""
        name = f"test_{next(self._names)}"
        self.say(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.say(f"DROP DATABASE {name} WITH (FORCE)")

    def say(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement by `psql`, and return the rows: a line each, with `|` between the columns."""
        command: list[str | Path] = [self.binaries.psql, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        options = ["--set=ON_ERROR_STOP=1", f"--command={statement}", self.url(database)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603  # its own
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def stop(self) -> None:
        """Stop the server as a crash would; its connections break."""
        self.signal(signal.SIGQUIT)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def start(self) -> None:
        """Start the server again on the same port, with the databases it had."""
        self._start(self.port)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def close(self) -> None:
        """Stop the server and remove its databases."""
        self.stop()
        shutil.rmtree(self._folder)

    def _initialise(self) -> None:
        shutil.chown(self._folder, self._user or os.geteuid())
        command: list[str | Path] = [self.binaries.initdb, "--no-sync", "--auth=trust", f"--username={_USER}"]
        self._process([*command, "--encoding=UTF8", "--locale=C", f"--pgdata={self._data}"]).wait()

    def _start(self, port: int | None = None) -> None:
        for _ in range(5):  # another process may take the port first
            self.port = port or free_port()
            if self._started():
                return
        raise RuntimeError(f"{self.binaries.postgres} did not start: {self._log.read_text()}")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _started(self) -> bool:
        addresses = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(self.port)}
        options = [f"-c{name}={value}" for name, value in (self.settings | addresses).items()]
        self.process = self._process([self.binaries.postgres, "-D", self._data, *options])
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if self._is_ready(self.process.pid):
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def _is_ready(self, process: int) -> bool:
        """As `pg_ctl` finds it out: nothing is asked of a port that may be another server's."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().split("\n")
            return lines[0] == str(process) and [line.strip() for line in lines[7:8]] == ["ready"]
        return False

    def _process(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        with self._log.open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, user=self._user)  # noqa: S603  # the tests' own


@contextlib.contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A server that runs until the block ends."""
    server = PostgresServer(**settings)
    try:
        yield server
    finally:
        server.close()


def unprivileged_user() -> str | None:
    """The user to run as where this process is root's; None: this process's own."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    found = next((name for name in _UNPRIVILEGED if name in names), None)
    if found is None:
        raise RuntimeError(f"PostgreSQL does not run as root, and there is no user {' or '.join(_UNPRIVILEGED)}.")
    return found
