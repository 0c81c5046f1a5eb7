"""The table of hazards in the documents: each row names one test, and each test has a row."""

import re

from tests.documents.pages import DOCS
from tests.edge.hazards import test_answers, test_purges, test_requests

PAGE = (DOCS / "explanation" / "edge-hazards.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (?!---|hazard )", line)]

# What shows that the tests themselves see a difference, or that an edge does no more than it should.
BESIDE = {"test_answers_for_everyone_are_kept", "test_what_the_host_says_to_caches_is_its_own"}
BESIDE |= {"test_a_websocket_of_the_hosts_passes"}


def test_every_row_names_one_test_and_every_test_has_a_row() -> None:
    named = [row[-1].strip("`") for row in ROWS]
    tests = {
        name for module in (test_answers, test_purges, test_requests) for name in vars(module) if name[:5] == "test_"
    }
    assert sorted(named) == sorted(tests - BESIDE)
    assert len(named) >= 20


def test_every_row_says_what_happens_and_what_is_done() -> None:
    assert [row for row in ROWS if len(row) != 4 or not all(row)] == []
