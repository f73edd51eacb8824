"""The page for Prometheus: figures of what was recorded, in base units, with bounded labels."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium.domain.cost import Cost, Method
from podium.domain.decision import Feedback, Outcome
from podium.domain.swap import Event
from podium.server.metrics import MOST_TASKS, OTHER, Metrics

pytestmark = pytest.mark.requirement("OPS-7")


def outcome(task: str = "code", ref: str = "m@1", **more: object) -> Outcome:
    cost = Cost(
        wall_ms=500, cpu_ms=250, input_tokens=10, output_tokens=4, energy_mwh=2.0, energy_method=Method.ESTIMATED
    )
    facts = {"success": True, "error": None, "streamed": True, "latency_ms": 500.0, "ttft_ms": 80.0, "cost": cost}
    return Outcome(decision_id="d", request_id="r", task=task, ref=ref, at=0.0, **(facts | more))  # type: ignore[arg-type] # as given


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    page, content_type = metrics.page("text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "le")): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_what_was_recorded_is_on_the_page_in_base_units() -> None:
    metrics = Metrics()
    metrics.heard([outcome(), outcome(success=False, error="provider_timeout", ttft_ms=None)])
    found = samples(metrics)
    assert found["podium_requests_total", "m@1", "ok", "code"] == 1
    assert found["podium_requests_total", "m@1", "provider_timeout", "code"] == 1
    assert found["podium_request_duration_seconds_sum", "m@1", "code"] == pytest.approx(1.0)
    assert found["podium_time_to_first_token_seconds_count", "m@1", "code"] == 1
    assert found["podium_tokens_total", "output", "m@1", "code"] == 8
    assert found["podium_cpu_seconds_total", "m@1", "code"] == pytest.approx(0.5)
    assert found["podium_energy_joules_total", "estimated", "m@1", "code"] == pytest.approx(14.4)


def test_scores_and_events_are_counted_by_where_they_come_from() -> None:
    metrics = Metrics()
    given = Feedback(request_id="r", decision_id="d", task="code", ref="m@1", score=0.75, at=0.0, source="judge")
    metrics.scored(given)
    metrics.event(Event(kind="swap.completed", at=0.0, subject="code"))
    found = samples(metrics)
    assert found["podium_quality_score_sum", "m@1", "judge", "code"] == 0.75
    assert found["podium_events_total", "swap.completed"] == 1


def test_ten_thousand_tasks_leave_the_number_of_series_bounded_and_lose_no_count() -> None:
    metrics = Metrics()
    metrics.heard(outcome(task=f"task-{number}", ref=f"m@{number % 7}") for number in range(10_000))
    found = samples(metrics)
    requests = {key: value for key, value in found.items() if key[0] == "podium_requests_total"}
    assert sum(requests.values()) == 10_000
    assert len({key[3] for key in requests}) == MOST_TASKS + 1
    assert any(key[3] == OTHER for key in requests)
    before = len(found)
    metrics.heard(outcome(task=f"later-{number}", ref=f"n@{number}") for number in range(10_000))
    assert len(samples(metrics)) <= before + 20


def test_the_other_format_is_given_to_who_asks_for_it() -> None:
    page, content_type = Metrics().page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")
