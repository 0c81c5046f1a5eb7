"""The codebase itself: which module may import which, what is exported, and what the documentation shows."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mizan_asgi
import mizan_core
from mizan_core import errors
from mizan_core.errors import CallError
from mizan_core.graph.declare import client

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

EXPORTS = [
    *("client", "Context", "Me", "Arg", "Result", "invalidate", "build", "discover", "Graph"),
    *(
        "Engine",
        "Answer",
        "Bundle",
        "Identity",
        "ANONYMOUS",
        "Invalidation",
        "invalidations_of",
        "encode_header",
        "decode_header",
    ),
    *("entry_key", "scope_tag", "canonical", "build_manifest", "manifest_json", "urls_to_purge"),
    *("issue_mwt", "verify_mwt", "permission_key", "CacheBackend", "MemoryCache"),
    *("MizanError", "DeclarationError", "GraphError", "HeaderError", "TokenError", "CallError"),
    *("BadRequest", "Unauthorized", "Forbidden", "NotFound", "Conflict", "InvalidInput", "Unavailable"),
]

# The signatures that the design promises. What has a default may be followed by more that has one.
SIGNATURES = {
    "client": "function / context affects auth private route methods rev cache per name",
    "Engine": "graph * cache cache_secret on_cache_failure",
    "Engine.call": "self name args * identity request",
    "Engine.run": "self name args * identity request",
    "Engine.fetch": "self context params * identity request",
    "Identity": "user_id * staff superuser permissions permission_key",
    "Invalidation": "context params function",
    "entry_key": "secret context params * user_id permission_key rev",
    "scope_tag": "secret context params",
    "build_manifest": "graph * base_url page_routes",
    "manifest_json": "graph * base_url page_routes",
    "urls_to_purge": "manifest invalidations",
    "issue_mwt": "identity keys * ttl audience now",
    "verify_mwt": "token keys * audience now",
    "permission_key": "identity",
    "CacheBackend.get": "self keys",
    "CacheBackend.set": "self key value ttl * if_absent",
    "CacheBackend.delete": "self keys",
    "CacheBackend.delete_by_prefix": "self prefix",
    "CacheBackend.clear": "self",
    "MemoryCache": "max_bytes",
    "CallError": "detail * status code",
}


class TestExports:
    def test_what_is_promised_is_exported_and_nothing_else(self) -> None:
        assert sorted(EXPORTS) == sorted(mizan_core.__all__)
        assert mizan_asgi.__all__ == ["Mizan"]
        assert mizan_core.RedisCache.__name__ == "RedisCache"
        with pytest.raises(AttributeError, match="no attribute 'Redis'"):
            _ = mizan_core.Redis

    @pytest.mark.parametrize("name", EXPORTS)
    def test_an_export_can_be_imported_and_says_what_it_is(self, name: str) -> None:
        exported = getattr(importlib.import_module("mizan_core"), name)
        if inspect.isclass(exported) or inspect.isfunction(exported):
            assert exported.__doc__
            assert not exported.__doc__.startswith(f"{name}("), "the docstring is only what dataclass makes up"

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_a_signature_begins_as_it_was_promised(self, name: str) -> None:
        promised = SIGNATURES[name].split()
        exported: Any = mizan_core
        for part in name.split("."):
            exported = getattr(exported, part)
        parameters = list(inspect.signature(exported).parameters.values())
        names = [one.name for one in parameters]
        wanted = [one for one in promised if one not in ("*", "/")]
        assert names[: len(wanted)] == wanted
        assert all(one.default is not one.empty for one in parameters[len(wanted) :])
        if "*" in promised:
            keywords = promised[promised.index("*") + 1 :]
            assert all(one.kind is one.KEYWORD_ONLY for one in parameters if one.name in keywords)

    @pytest.mark.parametrize(
        ("package", "absent"),
        [
            ("mizan_core", {"starlette", "fastapi", "httpx", "uvicorn", "typer", "click", "redis", "mizan_asgi"}),
            ("mizan_asgi", {"fastapi", "httpx", "uvicorn", "typer", "click", "redis", "sqlalchemy"}),
        ],
    )
    def test_importing_a_package_does_not_import_what_it_can_do_without(self, package: str, absent: set[str]) -> None:
        program = f"import sys, {package}; print(*sorted(set(sys.modules) & {absent!r}))"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == []


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Every block of Python in the documents, with where it begins."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found += [(f"{path.name}:{text.count(chr(10), 0, one.start()) + 2}", one[1]) for one in FENCE.finditer(text)]
    return found


def is_file(block: str) -> bool:
    """Whether a block is a whole file, as its first line then says."""
    return re.match(r"# [\w/]+\.py\n", block) is not None


BLOCKS = blocks()
FILES = [(where, block) for where, block in BLOCKS if is_file(block)]


class TestDocuments:
    def test_the_readme_shows_a_whole_file_of_python(self) -> None:
        assert any(where.startswith("README.md") for where, _ in FILES)

    @pytest.mark.parametrize(("where", "block"), BLOCKS, ids=[where for where, _ in BLOCKS])
    def test_a_block_of_python_compiles(self, where: str, block: str) -> None:
        compile(block, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    @pytest.mark.parametrize(("where", "block"), BLOCKS, ids=[where for where, _ in BLOCKS])
    def test_a_block_imports_only_names_that_are_there(self, where: str, block: str) -> None:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module in ("mizan_core", "mizan_asgi"):
                exported = {*importlib.import_module(node.module).__all__, "RedisCache"}
                assert {alias.name for alias in node.names} <= exported

    @pytest.mark.parametrize(("where", "block"), FILES, ids=[where for where, _ in FILES])
    def test_a_block_that_is_a_whole_file_runs(self, where: str, block: str, tmp_path: Path) -> None:
        file = tmp_path / "block.py"
        file.write_text(block, encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-W", "error", file], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )
        assert ran.returncode == 0, ran.stderr

    def test_every_option_of_client_is_in_the_readmes_table(self) -> None:
        readme = DOCUMENTS[0].read_text(encoding="utf-8")
        options = [one.name for one in inspect.signature(client).parameters.values() if one.kind is one.KEYWORD_ONLY]
        assert [name for name in options if f"\n| `{name}` |" not in readme] == []

    def test_every_error_code_and_every_variable_is_in_the_guide(self) -> None:
        guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
        known: list[Any] = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, CallError)]
        codes = {(one.CODE, one.STATUS) for one in known if hasattr(one, "CODE")}
        assert len(codes) == 12
        assert [code for code, status in codes if f"| `{code}` | {status} |" not in guide] == []
        variables = set(re.findall(r"MIZAN_[A-Z_]*[A-Z]", (SOURCE / "mizan_asgi" / "settings.py").read_text()))
        assert [name for name in variables if f"| `{name}` |" not in guide] == []
