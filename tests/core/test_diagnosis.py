"""Every reason for not learning has its own finding, with a number and a cure; a task that learns has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podium.core.diagnosis import ENOUGH, OLD_S, STOPPED_S, SystemFacts, TaskFacts, diagnose_system, diagnose_task
from podium.domain.belief import Belief
from podium.domain.finding import Code, Finding, Severity
from podium.domain.knowledge import SCORE_BINS, Tally, TaskKnowledge

NOW = 1_800_000_000.0
BELIEF = Belief(mean=0.5, sd=0.1, index=0.6, weight=40.0)


def knowledge(**other: object) -> TaskKnowledge:
    values: dict[str, object] = {
        "since": NOW - 1_000,
        "last_at": NOW - 10,
        "last_score_at": NOW - 20,
        "score": Tally(n=40, total=20, squares=18),
        "scores": (2.0,) * (SCORE_BINS - 1) + (0.0,),
    }
    return TaskKnowledge(**{**values, **other})  # type: ignore[arg-type] # test data


HEALTHY = TaskFacts(
    task="jobs",
    requests=100,
    answered=99,
    scores=40,
    known=knowledge(),
    strategy="default",
    exploration=0.01,
    able=("a@1", "b@1"),
    unable=None,
    bound_to=None,
    bound_since=None,
    beliefs={"a@1": BELIEF, "b@1": BELIEF},
    request_id="req_1",
)
ONE_SCORE = tuple(40.0 if place == 10 else 0.0 for place in range(SCORE_BINS))

ILL = {
    Code.NO_QUALITY_SIGNAL: replace(HEALTHY, scores=0, known=knowledge(score=Tally(), scores=(0.0,) * SCORE_BINS)),
    Code.IDENTICAL_SCORES: replace(HEALTHY, known=knowledge(score=Tally(n=40, total=20, squares=10), scores=ONE_SCORE)),
    Code.SCORES_STOPPED: replace(HEALTHY, known=knowledge(last_score_at=NOW - 10 - STOPPED_S - 1)),
    Code.EVIDENCE_OLD: replace(
        HEALTHY, known=knowledge(last_at=NOW - OLD_S - 86_400, last_score_at=NOW - OLD_S - 86_400)
    ),
    Code.NO_VERSION: replace(HEALTHY, able=(), unable="no model is active"),
    Code.ONE_VERSION: replace(HEALTHY, able=("a@1",)),
    Code.NEVER_ANSWERED: replace(HEALTHY, answered=0),
    Code.BOUND: replace(HEALTHY, bound_to="a@1", bound_since=NOW - 50),
    Code.EXPLORATION_OFF: replace(HEALTHY, exploration=0.0),
    Code.FIXED_STRATEGY: replace(HEALTHY, strategy="classic"),
    Code.SCORES_NOT_LEARNED: replace(HEALTHY, beliefs={"a@1": replace(BELIEF, weight=0.0)}),
    Code.POSTERIOR_SATURATED: replace(HEALTHY, beliefs={"a@1": replace(BELIEF, weight=9_000.0)}),
}
WELL = SystemFacts(unjoined=0, last_unjoined=(), refused=0, dropped=0, recording_error=None, tasks=8, most_tasks=10_000)
BROKEN = {
    Code.FEEDBACK_UNJOINED: replace(WELL, unjoined=3, last_unjoined=(("c", 9.0), ("b", 8.0), ("a", 7.0))),
    Code.SCORES_REFUSED: replace(WELL, refused=2),
    Code.ROWS_DROPPED: replace(WELL, dropped=5, recording_error="disk full"),
    Code.RECORDING_BEHIND: replace(WELL, recording_error="disk full"),
    Code.TASKS_FLOODED: replace(WELL, tasks=8_000),
    Code.TIMEZONE_UNKNOWN: replace(WELL, zoneless=("budget b: this machine does not know its time zone",)),
}


def test_a_task_that_learns_and_one_that_is_too_young_have_no_findings() -> None:
    assert diagnose_task(HEALTHY, NOW) == ()
    assert diagnose_system(WELL) == ()
    for facts in ILL.values():
        assert diagnose_task(replace(facts, requests=ENOUGH - 1), NOW) == ()


@pytest.mark.requirement("LRN-5")
@pytest.mark.parametrize("code", ILL, ids=str)
def test_every_illness_of_a_task_has_its_finding_alone(code: Code) -> None:
    (found,) = diagnose_task(ILL[code], NOW)
    assert (found.code, found.task) == (code, "jobs")
    check_words(found)


@pytest.mark.requirement("LRN-5")
@pytest.mark.parametrize("code", BROKEN, ids=str)
def test_every_illness_of_the_installation_has_its_finding_alone(code: Code) -> None:
    (found,) = diagnose_system(BROKEN[code])
    assert (found.code, found.task, found.severity) == (code, None, Severity.PROBLEM)
    check_words(found)


def check_words(found: Finding) -> None:
    assert found.says
    assert found.do
    assert "\n" not in found.says + found.do


def test_every_code_is_tested_here() -> None:
    assert {*ILL, *BROKEN} == {code for code in Code if not code.startswith(("judg", "rollout"))}
    # those: test_judging_health, test_rollout_passing


def test_the_finding_of_a_missing_signal_says_how_many_since_when_and_the_exact_command() -> None:
    (found,) = diagnose_task(ILL[Code.NO_QUALITY_SIGNAL], NOW)
    assert found.says == "no quality signal: 100 requests since 2027-01-15 07:43 UTC, 0 scores"
    assert found.do == "podium feedback req_1 --score S"
    assert (found.count, found.since) == (100, NOW - 1_000)


def test_a_bound_task_with_an_open_rollout_says_who_learns_meanwhile() -> None:
    (found,) = diagnose_task(replace(ILL[Code.BOUND], trying="b@1"), NOW)
    assert "but for b@1 in its rollout" in found.says
    assert found.do.startswith("podium rollouts show")


def test_problems_come_before_notes() -> None:
    ill = replace(ILL[Code.NO_QUALITY_SIGNAL], bound_to="a@1", able=("a@1",))
    found = diagnose_task(ill, NOW)
    assert [one.severity for one in found] == [Severity.PROBLEM, Severity.NOTE, Severity.NOTE]
