"""What sampling costs a hit in production, counted in steps, which no busy machine changes."""

import json
import os
import subprocess
import sys

from .sampling_cost import HITS, SAMPLE


def test_sampling_costs_less_than_a_fiftieth_of_a_hit() -> None:
    """In a process of its own: a tracer, such as that of coverage, would be counted too."""
    untraced = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    command = [sys.executable, "-m", "tests.proof.sampling_cost"]
    ran = subprocess.run(command, env=untraced, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(ran.stdout)
    assert HITS * SAMPLE <= found["checked"] <= 4 * HITS * SAMPLE
    assert 0 < found["sampled"] - found["unverified"] < 0.02 * found["unverified"]
