"""The selector: look-ups while nothing changes, and only what changed made again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from podium.core.constraints import Option
from podium.core.selection import PolicySnapshot, Query, choose
from podium.domain.evidence import Evidence
from podium.domain.task import Binding, Criteria, TaskSpec
from podium.errors import NoCandidate
from podium.services.selector import MIN_KEPT, Selector

NOW = 1_000_000 * 3_600.0


def good(quality: float) -> Evidence:
    return Evidence(
        samples=20, successes=20, latency_ms_sum=20_000, quality_sum=20 * quality, quality_samples=20, last_at=NOW
    )


def world() -> PolicySnapshot:
    return PolicySnapshot(
        options=(
            Option(ref="small@1", context_length=1_000, capabilities=frozenset({"chat"})),
            Option(ref="large@1", context_length=9_000, capabilities=frozenset({"chat", "vision"})),
        ),
        evidence={"t": {"small@1": good(0.9), "large@1": good(0.5)}, "u": {"large@1": good(0.9)}},
        tasks={"t": TaskSpec(name="t"), "u": TaskSpec(name="u")},
        now=NOW,
    )


def test_the_same_question_gets_the_very_same_answer_until_something_changes() -> None:
    selector = Selector(world())
    first = selector.choose("t")
    assert selector.choose("t", size=17) is first
    assert first == choose(world(), Query(task="t"))
    selector.learn("t", "large@1", good(1.0), NOW)
    assert selector.choose("t").chosen == "large@1"
    assert selector.evidence("t", "large@1") == good(1.0)


def test_only_the_tasks_that_changed_are_chosen_for_again() -> None:
    selector = Selector(world())
    kept, changed = selector.choose("u"), selector.choose("t")
    selector.learn("t", "small@1", good(0.1), NOW + 1)
    assert selector.choose("u") is kept
    assert selector.choose("t") is not changed


def test_an_equal_snapshot_built_anew_keeps_every_choice() -> None:
    selector = Selector(world())
    kept = selector.choose("t")
    fresh = replace(world(), options=tuple(replace(option) for option in world().options))
    selector.replace(replace(selector.snapshot, options=fresh.options))
    assert selector.choose("t") is kept


@pytest.mark.requirement("SWP-1")
def test_rebinding_moves_one_task_at_once_and_leaves_the_others() -> None:
    selector = Selector(world())
    other = selector.choose("u")
    assert selector.choose("t").chosen == "small@1"
    selector.rebind(Binding(task="t", ref="large@1", since=NOW, by="ada"))
    assert selector.choose("t").chosen == "large@1"
    assert selector.choose("t").strategy == "bound"
    assert selector.choose("u") is other
    assert selector.snapshot.bindings["t"].ref == "large@1"


@pytest.mark.requirement("SEL-2")
def test_a_body_that_surely_exceeds_a_context_drops_that_model_only() -> None:
    selector = Selector(world())
    assert selector.choose("t", size=8 * 1_000).chosen == "small@1"
    long = selector.choose("t", size=8 * 1_001)
    assert long.chosen == "large@1"
    assert next(c.dropped for c in long.candidates if c.ref == "small@1") == (
        "context length 1000 tokens, at least 1001 needed"
    )
    assert selector.choose("t", size=8 * 8_999) is long
    with pytest.raises(NoCandidate) as caught:
        selector.choose("t", size=8 * 9_001)
    assert caught.value.code == "context_length_exceeded"
    assert "about 18,002 tokens long (estimated from its 72,008 bytes; at least 9,001). What to do: shorten" in str(
        caught.value
    )
    assert caught.value.details["dropped"]
    with pytest.raises(NoCandidate) as pictures:
        selector.choose("t", needs=frozenset({"vision"}), size=8 * 9_001, criteria=Criteria(min_context=10_000))
    assert "estimated from" not in str(pictures.value), "the bytes of an image are no tokens"


def test_the_bytes_of_an_image_are_not_taken_for_tokens() -> None:
    assert Selector(world()).choose("t", needs=frozenset({"vision"}), size=50_000_000).chosen == "large@1"


def test_what_can_no_longer_be_served_fails_and_serves_again_when_it_comes_back() -> None:
    selector = Selector(world())
    selector.choose("t")
    down = tuple(replace(option, unavailable="breaker open") for option in world().options)
    selector.replace(replace(selector.snapshot, options=down))
    with pytest.raises(NoCandidate, match="breaker open"):
        selector.choose("t")
    selector.replace(replace(selector.snapshot, options=world().options))
    assert selector.choose("t").chosen == "small@1"


def test_known_choices_are_ready_before_the_next_request_asks() -> None:
    selector = Selector(world())
    selector.choose("t")
    selector.learn("t", "large@1", good(1.0), NOW)
    ready = list(selector._state.choices.values())
    assert any(selector.choose("t") is choice for choice in ready)


@pytest.mark.no_cover
def test_the_memory_of_choices_is_bounded_however_many_questions_are_asked() -> None:
    options = tuple(Option(ref=f"m{i}@1") for i in range(1_000))
    selector = Selector(PolicySnapshot(options=options))
    for limit in range(3 * MIN_KEPT):
        selector.choose("t", criteria=Criteria(max_latency_ms=limit + 1.0))
    assert len(selector._state.choices) == MIN_KEPT


def test_a_changed_hour_is_a_changed_policy() -> None:
    selector = Selector(world())
    before = selector.choose("t")
    selector.replace(replace(selector.snapshot, now=NOW + 7_200))
    terms = dict(selector.choose("t").candidates[0].terms)
    assert terms["recency"] < dict(before.candidates[0].terms)["recency"]


def test_a_change_of_everything_redoes_a_bounded_number_of_choices_and_the_rest_on_demand() -> None:
    options = tuple(Option(ref=f"m{i}@1") for i in range(1_000))
    selector = Selector(PolicySnapshot(options=options, now=NOW))
    for index in range(20):
        selector.choose(f"task-{index}")
    selector.replace(replace(selector.snapshot, now=NOW + 7_200))
    assert [key[0] for key in selector._state.choices] == ["task-19", "task-18", "task-17"]
    assert selector.choose("task-0").chosen == "m0@1"


@pytest.mark.requirement("SEL-7")
@pytest.mark.no_cover
def test_the_decision_benchmark_runs_and_reports_quantiles_with_churn() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "decision.py"
    arguments = [sys.executable, str(script), "--json", "--seconds", "0.3", "--candidates", "20", "--tasks", "10"]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60)
    result = json.loads(done.stdout)
    assert 0 < result["decision_us"]["p50"] <= result["decision_us"]["p99"]
    assert result["change_of_3_rows_us"]["n"] >= 2
