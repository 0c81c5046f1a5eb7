"""What was measured: as text, as JSON, as a table with machine, versions and date, and as a chart."""

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

from .measure import Workload

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"

# What else was running when these were measured, and so a part of them.
PACKAGES = (
    *("uvloop", "httptools", "uvicorn", "starlette", "pydantic", "orjson", "redis", "hiredis"),
    *("fastapi", "fastapi-cache2", "cashews", "aiocache", "litestar"),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contender's time over another's, and what it has to be at most."""

    who: str
    unit: str
    ratio: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.ratio <= self.limit

    def text(self) -> str:
        return f"{self.who} / {self.unit}: {self.ratio:.3f}, at most {self.limit:.3f}" + (
            "" if self.holds else " (not reached)"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A workload's figures by contender: medians, with the quartiles around them."""

    name: str
    title: str
    figures: dict[str, float]
    unit: str = "µs of CPU per request"
    quartiles: dict[str, tuple[float, float]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)

    @classmethod
    def of(cls, workload: Workload, times: dict[str, list[float]]) -> "Result":
        medians = {name: statistics.median(values) for name, values in times.items()}
        quartiles = {}
        for name, values in times.items():
            low, _, high = statistics.quantiles(values, n=4)
            quartiles[name] = (low, high)
        ratios = [Ratio(who, unit, medians[who] / medians[unit], limit) for who, unit, limit in workload.limits]
        return cls(workload.name, workload.title, medians, quartiles=quartiles, ratios=ratios)

    def text(self) -> str:
        lines = [f"{self.title} ({self.name}), {self.unit}"]
        lines += [f"  {figure:12,.2f}  {name}" for name, figure in self.figures.items()]
        lines += [f"  {one.text()}" for one in self.ratios]
        return "\n".join(lines)


def surroundings() -> dict[str, str]:
    """The machine, the versions and the date."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=RESULTS.parent
    )
    told = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
        "redis-server": _version_of("redis-server"),
    }
    return told | {name: importlib.metadata.version(name) for name in PACKAGES}


def _version_of(program: str) -> str:
    if shutil.which(program) is None:
        return "none"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v=?([0-9.]+)", told.stdout)
    return found[1] if found else "unknown"


def write(results: Sequence[Result]) -> None:
    """Leave the figures in `results/`, and in the README between its marks."""
    RESULTS.mkdir(exist_ok=True)
    around = surroundings()
    measured = {"surroundings": around, "results": [asdict(one) for one in results]}
    (RESULTS / "results.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "table.md").write_text(table(results, around), encoding="utf-8")
    chart([one for one in results if one.unit.startswith("µs") and len(one.figures) > 1], RESULTS / "chart.png")
    begin, end = "<!-- figures: written by `make bench` -->\n", "<!-- end of figures -->\n"
    text = README.read_text(encoding="utf-8")
    if begin in text:
        before, _, rest = text.partition(begin)
        README.write_text(before + begin + ratios(results) + end + rest.partition(end)[2], encoding="utf-8")


def table(results: Sequence[Result], around: dict[str, str]) -> str:
    pieces = ["# Figures\n", ratios(results), "## Every workload\n"]
    for one in results:
        rows = [
            f"| {name} | {figure:,.2f} | {_spread(one, name)} |"
            for name, figure in sorted(one.figures.items(), key=lambda pair: pair[1])
        ]
        pieces.append(
            "\n".join([f"### {one.title}\n", f"| | {one.unit} | quartiles |", "| --- | ---: | ---: |", *rows, ""])
        )
    pieces.append("## Measured with\n")
    pieces.append("\n".join(f"- {name}: {value}" for name, value in around.items()) + "\n")
    return "\n".join(pieces)


def _spread(result: Result, name: str) -> str:
    return "" if name not in result.quartiles else "{:,.2f} to {:,.2f}".format(*result.quartiles[name])


def ratios(results: Sequence[Result]) -> str:
    """The ratios that have to hold, and whether they do."""
    rows = ["| workload | measured | at most | |", "| --- | ---: | ---: | --- |"]
    for result in results:
        for one in result.ratios:
            measured = f"{one.ratio:.2f} of {one.unit}" if one.limit >= 0.1 else f"1/{1 / one.ratio:.1f} of {one.unit}"
            limit = f"{one.limit:g}" if one.limit >= 0.1 else f"1/{1 / one.limit:g}"
            rows.append(f"| {result.title} | {measured} | {limit} | {'holds' if one.holds else '**not reached**'} |")
    return "\n".join(rows) + "\n"


def chart(results: Sequence[Result], path: Path) -> None:
    """Bars for each workload, this project's in another colour."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    heights = [len(one.figures) + 1.6 for one in results]
    figure, axes = pyplot.subplots(
        len(results), 1, figsize=(9, sum(heights) * 0.27), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, one in zip(axes[:, 0], results, strict=True):
        names = sorted(one.figures, key=one.figures.__getitem__, reverse=True)
        colours = ["#2f6f4f" if name.startswith("mizan") else "#b9bfc4" for name in names]
        bars = axis.barh(names, [one.figures[name] for name in names], color=colours)
        axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=7)
        axis.set_title(f"{one.title}: {one.unit}", loc="left", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.margins(x=0.08)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
