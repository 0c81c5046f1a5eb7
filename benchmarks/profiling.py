"""Profiles of a workload by py-spy, which samples the process from outside and changes nothing in it.

The sampled process is `python -m benchmarks.profiling WORKLOAD CONTENDER REDIS SECONDS FILE`.
"""

import asyncio
import json
import linecache
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from . import measure, workloads

SAMPLES_PER_SECOND = 1_000
LISTED = 14
PACKAGES = 6

# A frame as py-spy writes it: function (path:line).
_FRAME = re.compile(r"(.*) \((.*):(\d+)\)")
_BELOW = re.compile(rf".*/lib/python[0-9.]+/(?:site-packages/)?|{Path(__file__).parent.parent}/(?:src/)?")
_HERE = "measured", "benchmarks/profiling.py"
_LOOP = "Runner.run", "asyncio/runners.py"  # uvloop has no frames below it


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a function."""

    function: str
    path: str
    line: int

    @property
    def module(self) -> str:
        """The file's path below the folder in which its package is installed."""
        return _BELOW.split(self.path)[-1]

    @property
    def package(self) -> str:
        return self.module.partition("/")[0].removesuffix(".py")

    @property
    def where(self) -> str:
        if (self.function, self.module) == _LOOP:
            return "the event loop itself"
        if self.path == "<string>" and self.function.endswith(".__init__"):
            return "dataclasses being made"
        return f"{self.function} ({self.module})"

    @property
    def text(self) -> str:
        return linecache.getline(self.path, self.line).strip()


def profile(workload: str, who: str, url: str, *, seconds: float = 5.0) -> str:
    """A table of the functions in which a contender spends its time, without the functions that they call."""
    with tempfile.TemporaryDirectory() as directory:
        stacks, told = Path(directory, "stacks"), Path(directory, "told")
        sampler = ["py-spy", "record", "--format", "raw", "--full-filenames", "--rate", str(SAMPLES_PER_SECOND)]
        command = [sys.executable, "-m", "benchmarks.profiling", workload, who, url, str(seconds), str(told)]
        subprocess.run(
            [Path(sys.executable).with_name(sampler[0]), *sampler[1:], "--output", stacks, "--", *command],
            capture_output=True,
            check=True,
            timeout=seconds + 300,
        )
        microseconds = float(told.read_text(encoding="ascii"))
        return _table(Counter(_leaves(stacks.read_text(encoding="utf-8"))), who, microseconds)


def _leaves(raw: str) -> Iterator[tuple[Place, int]]:
    """The innermost place of each sampled stack, with the number of samples."""
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [
            Place(found[1], found[2], int(found[3])) for found in map(_FRAME.fullmatch, stack.split(";")) if found
        ]
        if any(frame.function == _HERE[0] and frame.path.endswith(_HERE[1]) for frame in frames):
            yield frames[-1], int(count)


def _table(leaves: "Counter[Any]", who: str, microseconds: float) -> str:
    counted: Counter[Place] = Counter()
    for (place, count), times in leaves.items():
        counted[place] += count * times
    functions: Counter[str] = Counter()
    for place, count in counted.items():
        functions[place.where] += count
    packages: Counter[str] = Counter()
    for place, count in counted.items():
        packages[place.package] += count
    total = functions.total()
    by_package = ", ".join(f"{package} {count / total:.0%}" for package, count in packages.most_common(PACKAGES))
    rows = [
        f"{who}: {microseconds:.1f} µs per request, by {total:,} samples. By package: {by_package}.\n",
        "| µs | share | function | where most of it is spent |",
        "| ---: | ---: | --- | --- |",
    ]
    for where, count in functions.most_common(LISTED):
        heaviest = max((place for place in counted if place.where == where), key=counted.__getitem__)
        text = heaviest.text.replace("|", "\\|")
        rows.append(f"| {microseconds * count / total:.2f} | {count / total:.0%} | {where} | `{text}` |")
    rest = total - sum(count for _, count in functions.most_common(LISTED))
    rows.append(f"| {microseconds * rest / total:.2f} | {rest / total:.0%} | everything else | |")
    return "\n".join(rows) + "\n"


def measured(runner: Any, contender: Any, workload: Any, prepared: list[Any]) -> None:
    """The function that samples are taken from: the loop's work counts while it is on the stack."""
    runner.run(measure.answer(contender, workload, prepared))


def _sampled(name: str, who: str, url: str, seconds: float) -> float:
    """Answer batch after batch; microseconds of CPU per request."""
    spent = requests = 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = runner.run(_made(name, url))
        workload = next(one for one in made if one.name == name)
        contender = next(one for one in workload.contenders if one.name == who)
        runner.run(measure.batch(contender, workload))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            prepared = runner.run(measure.prepare(contender, workload))
            begun = time.process_time_ns()
            measured(runner, contender, workload, prepared)
            spent += time.process_time_ns() - begun
            requests += len(prepared)
    return spent / requests / 1000


async def _made(name: str, url: str) -> list[measure.Workload]:
    return await workloads.maker_of(name)(url)


if __name__ == "__main__":
    _, name_, who_, url_, seconds_, file_ = sys.argv
    Path(file_).write_text(json.dumps(_sampled(name_, who_, url_, float(seconds_))), encoding="ascii")
