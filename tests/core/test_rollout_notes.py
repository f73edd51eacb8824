"""What is said when a rollout is ordered: what will decide it whatever its answers are worth."""

from __future__ import annotations

import pytest

from podium.core.rollout_notes import notes
from podium.domain.rollout import Bar, Metric, RolloutPlan

PLAIN = {"task": "jobs", "baseline_mb": 100.0, "candidate_mb": 100.0, "bar": None, "near": None, "now": 1000.0}


def test_an_ordinary_order_needs_no_word():
    assert notes(RolloutPlan(), **PLAIN) == ()


@pytest.mark.requirement("SWP-3", "SWP-4")
def test_more_memory_than_the_limit_is_said_with_the_way_out():
    (said,) = notes(RolloutPlan(), **{**PLAIN, "candidate_mb": 107.0})
    assert "107 MB" in said
    assert "--limit memory=off" in said
    assert notes(RolloutPlan(), **{**PLAIN, "candidate_mb": 104.0}) == ()
    assert notes(RolloutPlan(limits={Metric.QUALITY: 0.95}), **{**PLAIN, "candidate_mb": 900.0}) == ()
    assert notes(RolloutPlan(), **{**PLAIN, "candidate_mb": None}) == ()


def test_a_new_task_a_bar_and_thin_steps_are_said():
    bar = Bar(task="jobs", ref="m@2", at=940.0, reason="m@2 is worse: mean quality 0.1 against 0.9", samples=13)
    said = notes(RolloutPlan(min_samples=3), **{**PLAIN, "bar": bar, "near": ["job"]})
    assert len(said) == 3
    assert said[0].endswith("did you mean job?")
    assert "sent back" in said[1]
    assert bar.reason in said[1]
    assert "3 answers" in said[2]
