"""The codebase itself: what is exported, with which signatures, and what importing it does not import."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

import mizan_asgi
import mizan_core

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

EXPORTS = [
    *(
        "client",
        "Context",
        "Me",
        "Claim",
        "Arg",
        "Result",
        "invalidate",
        "no_store",
        "Provide",
        "File",
        "Account",
        "build",
        "discover",
        "Graph",
    ),
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
    def test_exactly_the_promised_names_are_exported(self) -> None:
        assert sorted(EXPORTS) == sorted(mizan_core.__all__)
        assert mizan_asgi.__all__ == ["Mizan"]
        assert mizan_core.RedisCache.__name__ == "RedisCache"
        with pytest.raises(AttributeError, match="no attribute 'Redis'"):
            _ = mizan_core.Redis

    def test_the_version_is_the_distributions_and_the_change_logs(self) -> None:
        distribution = ProjectMetadata(str(ROOT), PluginManager())
        assert distribution.version == mizan_core.__version__
        changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        assert changes.partition("\n## ")[2].startswith(f"{mizan_core.__version__},")

    @pytest.mark.parametrize("name", EXPORTS)
    def test_an_export_can_be_imported_and_has_a_docstring(self, name: str) -> None:
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
            (
                "mizan_core",
                {
                    *("starlette", "fastapi", "httpx", "uvicorn", "typer", "click", "redis"),
                    *("opentelemetry", "sqlalchemy", "mizan_asgi"),
                },
            ),
            ("mizan_asgi", {"fastapi", "httpx", "uvicorn", "typer", "click", "redis", "opentelemetry", "sqlalchemy"}),
        ],
    )
    def test_importing_a_package_imports_no_optional_dependency(self, package: str, absent: set[str]) -> None:
        program = f"import sys, {package}; print(*sorted(set(sys.modules) & {absent!r}))"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == []
