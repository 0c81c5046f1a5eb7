"""Reports of the results: as text, as JSON, as a table with machine, versions and date, and as a chart."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import chart
from .measure import Limit, Workload

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"

BEGIN, END = "<!-- figures: written by `make bench` -->\n", "<!-- end of figures -->\n"

# Packages whose versions belong to the results.
PACKAGES = (
    *("uvloop", "httptools", "uvicorn", "starlette", "pydantic", "orjson", "redis", "hiredis"),
    *("fastapi", "fastapi-cache2", "cashews", "aiocache", "litestar"),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure over another, with its limit. A ratio below one is shown inverted.

    `contender`: the one whose time it is, if a profile can explain it.
    """

    who: str
    unit: str
    ratio: float
    at_most: float
    contender: str = ""

    @classmethod
    def of(cls, limit: Limit, times: dict[str, list[float]]) -> "Ratio":
        who, unit = limit.who, limit.unit
        if limit.beyond is not None:
            who, unit = (f"{one} less {base}" for one, base in zip((who, unit), limit.beyond, strict=True))
        return cls(who, unit, limit.ratio(times), limit.at_most, limit.who)

    @property
    def holds(self) -> bool:
        return self.ratio <= self.at_most

    @property
    def measured(self) -> str:
        if self.at_most < 1:
            return f"{1 / self.ratio:.3g} × faster than {self.unit}"
        return f"{self.ratio:.3g} × {self.unit}"

    @property
    def limit(self) -> str:
        return f"at least {1 / self.at_most:.3g} ×" if self.at_most < 1 else f"at most {self.at_most:.3g} ×"

    def text(self) -> str:
        return f"{self.who}: {self.measured}, {self.limit}" + ("" if self.holds else " (not reached)")


@dataclass(frozen=True, slots=True)
class Result:
    """A workload's figures by contender. `beside`: another column, with the title `beside_title`.

    `remains`: a sampling profile of the cost.
    """

    name: str
    title: str
    figures: dict[str, float]
    unit: str
    beside: dict[str, str] = field(default_factory=dict)
    beside_title: str = ""
    ratios: list[Ratio] = field(default_factory=list)
    remains: str = ""

    @classmethod
    def of(cls, workload: Workload, times: dict[str, list[float]]) -> "Result":
        return cls(
            workload.name,
            workload.title,
            {name: statistics.median(values) for name, values in times.items()},
            workload.unit,
            {name: _quartiles(values) for name, values in times.items()},
            "quartiles",
            [Ratio.of(limit, times) for limit in workload.limits],
        )

    def text(self) -> str:
        lines = [f"{self.title} ({self.name}), {self.unit}"]
        for name, figure in self.figures.items():
            lines.append(f"  {figure_text(figure):>14}  {name:28} {self.beside.get(name, '')}")
        lines += [f"  {one.text()}" for one in self.ratios]
        return "\n".join([*lines, self.remains]).rstrip()


def _quartiles(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{low:,.2f} to {high:,.2f}"


def surroundings() -> dict[str, str]:
    """The machine, the versions and the date."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    told = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "revision": _told_by("git", "describe", "--always", "--dirty"),
        "redis-server": _version_in(_told_by("redis-server", "--version")),
        "wrk": _version_in(_told_by("wrk", "--version")),
    }
    return told | {name: importlib.metadata.version(name) for name in PACKAGES}


def _told_by(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        return "none"
    told = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=RESULTS.parent)
    return told.stdout.strip()


def _version_in(told: str) -> str:
    found = re.search(r"\d+\.[\d.]*\d", told)
    return found[0] if found else told


def write(results: Sequence[Result], around: dict[str, str]) -> None:
    """Write the figures to `results/`, and to the README between its marks."""
    RESULTS.mkdir(exist_ok=True)
    measured = {"surroundings": around, "results": [asdict(one) for one in results]}
    (RESULTS / "results.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "table.md").write_text(table(results, around), encoding="utf-8")
    chart.draw(results, around, RESULTS / "chart.png")
    text = README.read_text(encoding="utf-8")
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        README.write_text(before + BEGIN + summary(results, around) + END + rest.partition(END)[2], encoding="utf-8")


def read() -> tuple[list[Result], dict[str, str]]:
    """The figures in `results/`."""
    measured = json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))
    results = [Result(**(one | {"ratios": [Ratio(**ratio) for ratio in one["ratios"]]})) for one in measured["results"]]
    return results, measured["surroundings"]


def merged(results: Sequence[Result], order: Sequence[str]) -> tuple[list[Result], dict[str, str]]:
    """The figures in `results/` with these in the place of those of their names, and what is said of their run."""
    known, around = read()
    new = {one.name for one in results}
    every = sorted([*results, *(one for one in known if one.name not in new)], key=lambda one: _place(one, order))
    later = surroundings()
    load = f"{os.getloadavg()[2]:.1f}"  # of a quarter of an hour: other work of the machine makes every figure worse
    told = f"{', '.join(one.name for one in results)}: {later['date']}, revision {later['revision']}, load {load}"
    return every, around | {"measured again": told}


def _place(result: Result, order: Sequence[str]) -> int:
    """The place of the workload, or of the one whose name it begins with."""
    return max((place for place, name in enumerate(order) if result.name.startswith(name)), default=len(order))


def summary(results: Sequence[Result], around: dict[str, str]) -> str:
    """The part of the README: the chart, and the ratios that have to hold."""
    told = f"{around['machine']}; Python {around['python']}; {around['date']}; revision {around['revision']}."
    if "measured again" in around:
        told += f" Measured again: {around['measured again']}."
    return f"![What a request costs](benchmarks/results/chart.png)\n\n{ratios(results)}\n{told}\n"


def table(results: Sequence[Result], around: dict[str, str]) -> str:
    pieces = ["# Figures\n", ratios(results)]
    remaining = [one for one in results if one.remains]
    if remaining:
        pieces.append("## Profiles where a ratio does not hold\n")
        pieces += [f"### {one.title}\n\n{one.remains}" for one in remaining]
    pieces.append("## Every workload\n")
    pieces += [_every_figure(one) for one in results]
    pieces.append("## Measured with\n")
    pieces.append("\n".join(f"- {name}: {value}" for name, value in around.items()) + "\n")
    return "\n".join(pieces)


def _every_figure(result: Result) -> str:
    rows = [("", result.unit, result.beside_title), ("---", "---:", "---:")]
    rows += [(name, figure_text(figure), result.beside.get(name, "")) for name, figure in _best_first(result)]
    shown = 3 if result.beside else 2
    lines = [f"| {' | '.join(row[:shown])} |" for row in rows]
    return "\n".join([f"### {result.title}\n", *lines, ""])


def figure_text(figure: float) -> str:
    """A figure with its significant digits."""
    return f"{figure:,.0f}" if figure >= 1_000 else f"{figure:,.2f}"


def _best_first(result: Result) -> list[tuple[str, float]]:
    """The contenders by their cost; those of a growing size in the order of the size."""
    if result.name.startswith(("bodies", "growth", "whole", "housekeeping", "memory")):
        return list(result.figures.items())
    return sorted(result.figures.items(), key=lambda pair: pair[1], reverse=result.unit.startswith("requests"))


def ratios(results: Sequence[Result]) -> str:
    """The ratios that have to hold, and whether they do."""
    rows = ["| workload | measured | has to be | |", "| --- | --- | --- | --- |"]
    for result in results:
        for one in result.ratios:
            who = "" if one.who == "mizan" else f"{one.who}: "
            verdict = "holds" if one.holds else "**not reached**"
            rows.append(f"| {result.title} | {who}{one.measured} | {one.limit} | {verdict} |")
    return "\n".join(rows) + "\n"
