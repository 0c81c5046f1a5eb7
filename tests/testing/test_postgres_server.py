"""The PostgreSQL server of tests: the source of the binaries, databases of one's own, and a crash."""

import os
import pwd
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from mizan_core.testing import postgres_server as module
from mizan_core.testing.postgres_server import PostgresServer, postgres_binaries, postgres_server


def put_binaries(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def test_the_newest_whole_package_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_binaries(tmp_path / "9.6/bin", "initdb", "postgres", "psql")
    put_binaries(tmp_path / "15/bin", "initdb", "postgres", "psql")
    put_binaries(tmp_path / "17/bin", "psql")
    monkeypatch.setattr(module, "PACKAGED", tmp_path)
    assert postgres_binaries().postgres == tmp_path / "15/bin/postgres"


def test_without_a_package_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PACKAGED", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/bin/{name}")
    assert postgres_binaries().initdb == Path("/opt/bin/initdb")


def test_without_binaries_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PACKAGED", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "psql" else f"/opt/bin/{name}")
    with pytest.raises(RuntimeError, match="install the package postgresql"):
        postgres_binaries()


@pytest.mark.parametrize(("names", "chosen"), [(["root", "nobody", "postgres"], "postgres"), (["nobody"], "nobody")])
def test_root_runs_it_as_another_user(monkeypatch: pytest.MonkeyPatch, names: list[str], chosen: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", lambda: [SimpleNamespace(pw_name=name) for name in names])
    assert module.unprivileged_user() == chosen


def test_without_another_user_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", list)
    with pytest.raises(RuntimeError, match="no user postgres or nobody"):
        module.unprivileged_user()


def test_other_users_run_it_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert module.unprivileged_user() is None


def test_each_database_is_empty_and_dropped(postgres: PostgresServer) -> None:
    with postgres.database() as first:
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE fruit AS SELECT 'fig' AS name")
        name = first.rpartition("/")[2]
        with postgres.database(template=name) as copy, psycopg.connect(copy) as connection:
            assert connection.execute("SELECT name FROM fruit").fetchall() == [("fig",)]
        with postgres.database() as second, psycopg.connect(second) as connection:
            assert connection.execute("SELECT to_regclass('fruit')").fetchone() == (None,)
    assert postgres.say(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "0"


def test_a_statement_that_fails_is_an_error(postgres: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="syntax error"):
        postgres.say("SELEKT")


def test_a_server_starts_again_with_its_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], module.free_port()])
        monkeypatch.setattr(module, "free_port", lambda: next(ports))
        with postgres_server(fsync="on") as server, server.database() as url:
            assert f":{taken.getsockname()[1]}/" not in url
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE fruit ()")
            server.stop()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url)
            server.start()
            with psycopg.connect(url) as connection:
                assert connection.execute("SHOW fsync").fetchone() == ("on",)
                assert connection.execute("SELECT to_regclass('fruit')::text").fetchone() == ("fruit",)


def test_a_server_that_does_not_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setattr(module.tempfile, "mkdtemp", lambda prefix: str(folder))
    tmp_path.chmod(0o755)
    with pytest.raises(RuntimeError, match="did not start"):
        PostgresServer(no_such_setting="1")
    assert not folder.exists()
