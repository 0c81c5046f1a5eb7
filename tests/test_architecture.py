"""The rooms of the house: which package may import which (ARCHITECTURE.md), read from the imports themselves."""

import ast
import graphlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = ROOT / "src"

# Rules 1 to 6: the importer, and what it leaves alone.
FORBIDDEN = [
    ("mizan_core.protocol", ("mizan_core.graph", "mizan_core.cache", "mizan_core.engine")),
    ("mizan_core.graph", ("mizan_core.cache", "mizan_core.engine")),
    ("mizan_core.cache", ("mizan_core.graph", "mizan_core.engine")),
    (
        "mizan_asgi.client",
        tuple(f"mizan_core.{room}" for room in ("graph", "cache", "engine", "tasks", "memo", "proof", "testing")),
    ),
    ("mizan_asgi.http", ("mizan_core.cache", "mizan_core.testing")),
    ("mizan_asgi.codegen", ("mizan_core.cache", "mizan_core.engine", "mizan_asgi.http", "mizan_asgi.app")),
    ("mizan_asgi.inspector", ("mizan_core.cache", "mizan_core.testing", "mizan_asgi.app")),
    ("mizan_core.cache.in_process", ("mizan_core.cache.shared",)),
    ("mizan_core.cache.shared", ("mizan_core.cache.in_process",)),
    (
        "mizan_core.edge",
        tuple(f"mizan_core.{room}" for room in ("graph", "cache", "engine", "tasks", "memo", "proof", "testing")),
    ),
    ("mizan_core.telling", ("mizan_core.graph", "mizan_core.engine")),
    ("mizan_core", ("mizan_asgi",)),
]

# Only here are graph and cache joined; the package's root and the tools for tests name public things of both.
JOINING = ("mizan_core.engine", "mizan_core.testing", "mizan_core")

# What a package may import besides the standard library and itself.
FOREIGN = {
    "mizan_core": {"pydantic", "pydantic_core", "jwt", "orjson", "typing_extensions"},
    "mizan_asgi": {
        *("mizan_core", "pydantic", "pydantic_core", "starlette", "python_multipart"),
        *("typer", "click", "typing_extensions"),
    },
}

# Modules that come with an extra, and what it brings; importing a package imports none of them.
OPTIONAL = {
    "mizan_core.testing.plugin": {"pytest"},
    "mizan_core.cache.backends.redis": {"redis", "hiredis"},
    "mizan_core.cache.backends.redis_lines": {"redis", "hiredis"},
    "mizan_core.cache.backends.redis_url": {"redis"},
    "mizan_asgi.client": {"httpx"},
    "mizan_asgi.doctor.asking": {"httpx"},
    "mizan_asgi.edge.requests": {"httpx"},
    "mizan_asgi.edge.cloudfront": {"botocore"},
    "mizan_core.integrations.opentelemetry": {"opentelemetry"},
    "mizan_asgi.integrations.fastapi": {"fastapi"},
    **{
        f"mizan_core.integrations.sqlalchemy.{one}": {"sqlalchemy"}
        for one in ("changes", "columns", "holding", "rows", "rules", "statements", "suspicions", "writes")
    },
    **{f"mizan_core.integrations.postgresql.{one}": {"psycopg"} for one in ("connections", "listener")},
    "mizan_core.integrations.postgresql.outbox": {"psycopg", "sqlalchemy"},
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(module: str, tree: ast.AST, *, is_package: bool) -> Iterator[str]:
    """The full names of what a module imports, at its top or anywhere inside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".")
            up = node.level - is_package
            base = [*here[: len(here) - up], *filter(None, [node.module])] if node.level else [node.module or ""]
            for alias in node.names:
                inner = SOURCE.joinpath(*base, alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield ".".join([*base, alias.name] if is_module else base)


MODULES = modules()
IMPORTS = {
    name: set(imports(name, tree, is_package=SOURCE.joinpath(*name.split(".")).is_dir()))
    for name, tree in MODULES.items()
}


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize(("package", "others"), FORBIDDEN, ids=[package for package, _ in FORBIDDEN])
def test_a_room_leaves_other_rooms_alone(package: str, others: tuple[str, ...]) -> None:
    members = [name for name in MODULES if is_in(name, package)]
    assert members, f"{package} is not there"
    assert all(any(is_in(name, other) for name in MODULES) for other in others)
    broken = [
        f"{name} imports {imported}"
        for name in members
        for imported in sorted(IMPORTS[name])
        if any(is_in(imported, other) for other in others)
    ]
    assert broken == []


def test_only_the_engine_joins_graph_and_cache() -> None:
    joining = [
        name
        for name, imported in IMPORTS.items()
        if name.startswith("mizan_core")
        and all(any(is_in(one, f"mizan_core.{room}") for one in imported) for room in ("graph", "cache"))
    ]
    assert [
        name
        for name in joining
        if not any(name == one or (one != "mizan_core" and is_in(name, one)) for one in JOINING)
    ] == []


def test_imports_have_no_cycle() -> None:
    own = {name: {one for one in found if one in MODULES and one != name} for name, found in IMPORTS.items()}
    graphlib.TopologicalSorter(own).prepare()  # raises CycleError with the modules of a cycle


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    top = module.partition(".")[0]
    allowed = {top} | FOREIGN[top] | OPTIONAL.get(module, set())
    names = {one.partition(".")[0] for one in IMPORTS[module]} - set(sys.stdlib_module_names)
    assert names <= allowed, f"{module} imports {sorted(names - allowed)}"
    assert "mizan_core" not in IMPORTS[module], f"{module} imports the root of mizan_core"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(MODULES[module]), f"{module} has no docstring"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("mizan_core")])
def test_the_core_never_reads_the_environment(module: str) -> None:
    tree = MODULES[module]
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not names & {"environ", "environb", "getenv", "getenvb"}


def test_no_package_is_crowded_or_deep() -> None:
    """A folder that needs scrolling explains nothing."""
    for folder in {path.parent for path in SOURCE.rglob("*.py")}:
        entries = [path for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")]
        assert len(entries) <= MAXIMUM_ENTRIES, f"{folder} has {len(entries)} entries"


MAXIMUM_ENTRIES = 16


def test_imports_in_functions_and_relative_ones_are_found() -> None:
    tree = ast.parse("def f():\n    from ..errors import X\n    from . import memory\n    import a.b\n")
    found = list(imports("mizan_core.cache.backends", tree, is_package=True))
    assert found == ["mizan_core.cache.errors", "mizan_core.cache.backends.memory", "a.b"]


TEST_FILES = [path for path in sorted(TESTS.rglob("*.py")) if "node_modules" not in path.parts]
MAXIMUM_LINES, MAXIMUM_NAME = 800, 60


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_a_test_file_is_short_and_so_are_its_tests_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert ast.get_docstring(tree) or not text, "no docstring says what it is for"
    assert len(text.splitlines()) <= MAXIMUM_LINES, "divide it by subject"
    assert [name for name in names if name.startswith("test_") and len(name) > MAXIMUM_NAME] == []


PRIVATE = re.compile(r"_(?!_)\w+")

# Calls that reach an attribute by its name in a string.
BY_NAME = {"setattr", "getattr", "delattr", "hasattr", "patch", "object"}

# Names with an underscore that the standard library documents.
DOCUMENTED = {"_replace", "_asdict", "_fields", "_make", "_exit"}

# Privates that a test reaches although they are not of its room, and why.
REACHED = {
    ("cache/inside.py", "_cache"): "an enumeration compares what is under way, which no backend shows",
    ("cache/stepping.py", "_ready"): "asyncio tells in no other way that nothing is left to run",
    ("virtual_time.py", "_selector"): "asyncio has no public way to let the time of a loop pass",
}


def room_of_test(path: Path) -> str:
    """The folder below tests/, which has the name of the room; "" for tests of modules outside of all rooms."""
    parts = path.relative_to(TESTS).parts
    return parts[0] if len(parts) > 1 else ""


def room_of_source(path: Path) -> str:
    """The folder below a package or below examples/, or the file `mizan_asgi/client.py`; "" for a module in none."""
    _, *inside = path.relative_to(SOURCE if SOURCE in path.parents else ROOT).with_suffix("").parts
    return inside[0] if len(inside) > 1 or inside == ["client"] else ""


def names_of(tree: ast.AST, *, assigned_to_others: bool) -> set[str]:
    """The names that a module defines, with attributes set on `self`; `assigned_to_others`: set on any object."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and (assigned_to_others or ast.unparse(node.value) in ("self", "cls"))
        ):
            found.add(node.attr)
    return found


def privates_reached(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each private that a module imports or reaches on an object, also by a string."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            strings = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            names = [one.rpartition(".")[2] for one in strings]
        yield from ((node.lineno, name) for name in names if PRIVATE.fullmatch(name))


def test_no_test_reaches_a_private_of_another_room() -> None:
    own: dict[str, set[str]] = defaultdict(set)
    for path in (*SOURCE.rglob("*.py"), *(ROOT / "examples").rglob("*.py")):
        own[room_of_source(path)] |= names_of(ast.parse(path.read_text(encoding="utf-8")), assigned_to_others=True)
    broken, used = [], set()
    for path in TEST_FILES:
        tree, place = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(TESTS).as_posix()
        allowed = DOCUMENTED | own[room_of_test(path)] | names_of(tree, assigned_to_others=False)
        reached = [(line, name) for line, name in privates_reached(tree) if name not in allowed]
        used |= {(place, name) for _, name in reached} & REACHED.keys()
        broken += [f"{place}:{line} reaches {name}" for line, name in reached if (place, name) not in REACHED]
    assert broken == []
    assert used == REACHED.keys(), "an exception that nothing needs"


def test_a_private_is_found_in_imports_attributes_and_strings() -> None:
    tree = ast.parse(
        "from mizan_core.cache.slots import _a\n"
        "engine._b._c.run(self._d)\n"
        "patch.setattr(module, '_e', 1); patch.setattr('module._f', 1); object.__new__(x)\n"
    )
    assert {name for _, name in privates_reached(tree)} == {"_a", "_b", "_c", "_d", "_e", "_f"}
