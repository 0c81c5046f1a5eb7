"""The machine-readable cases of the protocol, which every implementation passes in both directions."""

import json
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def load(name: str) -> dict[str, list[Case]]:
    """The groups of cases in one file. A file or a group without cases is an error: it would let everything pass."""
    groups: dict[str, list[Case]] = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    assert groups, f"{name} has no cases"
    assert all(groups.values()), f"{name} has a group without cases"
    return groups


def note(case: Case) -> str:
    """What a case is about, for the name of its test."""
    return str(case["note"])
