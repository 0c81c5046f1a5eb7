"""`mizan audit`: what was asked of Conduit, recorded, and played again on its database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mizan_core.proof import Recorder

from .town import Town
from .world import running

ROOT = Path(__file__).parents[2]
BUNDLES = (
    "article/?slug=one",
    "article/?slug=two",
    "comments/?slug=one",
    "profile/?username=bob",
    "profile/?username=eve",
    "articles/",
    "articles/?tag=old",
    "articles/?favorited=ada",
    "feed/",
    "tags/",
)
CALLS = (
    ("favorite", {"slug": "two"}),
    ("unfavorite", {"slug": "one"}),
    ("unfollow", {"username": "bob"}),
    ("follow", {"username": "eve"}),
)


@pytest.mark.asyncio
async def test_an_audit_of_conduit_finds_nothing_stale(town: Town, database: str, tmp_path: Path) -> None:
    recording = tmp_path / "calls.jsonl"
    with recording.open("w") as file:
        async with running(database, observers=[Recorder(file)]) as recorded:
            for user in ("ada", "visitor"):
                for bundle in BUNDLES:
                    await recorded.web.get(f"/mizan/ctx/{bundle}", headers=town.users[user])
            for name, args in CALLS:
                answer = await recorded.web.post(
                    "/mizan/call/", json={"fn": name, "args": args}, headers=town.users["ada"]
                )
                assert answer.status_code == 200, answer.text
    command = [Path(sys.executable).with_name("mizan"), "audit", "examples.conduit.app:mizan", "--scratch", "--calls"]
    environment = os.environ | {"CONDUIT_DATABASE_URL": database, "COLUMNS": "200"}
    done = subprocess.run([*command, recording], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "calls and" in lines[0]
    assert lines[0].endswith(" 0 refused.")
    assert lines[-1] == "Nothing was stale."
