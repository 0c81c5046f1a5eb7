"""The dashboard in docs/grafana.json, against what Prometheus is given by OpenTelemetry's own exporter."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from .observed import World

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text(encoding="utf-8"))
SHOWN = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

# Labels in braces or after `by`, without the values.
LABELS = re.compile(r"\{([^}]*)\}|\bby \(([^)]*)\)")


def queries() -> Iterator[tuple[str, str]]:
    """Each expression of the dashboard, with the legend of its lines."""
    for panel in SHOWN:
        yield from ((target["expr"], target["legendFormat"]) for target in panel["targets"])
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            yield f"sum by ({label}) ({metric})", "__auto"


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """The metrics of an expression, and the labels that it asks for."""
    plain = re.sub(r'"[^"]*"', "", expression)
    labels = {name for found in LABELS.findall(plain) for name in re.findall(r"[a-z_]+", " ".join(found))}
    return set(re.findall(r"mizan_\w+", LABELS.sub("", plain))), labels


async def exposed() -> dict[str, set[str]]:
    """The labels of every series, after one of everything."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry)
    world = World(reader, verify=True)
    await world.everything()
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels[sample.name] |= sample.labels.keys()
    return labels


@pytest.mark.asyncio
async def test_every_metric_and_label_of_the_dashboard_exists(caplog: pytest.LogCaptureFixture) -> None:
    labels = await exposed()
    for expression, legend in queries():
        metrics, asked = names_in(expression)
        assert metrics, expression
        assert metrics <= labels.keys(), expression
        assert all(asked <= labels[metric] for metric in metrics), expression
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= asked, legend


@pytest.mark.asyncio
async def test_every_metric_is_on_the_dashboard(caplog: pytest.LogCaptureFixture) -> None:
    series = {name for name in await exposed() if name.startswith("mizan_")}
    asked = {metric for expression, _ in queries() for metric in names_in(expression)[0]}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in series} == {
        re.sub("_(bucket|count|sum)$", "", name) for name in asked
    }


def test_the_dashboard_asks_for_its_data_source() -> None:
    (source,) = [one for one in BOARD["templating"]["list"] if one["type"] == "datasource"]
    assert source["query"] == "prometheus"
    asking = [*SHOWN, *(target for panel in SHOWN for target in panel["targets"])]
    assert {one["datasource"]["uid"] for one in asking} == {f"${{{source['name']}}}"}
    assert BOARD["id"] is None


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_metrics_and_labels_of_an_expression_are_told_apart() -> None:
    found = names_in('sum by (le, a_b) (rate(mizan_x_bucket{c=~"$mizan_no", d!="{}"}[5m])) / mizan_y')
    assert found == ({"mizan_x_bucket", "mizan_y"}, {"le", "a_b", "c", "d"})


# What Grafana's own schema of dashboards (kinds/dashboard and the panels' options, from version 10 on) allows.
ALLOWED: dict[str, set[Any]] = {
    "graphTooltip": {0, 1, 2},
    "displayMode": {"list", "table", "hidden"},
    "placement": {"bottom", "right"},
    "tooltip.mode": {"single", "multi", "none"},
    "tooltip.sort": {"asc", "desc", "none"},
    "stacking.mode": {"none", "normal", "percent"},
    "thresholds.mode": {"absolute", "percentage"},
    "color.mode": {"thresholds", "palette-classic", "palette-classic-by-name", "fixed"},
    "colorMode": {"none", "value", "background", "background_solid"},
    "graphMode": {"none", "area"},
    "unit": {"percentunit", "s", "short", "reqps", "ops", "cps", "none"},
}


def told(found: Any, under: str = "") -> Iterator[tuple[str, Any]]:
    """Every member of a JSON text that `ALLOWED` knows, by its name or by its parent's and its own."""
    if isinstance(found, list):
        for one in found:
            yield from told(one, under)
    if isinstance(found, dict):
        for name, value in found.items():
            for key in {name, f"{under}.{name}"} & ALLOWED.keys():
                yield key, value
            yield from told(value, name)


def test_options_have_values_that_grafana_knows() -> None:
    for key, value in told(BOARD):
        assert value in ALLOWED[key], key
    assert {"unit", "tooltip.mode", "stacking.mode", "displayMode"} <= {key for key, _ in told(BOARD)}


def test_panels_have_what_grafana_needs_of_them() -> None:
    assert BOARD["schemaVersion"] >= 36  # since then a data source is an object with a type and a uid
    assert re.fullmatch(r"[\w-]{1,40}", BOARD["uid"])
    assert BOARD["time"].keys() == {"from", "to"}
    for panel in BOARD["panels"]:
        assert {"id", "type", "title", "gridPos"} <= panel.keys()
        assert panel["type"] in {"row", "stat", "timeseries"}
        if panel["type"] != "row":
            assert {"datasource", "targets", "fieldConfig", "options"} <= panel.keys(), panel["title"]
            assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
            steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [{"value": None}])
            assert steps[0]["value"] is None, panel["title"]  # the base, from minus infinity on
            letters = [target["refId"] for target in panel["targets"]]
            assert len(set(letters)) == len(letters)


def test_expressions_use_variables_that_exist_and_are_closed() -> None:
    variables = {one["name"] for one in BOARD["templating"]["list"]} | {"__rate_interval", "__range"}
    for expression, _ in queries():
        assert set(re.findall(r"\$\{?(\w+)", expression)) <= variables, expression
        plain = re.sub(r'"[^"]*"', "", expression)
        left: list[str] = []
        for one in plain:
            if one in "([{":
                left.append({"(": ")", "[": "]", "{": "}"}[one])
            elif one in ")]}":
                assert left.pop() == one, expression
        assert left == [], expression
