"""The dashboard for Grafana asks for nothing that a running gateway does not have."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium.server.metrics import Metrics, Standing
from server import Server

pytestmark = pytest.mark.requirement("OPS-7")
BOARD = json.loads((Path(__file__).resolve().parents[2] / "deploy/grafana/podium.json").read_text())
NAME = re.compile(r"\b(podium_[a-z_]+)\b(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|without) \(([^)]*)\)")
LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
LEGEND = re.compile(r"\{\{(\w+)\}\}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Labels by name of the metric, of a gateway that has answered, failed, been scored and streamed."""
    server = Server(tmp_path_factory.mktemp("grafana") / "home").start()
    server.script("m@1", text="fine", faults=[{"kind": "error", "match": "fail"}])
    asked = server.chat("m@1", "hello")
    server.chat("m@1", "fail now")
    list(server.stream("m@1", "stream"))
    server.ok("POST", "/api/v1/feedback", {"request_id": asked.headers["x-request-id"], "score": 1})
    text = server.call("GET", "/metrics").body.decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for name in {family.name, *(f"{family.name}_{end}" for end in ENDS[family.type])}:
            found[name] = set()
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for name, labels in declared().items():
        if name in found:
            found[name] |= labels
    yield found
    server.stop()


ENDS: dict[str, tuple[str, ...]] = {"counter": ("total",), "histogram": ("bucket", "sum", "count"), "gauge": ()}


def declared() -> dict[str, set[str]]:
    """Labels of metrics without a sample, which the page does not show: no GPU, nothing billed, nobody waits."""
    gauges = re.findall(r'GaugeMetricFamily\(\s*"(\w+)".*?labels=\(([^)]*)\)', inspect.getsource(Standing), re.DOTALL)
    found = {name: set(re.findall(r'"(\w+)"', labels)) for name, labels in gauges}
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames") and metric._type in ENDS:
            for end in ENDS[metric._type]:
                found[f"{metric._name}_{end}"] = set(metric._labelnames)
    return found


def queries() -> Iterator[tuple[str, str, str]]:
    """(where, query, legend)."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for one in BOARD["annotations"]["list"]:
        yield one["name"], one["expr"], one["titleFormat"]


def test_every_metric_and_label_of_the_dashboard_is_on_the_page(page: dict[str, set[str]]):
    seen = 0
    for where, query, legend in queries():
        used = NAME.findall(query)
        assert used, (where, query)
        grouped = {label.strip() for labels in GROUPED.findall(query) for label in labels.split(",")}
        for name, matchers in used:
            seen += 1
            assert name in page, (where, name)
            wanted = {*LABEL.findall(matchers), *grouped} - {"le"}
            assert wanted <= page[name], (where, name, wanted - page[name])
            assert "le" not in grouped or name.endswith("_bucket"), where
        assert set(LEGEND.findall(legend)) <= grouped, (where, legend)
    assert seen > 30


def test_variables_choose_among_labels_that_are_there(page: dict[str, set[str]]):
    for one in BOARD["templating"]["list"]:
        if one["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["definition"])
        assert found is not None
        assert found[2] in page[found[1]]


def test_panels_do_not_overlap_and_each_has_a_title_and_a_unit():
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in BOARD["panels"]:
        assert panel["title"]
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["fieldConfig"]["defaults"]["unit"]


def test_the_page_of_metrics_names_no_metric_that_the_dashboard_forgets(page: dict[str, set[str]]):
    used = {name for _, query, _ in queries() for name, _ in NAME.findall(query)}
    shown = {name for name in page if not name.endswith(("_created", "_sum", "_count", "_bucket"))}
    families = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in used}
    forgotten = {name for name in shown if re.sub(r"_total$", "", name) not in families}
    assert forgotten == {"podium_start_time_seconds", "podium_feedback_joined", "podium_feedback_joined_total"}
