"""The documents name every public name, option, code, variable and command, and their links lead somewhere."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import mizan_asgi
import mizan_core
from mizan_asgi import edge as fronts
from mizan_asgi import inspector
from mizan_asgi.cli import cli
from mizan_core import CallError, client, edge, errors, proof, testing
from mizan_core.engine import observers
from mizan_core.integrations import postgresql

from .pages import DOCS, PAGES, ROOT

REFERENCE = "".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md")))

# Values, which have no docstring of their own: the reference names them in a sentence.
CONSTANTS = {
    *("ANONYMOUS", "Me"),
    *("EVERYTHING", "MAXIMUM_ENTRIES", "READABLE", "SURROGATE_KEY", "CACHE_TAG", "EDGE_CACHE_TAG", "CACHE_GROUPS"),
}

FORGE_PAGES = sorted({*ROOT.glob("*.md"), *PAGES})


def test_the_reference_has_every_public_name_and_no_other() -> None:
    public = {f"mizan_core.{name}" for name in [*mizan_core.__all__, "RedisCache"] if name not in CONSTANTS}
    modules = (mizan_asgi, edge, fronts, inspector, postgresql, proof, testing)
    public |= {f"{one.__name__}.{name}" for one in modules for name in one.__all__ if name not in CONSTANTS}
    public |= {f"mizan_core.engine.observers.{name}" for name in observers.__all__}
    public |= {
        "mizan_asgi.accounts.by_account",
        "mizan_asgi.client.Client",
        "mizan_core.integrations.opentelemetry.Telemetry",
    }
    assert set(re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE)) == public
    assert [name for name in CONSTANTS if f"`{name}`" not in REFERENCE] == []


def test_every_option_of_client_is_in_the_references_table() -> None:
    options = [one.name for one in inspect.signature(client).parameters.values() if one.kind is one.KEYWORD_ONLY]
    assert [name for name in options if f"\n| `{name}` |" not in REFERENCE] == []


def test_every_error_code_is_in_the_references_table() -> None:
    known: list[Any] = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, CallError)]
    codes = {(one.CODE, one.STATUS) for one in known if hasattr(one, "CODE")}
    assert len(codes) == 12
    assert [code for code, status in codes if f"| `{code}` | {status} |" not in REFERENCE] == []


def test_every_variable_of_the_environment_is_in_the_table() -> None:
    page = (DOCS / "how-to" / "deployment.md").read_text(encoding="utf-8")
    read = set(re.findall(r"MIZAN_[A-Z_]*[A-Z]", (ROOT / "src" / "mizan_asgi" / "settings.py").read_text()))
    assert read
    assert [name for name in read if f"| `{name}` |" not in page] == []


def test_every_command_is_on_the_page_of_commands() -> None:
    page = (DOCS / "how-to" / "command-line.md").read_text(encoding="utf-8")
    named = [one.name or one.callback.__name__ for one in cli.registered_commands if one.callback is not None]
    for group in cli.registered_groups:
        assert group.typer_instance is not None
        found = group.typer_instance.registered_commands
        named += [f"{group.name} {one.callback.__name__}" for one in found if one.callback is not None]
    assert {"check", "generate", "edge varnish"} <= set(named)
    assert [name for name in named if f"$ mizan {name} " not in page] == []


@pytest.mark.parametrize("page", FORGE_PAGES, ids=[str(page.relative_to(ROOT)) for page in FORGE_PAGES])
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """On a forge, where README links into docs/. `make docs` looks at the links inside docs/ as a site has them."""
    text = without_code(page.read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page if not path else page.parent / path
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", FORGE_PAGES, ids=[str(page.relative_to(ROOT)) for page in FORGE_PAGES])
def test_a_path_of_the_repository_is_there(page: Path) -> None:
    """Pages of the site name files outside docs/ by their path, for there is nothing to link to."""
    named = re.findall(r"`((?:src|tests|examples|benchmarks|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them of plain words."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


def test_headings_are_found_by_their_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `it` is, and is not\n\n## 14. Refresh\n")
    assert headings(page) == {"what-it-is-and-is-not", "14-refresh"}
