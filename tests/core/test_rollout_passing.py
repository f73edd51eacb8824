"""A rollout whose candidate gets nothing says so, with the requests that conversations kept away and what helps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from picture_stories import START, story

from podium.core.arms import Arms, Sample
from podium.core.picture.passing import cure, starved, stayed, told
from podium.core.picture.sheet import sheet
from podium.core.rollout_health import diagnose_rollouts
from podium.domain.finding import Code, Severity
from podium.domain.rollout import Arm, RolloutPlan, RolloutReport, RolloutState

pytestmark = pytest.mark.requirement("SWP-4", "LRN-5")
NOW = START + 20_000


def hungry(**changes: object) -> RolloutReport:
    """On canary since an hour, without an answer of the candidate in this step."""
    found = story(state=RolloutState.CANARY)
    item = replace(found.rollout, step_since=NOW - 3600, step_samples=10_000)
    return replace(found, rollout=item, requests=140, **changes)  # type: ignore[arg-type] # fields by name


def test_conversations_that_keep_a_candidate_hungry_are_counted_and_named_with_what_helps() -> None:
    report = hungry(stayed=120)
    line = told(report, NOW)
    assert "echo@2 has answered nothing in this step, for 1 h" in line
    assert "120 of 140 requests stayed with echo@1" in line
    assert "begin new conversations" in line
    assert "podium rollouts promote ro_5f2c" in line
    assert "traffic" in sheet(report, NOW)
    (found,) = diagnose_rollouts([report], NOW)
    assert (found.code, found.severity, found.task, found.count) == (
        Code.ROLLOUT_STARVED, Severity.PROBLEM, "support", 120,
    )  # fmt: skip
    assert found.do == cure(report)


def test_a_candidate_that_gets_nothing_for_long_says_so_whatever_the_cause() -> None:
    assert "at 10% of 140 requests so far" in starved(_share(hungry(), 0.1), NOW)
    nobody = replace(hungry(), requests=0)
    assert "no request of support has come" in starved(nobody, NOW)
    assert "x-podium-task: support" in cure(nobody)


def test_a_step_that_began_just_now_or_has_answers_is_left_alone() -> None:
    young = hungry()
    young = replace(young, rollout=replace(young.rollout, step_since=NOW - 60))
    assert told(young, NOW) == ""
    fed = replace(young, rollout=replace(young.rollout, step_since=NOW - 3600, step_samples=0))
    assert starved(fed, NOW) == ""
    assert list(diagnose_rollouts([young, fed], NOW)) == []


def test_conversations_that_keep_most_requests_away_are_a_note_and_stay_on_record_after_the_end() -> None:
    fed = hungry(stayed=90)
    fed = replace(fed, rollout=replace(fed.rollout, step_samples=0))
    (found,) = diagnose_rollouts([fed], NOW)
    assert (found.code, found.severity) == (Code.ROLLOUT_PASSED_BY, Severity.NOTE)
    over = replace(story(), requests=140, stayed=90)
    assert told(over, NOW) == stayed(over)
    assert stayed(over).startswith("90 of 140 requests stayed with echo@1")
    assert not told(replace(over, stayed=0), NOW)


def test_the_evidence_keeps_count_of_requests_that_were_not_drawn() -> None:
    arms = Arms(RolloutPlan())
    for kept in (True, True, False):
        arms.observe(Arm.BASELINE, Sample(success=True, latency_ms=1.0, memory_mb=None, energy_mwh=None, kept=kept))
    again = Arms.load(arms.dump(), RolloutPlan())
    assert (again.kept(Arm.BASELINE), again.kept(Arm.CANDIDATE), again.samples(Arm.BASELINE)) == (2, 0, 3)


def _share(report: RolloutReport, share: float) -> RolloutReport:
    return replace(report, rollout=replace(report.rollout, share=share))
