"""Which contexts changed between two manifests."""

from typing import Any

import pytest
from starlette.responses import HTMLResponse

from mizan_core import Context, build, build_manifest
from mizan_core.edge import changed_contexts
from tests.declaring import mutation, reader

User = Context("user")


def made(*functions: Any, **options: Any) -> dict[str, Any]:
    return build_manifest(build([reader("plain", "plain"), *functions]), **options)


def profile(returns: Any = int, options: Any = None, **inputs: Any) -> Any:
    return reader("profile", User, returns, options=options, **(inputs or {"user_id": int}))


BEFORE = made(profile())


def test_nothing_changes_between_equal_manifests() -> None:
    assert changed_contexts(BEFORE, made(profile())) == {}
    assert changed_contexts(BEFORE, made(profile(), reader("new", "new"), mutation("write", "plain"))) == {}


@pytest.mark.parametrize(
    ("after", "reasons"),
    [
        ([], ("removed",)),
        ([profile(options={"rev": 2})], ("rev", "readers")),
        ([profile(), reader("second", User, user_id=int)], ("readers",)),
        ([profile(user_id=int, page=(int, 1))], ("parameters",)),
        ([profile(user_id=(int, 1))], ("parameters",)),
        ([profile(user_id=str)], ("results",)),
        ([profile(str)], ("results",)),
        ([profile(), mutation("write", User, user_id=int)], ("scopes",)),
        ([profile(options={"auth": True})], ("policy",)),
        ([profile(options={"cache": 60})], ("readers", "policy")),
        ([profile(), reader("page", User, HTMLResponse, options={"route": "/u/"})], ("readers", "urls", "pages")),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_exactly_the_changed_context_is_named(after: list[Any], reasons: tuple[str, ...]) -> None:
    assert changed_contexts(BEFORE, made(*after)) == {"user": reasons}


def test_a_moved_mount_changes_every_context() -> None:
    assert changed_contexts(BEFORE, made(profile(), base_url="/x")) == {"plain": ("urls",), "user": ("urls",)}


def test_a_manifest_without_fingerprints_is_compared() -> None:
    older = {
        name: {member: value for member, value in entry.items() if member not in ("fingerprint", "public", "pages")}
        for name, entry in BEFORE["contexts"].items()
    }
    assert changed_contexts({"contexts": older}, BEFORE) == {}
    assert changed_contexts({"contexts": older}, made(profile(options={"rev": 1}))) == {"user": ("rev", "readers")}
