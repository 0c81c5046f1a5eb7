"""The rooms of the house: which package may import which (ARCHITECTURE.md), read from the imports themselves."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# Rules 1 to 5: the importer, and what it leaves alone.
FORBIDDEN = [
    ("mizan_core.protocol", ("mizan_core.graph", "mizan_core.cache", "mizan_core.engine")),
    ("mizan_core.graph", ("mizan_core.cache", "mizan_core.engine")),
    ("mizan_core.cache", ("mizan_core.graph", "mizan_core.engine")),
    ("mizan_asgi.client", ("mizan_core.graph", "mizan_core.cache", "mizan_core.engine", "mizan_core.tasks")),
    ("mizan_asgi.http", ("mizan_core.cache", "mizan_core.testing")),
    ("mizan_asgi.codegen", ("mizan_core.cache", "mizan_core.engine", "mizan_asgi.http", "mizan_asgi.app")),
    ("mizan_core.cache.in_process", ("mizan_core.cache.shared",)),
    ("mizan_core.cache.shared", ("mizan_core.cache.in_process",)),
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
    "mizan_core.cache.backends.redis": {"redis"},
    "mizan_core.cache.backends.redis_url": {"redis"},
    "mizan_asgi.client": {"httpx"},
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


MAXIMUM_ENTRIES = 15


def test_imports_inside_of_functions_and_of_relative_modules_are_seen() -> None:
    tree = ast.parse("def f():\n    from ..errors import X\n    from . import memory\n    import a.b\n")
    found = list(imports("mizan_core.cache.backends", tree, is_package=True))
    assert found == ["mizan_core.cache.errors", "mizan_core.cache.backends.memory", "a.b"]
