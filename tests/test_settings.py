"""What a deployment sets, and what is refused before it serves anything."""

import inspect
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mizan_asgi import Mizan
from mizan_asgi.cli.targets import import_target
from mizan_asgi.settings import Settings, several_workers
from mizan_core import DeclarationError, Graph, GraphError, Identity, MemoryCache, build, client, issue_mwt
from tests.http.site import KEYS, Site, http, logged, token

CACHE, MWT, MWT2 = "c" * 32, "m" * 32, "n" * 32


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CACHE_SECRET",
        "CACHE_REDIS_URL",
        "MWT_SECRET",
        "MWT_KEYS",
        "MWT_TTL",
        "MWT_AUDIENCE",
        "TRUSTED_ORIGINS",
    ):
        monkeypatch.delenv(f"MIZAN_{name}", raising=False)
    for name in ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["server"])


@pytest.fixture
def graph(site: Site) -> Graph:
    return site.graph


def test_an_empty_environment_means_the_defaults() -> None:
    assert Settings.read({}) == Settings()
    assert (
        Settings.read({f"MIZAN_{name}": "" for name in ("CACHE_SECRET", "CACHE_REDIS_URL", "MWT_KEYS")}) == Settings()
    )
    assert Settings().mwt_ttl == 300


def test_every_variable_is_read() -> None:
    environ = {
        "MIZAN_CACHE_SECRET": CACHE,
        "MIZAN_CACHE_REDIS_URL": "redis://localhost",
        "MIZAN_MWT_KEYS": f"old={MWT}, new={MWT2}=,",
        "MIZAN_MWT_TTL": "60",
        "MIZAN_MWT_AUDIENCE": "shop",
        "MIZAN_TRUSTED_ORIGINS": "https://a.test, https://b.test",
        "PATH": "/bin",
    }
    assert Settings.read(environ) == Settings(
        cache_secret=CACHE,
        cache_redis_url="redis://localhost",
        mwt_keys={"old": MWT, "new": f"{MWT2}="},
        mwt_ttl=60,
        mwt_audience="shop",
        trusted_origins=("https://a.test", "https://b.test"),
    )
    assert Settings.read({"MIZAN_MWT_SECRET": MWT}).mwt_keys == {"default": MWT}


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"MIZAN_CACHE_REDIS_URL": "redis://localhost"}, "MIZAN_CACHE_SECRET"),
        ({"MIZAN_MWT_SECRET": MWT, "MIZAN_MWT_KEYS": f"a={MWT2}"}, "MIZAN_MWT_KEYS"),
        ({"MIZAN_MWT_KEYS": MWT}, "MIZAN_MWT_KEYS"),
        ({"MIZAN_MWT_KEYS": f"={MWT}"}, "MIZAN_MWT_KEYS"),
        ({"MIZAN_MWT_KEYS": f"a={MWT},a={MWT2}"}, "MIZAN_MWT_KEYS"),
        ({"MIZAN_MWT_TTL": "0"}, "MIZAN_MWT_TTL"),
        ({"MIZAN_MWT_TTL": "-5"}, "MIZAN_MWT_TTL"),
        ({"MIZAN_MWT_TTL": "5 minutes"}, "MIZAN_MWT_TTL"),
    ],
)
def test_a_bad_variable_is_refused_by_name_without_its_value(environ: dict[str, str], named: str) -> None:
    with pytest.raises(DeclarationError, match=named) as refused:
        Settings.read(environ)
    assert MWT not in str(refused.value)
    assert MWT2 not in str(refused.value)


@pytest.mark.asyncio
async def test_an_app_is_set_up_by_the_environment(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_CACHE_SECRET", CACHE)
    monkeypatch.setenv("MIZAN_MWT_KEYS", f"old={MWT},new={MWT2}")
    monkeypatch.setenv("MIZAN_MWT_TTL", "60")
    monkeypatch.setenv("MIZAN_MWT_AUDIENCE", "shop")
    monkeypatch.setenv("MIZAN_TRUSTED_ORIGINS", "https://a.test")
    now = 1_800_000_000.0
    app = Mizan.from_env(graph, clock=lambda: now, authenticate=lambda request: Identity("ada"))
    async with http(app) as web:
        issued = (await web.post("/call/mwt_obtain/", headers={"origin": "https://a.test"})).json()["result"]
        by_old = issue_mwt(Identity("bo"), {"old": MWT}, audience="shop", now=now)
        for sent in (issued["token"], by_old):
            assert (await web.get("/ctx/team/", headers={"x-mizan-token": sent})).status_code == 200
        assert (await web.get("/ctx/team/", headers={"x-mizan-token": token("ada")})).status_code == 401
    assert issued["expires_in"] == 60


def test_arguments_precede_the_environment(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_MWT_SECRET", MWT)
    monkeypatch.setenv("MIZAN_MWT_TTL", "60")
    app = Mizan.from_env(graph, mwt_keys=KEYS, mwt_ttl=5)
    assert (list(app.mwt_keys or {}), app.mwt_ttl, app.audience) == (["k1"], 5, "mizan")


def test_a_redis_url_makes_the_cache_a_shared_one(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_CACHE_SECRET", CACHE)
    monkeypatch.setenv("MIZAN_CACHE_REDIS_URL", "redis://localhost")
    assert Mizan.from_env(graph).engine.cache_is_shared


def test_a_redis_url_without_the_extra_names_the_package(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIZAN_CACHE_SECRET", CACHE)
    monkeypatch.setenv("MIZAN_CACHE_REDIS_URL", "redis://localhost")
    monkeypatch.setitem(sys.modules, "mizan_core.cache.backends.redis", None)
    with pytest.raises(DeclarationError, match=r"pip install 'mizan-asgi\[redis\]'"):
        Mizan.from_env(graph)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "equal secrets": ({"cache_secret": MWT, "mwt_keys": {"a": MWT}}, "same"),
    "equal secrets, one in bytes": ({"cache_secret": MWT.encode(), "mwt_keys": {"b": MWT2, "a": MWT}}, "same"),
    "a short cache secret": ({"cache_secret": "c" * 31}, "cache secret has 31 bytes"),
    "a short MWT secret": ({"mwt_keys": {"a": MWT, "b": "m" * 31}}, "MWT secret 'b' has 31 bytes"),
    "no keys": ({"mwt_keys": {}}, "mwt_keys is empty"),
    "a secret in place of keys": ({"mwt_keys": MWT}, "mwt_keys is a str; it maps a key id to a secret"),
    "a URL in place of a cache": ({"cache": f"redis://:{MWT}@localhost"}, "cache= is a str, which lacks get, set, de"),
    "a kind of cache": ({"cache": MemoryCache}, "cache=MemoryCache is the class itself; call it"),
    "a secret that is none": ({"cache_secret": 5}, "text or bytes"),
    "a base_url that is no path": ({"base_url": "api"}, "base_url='api'"),
    "no room for a body": ({"max_body_bytes": 0}, "max_body_bytes=0"),
    "a third way to fail": ({"on_cache_failure": "ignore"}, "on_cache_failure='ignore'"),
    "an origin with a path": ({"trusted_origins": ["https://a.test/x"]}, "trusted_origins"),
    "an origin without a scheme": ({"trusted_origins": ["a.test"]}, "trusted_origins"),
    "the origin null": ({"trusted_origins": ["null"]}, "trusted_origins"),
    "every origin": ({"trusted_origins": ["*"]}, "would match none"),
    "every origin below one": ({"trusted_origins": ["https://*.a.test"]}, "would match none"),
    "an origin with a query": ({"trusted_origins": ["https://a.test?x"]}, "without a path"),
    "an origin with a fragment": ({"trusted_origins": ["https://a.test#x"]}, "without a path"),
    "an origin with a user": ({"trusted_origins": ["https://ada@a.test"]}, "without a path"),
    "an origin with a space": ({"trusted_origins": ["https://a.test "]}, "without a path"),
    "an origin with a port that is none": ({"trusted_origins": ["https://a.test:99999"]}, "without a path"),
    "an origin that is not in ASCII": ({"trusted_origins": ["https://b\u00fccher.test"]}, "xn--"),
    "one text for a list of origins": ({"trusted_origins": "https://a.test"}, "not one text"),
    "no time for a command": ({"deadline": 0}, "deadline=0"),
    "a ttl of nothing": ({"mwt_keys": KEYS, "mwt_ttl": 0}, "ttl"),
}


@pytest.mark.parametrize(("options", "named"), REFUSED.values(), ids=REFUSED)
def test_settings_that_cannot_work_are_refused_at_start_up(graph: Graph, options: dict[str, Any], named: str) -> None:
    with pytest.raises(DeclarationError, match=named) as refused:
        Mizan(graph, **options)
    assert MWT not in str(refused.value)


@pytest.mark.parametrize("keys", [None, KEYS])
def test_functions_that_were_not_built_are_refused(keys: dict[str, str] | None) -> None:
    functions: Any = []
    with pytest.raises(DeclarationError, match="this is a list"):
        Mizan(functions, mwt_keys=keys)


def test_a_function_named_mwt_obtain_is_refused_with_keys(site: Site) -> None:
    @client
    async def mwt_obtain() -> str:
        return "mine"

    graph = build([mwt_obtain])
    Mizan(graph)
    with pytest.raises(GraphError, match="two functions are called 'mwt_obtain'"):
        Mizan(graph, mwt_keys=KEYS)


@pytest.mark.parametrize(
    ("environ", "argv", "several"),
    [
        ({}, ["uvicorn", "app:app"], False),
        ({"WEB_CONCURRENCY": "1"}, [], False),
        ({"WEB_CONCURRENCY": "4"}, [], True),
        ({"WEB_CONCURRENCY": "many"}, [], False),
        ({}, ["uvicorn", "app:app", "--workers", "4"], True),
        ({}, ["uvicorn", "app:app", "--workers=4"], True),
        ({}, ["uvicorn", "app:app", "--workers=1"], False),
        ({}, ["gunicorn", "-w", "4"], True),
        ({}, ["gunicorn", "-w4"], True),
        ({}, ["gunicorn", "-w1", "--worker-class=x"], False),
        ({}, ["uvicorn", "--workers"], False),
        ({"WEB_CONCURRENCY": "1"}, ["uvicorn", "--workers", "2"], True),
        ({"UVICORN_WORKERS": "2"}, [], True),
        ({"GRANIAN_WORKERS": "2"}, [], True),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers=2"}, [], True),
        ({"GUNICORN_CMD_ARGS": "-w 2 --name 'the shop'"}, ["gunicorn", "shop:app"], True),
        ({"GUNICORN_CMD_ARGS": "-w 1"}, ["gunicorn", "shop:app"], False),
        ({"GUNICORN_CMD_ARGS": "it's broken"}, ["gunicorn", "-w", "2"], True),
        ({}, ["fastapi", "run", "--workers", "2"], True),
        ({}, ["granian", "--workers", "2"], True),
        ({}, ["hypercorn", "-w", "2"], True),
    ],
)
def test_workers_are_counted_from_environment_or_arguments(
    environ: dict[str, str], argv: list[str], several: bool
) -> None:
    assert several_workers(environ, argv) is several


# How servers look that were told in Python, or in a file of theirs, just before they import the application.
FRAMES = {
    "gunicorn's worker": ("gunicorn.workers.base", "self.cfg.workers"),
    "uvicorn's child": ("uvicorn._subprocess", "config.workers"),
    "hypercorn's child": ("hypercorn.asyncio.run", "config.workers"),
    "granian's parent, forked": ("granian.server.mp", "self.workers"),
    "granian's child": ("granian.server.mp", "worker_id"),
}


@pytest.mark.parametrize(("module", "where"), FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize(("count", "several"), [(2, True), (1, False)])
def test_several_workers_show_in_the_frames_of_servers(module: str, where: str, count: int, several: bool) -> None:
    name, *attributes = where.split(".")
    value: Any = count
    for attribute in reversed(attributes):
        value = SimpleNamespace(**{attribute: value})
    scope = {"__name__": module, "ask": lambda: several_workers({}, [], inspect.currentframe())}
    exec(f"def serve({name}):\n    return ask()", scope)  # the frame of a function of such a module
    assert scope["serve"](value) is several
    scope["__name__"] = "shop.workers"
    assert scope["serve"](value) is False


@pytest.mark.parametrize(("count", "told"), [(2, True), (1, False)])
def test_workers_that_uvicorn_is_given_in_python_are_warned_of(tmp_path: Path, count: int, told: bool) -> None:
    (tmp_path / "shop.py").write_text(
        "import logging\nfrom mizan_asgi import Mizan\nfrom mizan_core import build\n"
        "logging.basicConfig()\napp = Mizan(build([]))\n"
    )
    (tmp_path / "serve.py").write_text(
        f"import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('shop:app', port=0, workers={count})\n"
    )
    with subprocess.Popen([sys.executable, "serve.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Application startup complete" in line:
                process.terminate()
        assert any("several workers" in line for line in lines) is told


def test_a_memory_cache_under_several_workers_warns(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Mizan(graph)
    assert not logged(caplog)
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    Mizan(graph, cache=None)
    assert not logged(caplog)
    Mizan(graph, cache=MemoryCache())
    Mizan(graph)
    assert [one.levelno for one in logged(caplog)] == [logging.WARNING] * 2
    assert "the purges of the others do not reach" in caplog.text


def test_a_target_is_a_module_or_a_nested_attribute() -> None:
    assert import_target("json") is json
    assert import_target("json:JSONDecoder.decode") is json.JSONDecoder.decode


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("", "module:attribute"),
        (":app", "module:attribute"),
        ("json:", "module:attribute"),
        ("json:nothing", "has no 'nothing'"),
        ("json:JSONDecoder.nothing", "has no 'nothing'"),
        ("no_such_module", "no module 'no_such_module'"),
        ("no_such_module.below:app", "no module 'no_such_module.below'"),
        ("json.nothing:app", "no module 'json.nothing'"),
    ],
)
def test_a_target_that_does_not_exist_is_named(target: str, named: str) -> None:
    with pytest.raises(DeclarationError, match=named):
        import_target(target)


def test_an_error_inside_the_module_passes_through(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        import_target("needs_more:app")
