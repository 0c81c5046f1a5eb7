"""The README says how many lines Conduit has for Mizan's sake."""

from .lines import EXAMPLE, counted


def test_the_readme_counts_its_lines() -> None:
    declared, glue = counted()
    text = " ".join((EXAMPLE / "README.md").read_text(encoding="utf-8").split())
    assert f"{sum(map(len, glue.values()))} lines are there for Mizan's sake" in text
    assert f"rules are {sum(declared.values())} lines more" in text
