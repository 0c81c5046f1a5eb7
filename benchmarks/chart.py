"""The chart: panels of bars for kinds of requests, and panels of lines for costs beside something that grows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Result

OURS, FLOOR, OTHERS, INK, FAINT = "#1f7a5c", "#4a5560", "#c3c9cf", "#20262b", "#7b858e"
LINES = ("#1f7a5c", "#4c78a8", "#e0a030", "#b5525c", "#7a5fa0", "#4a5560")

# Workloads in the order of their panels, two in a row.
BARS = (
    *("hit", "sockets-hit", "hit-redis-1", "hit-redis-32", "sockets-redis", "304"),
    *("miss", "call", "mutation", "mutation-redis"),
)
FLOORS = ("raw", "bare", "redis-py")

# The unit of a panel that names no other.
UNIT = "µs of CPU per request"

WIDTH_INCHES = 11.0
BAR_INCHES, LINES_INCHES, TITLE_INCHES = 0.235, 2.1, 0.55


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of the chart. `lines`: points of (size, figure), by the line's name."""

    title: str
    unit: str
    bars: dict[str, float]
    lines: dict[str, list[tuple[float, float]]]
    beside: str = ""

    @property
    def inches(self) -> float:
        return TITLE_INCHES + (LINES_INCHES if self.lines else BAR_INCHES * len(self.bars))


def draw(results: "Sequence[Result]", around: dict[str, str], path: Path) -> None:
    """Write the chart of the measured workloads."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = _panels({one.name: one for one in results})
    rows = [panels[place : place + 2] for place in range(0, len(panels), 2)]
    heights = [max(one.inches for one in row) for row in rows]
    style = {"font.size": 8.5, "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": FAINT}
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(
            len(rows),
            2,
            figsize=(WIDTH_INCHES, sum(heights) + 0.8),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
        figure.suptitle(f"What a request costs, in {UNIT}\n\n", x=0.01, ha="left", fontsize=14, fontweight="bold")
        _legend(figure, around)
        for row, places in zip(rows, axes, strict=True):
            for place, axis in enumerate(places):
                if place < len(row):
                    _draw_panel(axis, row[place])
                else:
                    axis.set_axis_off()
        figure.savefig(path, dpi=120, facecolor="white")
        pyplot.close(figure)


def _panels(results: "dict[str, Result]") -> list[Panel]:
    found = [_bars(results[name]) for name in BARS if name in results]
    growth = {name.removeprefix("growth-"): _points(one) for name, one in results.items() if name.startswith("growth-")}
    if growth:
        found.append(Panel("Hit from memory, as something grows", UNIT, {}, growth, "how many"))
    purges = {"whole-purge": "in memory (CPU)", "whole-purge-redis": "in Redis (waiting included)"}
    purged = {title: _points(results[name]) for name, title in purges.items() if name in results}
    if purged:
        found.append(Panel("Purge of a whole context", UNIT, {}, purged, "other keys beside it"))
    return found


def _bars(result: "Result") -> Panel:
    least_first = sorted(result.figures.items(), key=lambda pair: pair[1], reverse=not _less_is_better(result))
    return Panel(result.title, result.unit, dict(least_first), {})


def _less_is_better(result: "Result") -> bool:
    return not result.unit.startswith("requests")


def _points(result: "Result") -> list[tuple[float, float]]:
    counts = [float(re.sub(r"\D", "", name)) for name in result.figures]
    return [(count, figure) for count, figure in zip(counts, result.figures.values(), strict=True) if count]


def _legend(figure: Any, around: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    _, height = figure.get_size_inches()

    told = {"this project": OURS, "plain ASGI that does exactly this": FLOOR, "what people would use instead": OTHERS}
    patches = [Patch(color=colour, label=name) for name, colour in told.items()]
    figure.legend(handles=patches, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.32 / height), ncols=3, frameon=False)
    machine = re.sub(r"\(R\)", "", around["machine"])
    figure.supxlabel(
        f"{machine}, Python {around['python']}, {around['date']}, revision {around['revision']}",
        x=0.01,
        ha="left",
        fontsize=7.5,
        color=FAINT,
    )


def _draw_panel(axis: Any, panel: Panel) -> None:
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold", color=INK)
    if panel.unit != UNIT:
        axis.set_title(panel.unit, loc="right", fontsize=8, color=FAINT)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    if panel.lines:
        _draw_lines(axis, panel)
    else:
        _draw_bars(axis, panel.bars)


def _draw_bars(axis: Any, bars: dict[str, float]) -> None:
    names = list(bars)[::-1]
    drawn = axis.barh(names, [bars[name] for name in names], color=[_colour(name) for name in names], height=0.72)
    labels = axis.bar_label(drawn, labels=[_figure(bars[name]) for name in names], padding=4, fontsize=8.5)
    for name, label, tick in zip(names, labels, axis.get_yticklabels(), strict=True):
        if name.startswith("mizan"):
            for text in (label, tick):
                text.set(fontweight="bold", color=OURS)
    axis.set_xlim(0, max(bars.values()) * 1.12)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0)


def _draw_lines(axis: Any, panel: Panel) -> None:
    for (name, points), colour in zip(panel.lines.items(), LINES, strict=False):
        counts, figures = zip(*points, strict=True)
        axis.plot(counts, figures, marker="o", markersize=4, linewidth=1.6, color=colour, label=name)
    axis.set_xscale("log")
    axis.set_ylim(0, max(figure for points in panel.lines.values() for _, figure in points) * 1.35)
    axis.set_xlabel(panel.beside, fontsize=8)
    axis.spines["bottom"].set_visible(True)
    axis.tick_params(color=FAINT, labelcolor=FAINT, labelsize=8)
    axis.grid(axis="y", color="#e8ebee", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.legend(ncols=3, frameon=False, fontsize=8, loc="best", handlelength=1.4)


def _colour(name: str) -> str:
    if name.startswith("mizan"):
        return OURS
    return FLOOR if name.startswith(FLOORS) else OTHERS


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
