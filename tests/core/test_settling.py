"""Which verdict counts, what teaches, and questions that come again."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from podium.core.graders import grade, similar
from podium.core.reasking import KEPT_S, PERSON, Question, Questions
from podium.core.settling import overall, settle
from podium.core.stacking import OFFSET
from podium.domain.judging import Queued
from podium.domain.judgment import RULES, STACK, Calibration, Judged, Verdict


def said(judge: str, score: float | None, **more: object) -> Verdict:
    return Verdict(criterion="relevance", judge=judge, score=score, **more)  # type: ignore[arg-type] # test data


def calibrated(judge: str, *, auc_low: float = 0.6, forced: bool = False, weights: dict[str, float] | None = None):
    kind = STACK if judge == STACK else "platt"
    return Calibration(
        judge=judge,
        criterion="relevance",
        kind=kind,
        knots=((1.0, 0.0),),
        weights=MappingProxyType(weights or {}),
        n=90,
        auc_low=auc_low,
        forced=forced,
    )


def known(*calibrations: Calibration):
    table = {(one.judge, one.criterion): one for one in calibrations}
    return lambda judge, criterion: table.get((judge, criterion))


@pytest.mark.requirement("JDG-6")
def test_a_model_nobody_calibrated_counts_after_the_rules_and_teaches_nothing():
    both = [said(RULES, 0.4), said("j@1", 0.9)]
    found = settle("relevance", both, known())
    assert (found.chosen, found.teaches, found.score) == (both[0], True, 0.4)
    alone = settle("relevance", [said(RULES, None, reason="no ground"), both[1]], known())
    assert (alone.chosen, alone.teaches) == (both[1], False)
    assert settle("relevance", [both[1]], known(), forced=True).teaches
    assert not overall([alone]).teaches
    assert overall([alone]).score == 0.9


@pytest.mark.requirement("JDG-6")
def test_a_calibrated_judge_comes_before_rules_and_one_no_better_than_chance_after_them():
    both = [said(RULES, 0.4), said("j@1", 0.9)]
    assert settle("relevance", both, known(calibrated("j@1"))).chosen == both[1]
    chance = settle("relevance", both, known(calibrated("j@1", auc_low=0.45)))
    assert (chance.chosen, chance.teaches) == (both[0], True)
    only = settle("relevance", both[1:], known(calibrated("j@1", auc_low=0.45)))
    assert (only.teaches, only.calibrated, "chance" in only.why) == (False, True, True)
    forced = settle("relevance", both[1:], known(calibrated("j@1", auc_low=0.45, forced=True)))
    assert forced.teaches


@pytest.mark.requirement("JDG-2")
def test_what_is_certain_counts_before_every_calibration_and_stays_what_it_is():
    none = grade(Judged(id="a", task="t", prompt="What is 2+2?", output=" \n"), "relevance")
    misfit = grade(Judged(id="a", task="t", prompt="What is 2+2?", output="4", schema={"type": "object"}), "relevance")
    for fact in (none, misfit):
        found = settle("relevance", [fact, said("j@1", 0.9)], known(calibrated(RULES), calibrated("j@1")))
        assert (found.score, found.sd, found.calibrated, found.teaches) == (0.0, 0.0, False, True)
        assert found.scores[1][1], "the model's own is shown as calibrated"
    assert settle("relevance", [none], known(calibrated(STACK, weights={"own": 1.0}))).chosen == none
    assert "no answer" in settle("relevance", [none], known()).why


def test_a_rule_nobody_calibrated_is_taken_to_be_unsure_and_errors_go_together():
    raw = settle("relevance", [said(RULES, 0.4)], known())
    assert overall([raw, raw]).sd == pytest.approx(0.3)
    assert settle("relevance", [said(RULES, 0.4)], known(calibrated(RULES))).sd is None
    model = settle("relevance", [said("j@1", 0.4, sd=0.1)], known(calibrated("j@1")))
    assert overall([model, raw]).sd == pytest.approx(0.2)


@pytest.mark.requirement("JDG-6")
def test_rules_that_are_no_better_than_chance_teach_nothing():
    found = settle("relevance", [said(RULES, 0.4)], known(calibrated(RULES, auc_low=0.5)))
    assert (found.teaches, found.chosen is not None) == (False, True)


@pytest.mark.requirement("JDG-6")
def test_a_stack_counts_when_the_judges_it_weighs_were_asked():
    stack = calibrated(STACK, weights={OFFSET: 1.0, "score.j@1": 2.0, "score.rules": 0.5})
    both = [said(RULES, 0.4), said("j@1", 0.9)]
    found = settle("relevance", both, known(stack))
    assert found.chosen is not None
    assert (found.chosen.judge, found.teaches, found.verdicts[-1].judge) == (STACK, True, STACK)
    assert 0.9 < found.score < 1.0  # type: ignore[operator] # it has one
    assert settle("relevance", [said(RULES, 0.4), said("other@1", 0.9)], known(stack)).chosen == both[0]


def test_an_invalid_verdict_is_no_number_and_says_why():
    found = settle("relevance", [said("j@1", None, invalid="half JSON", reply='{"sc')], known())
    assert (found.score, found.chosen, found.passed) == (None, None, None)
    assert "half JSON" in found.why
    assert overall([found]).score is None


@pytest.mark.requirement("JDG-1")
def test_overall_is_the_mean_and_all_must_pass():
    good = settle("relevance", [said(RULES, 0.8)], known())
    bad = settle("safety", [Verdict(criterion="safety", judge=RULES, score=0.75)], known())
    none = settle("minimality", [Verdict(criterion="minimality", judge=RULES, score=None)], known())
    assert (good.mark, bad.mark) == (0.7, 0.8)
    assert overall([good, bad]).score == pytest.approx(0.775)
    assert overall([good, bad]).passed is False
    assert overall([good]).passed is True
    assert overall([good, none]).passed is None
    assert overall([bad, none]).passed is False


# ------------------------------------------------------------ the same question again


def queued(number: int) -> Queued:
    item = Judged(id=f"r{number}", task="t", prompt="p", output="o")
    return Queued(
        decision_id=f"d{number}",
        request_id=f"r{number}",
        task="t",
        ref="m@1",
        item=item,
        place=0.5,
        odds=0.1,
        sample=0.1,
    )


@pytest.mark.requirement("JDG-5")
def test_a_question_that_comes_again_names_the_earlier_answer():
    questions = Questions(similar)
    first = Question(text="How do I reset the password of my router?", session="s")
    assert questions.asked(first, queued(1), 0.0) is None
    assert questions.asked(Question(text="Write a poem about the sea", session="s"), queued(2), 5.0) is None
    assert (
        questions.asked(Question(text="how can I reset the router password", session="other"), queued(3), 6.0) is None
    )
    again = questions.asked(Question(text="how can I reset the router password?", session="s"), queued(4), 9.0)
    assert again is not None
    assert again.decision_id == "d1"
    late = questions.asked(Question(text="Write a poem about the sea", session="s"), queued(5), 20.0 + KEPT_S)
    assert late is None


@pytest.mark.requirement("JDG-5")
def test_within_a_conversation_the_question_before_counts():
    questions = Questions(similar)
    questions.asked(Question(text="What does the fee cover in detail?", conversation="c1"), queued(1), 0.0)
    again = Question(text="What does the fee cover?", before="What does the fee cover in detail?", earlier="c1")
    found = questions.asked(again, queued(2), 1.0)
    assert found is not None
    assert found.decision_id == "d1"


def test_a_program_that_fills_in_a_form_does_not_ask_again():
    questions = Questions(similar)
    found = [
        questions.asked(Question(text=f"Classify the review number {n} as good or bad", caller="app"), queued(n), n)
        for n in range(PERSON * 3)
    ]
    assert not any(found[PERSON + 1 :])


def test_what_is_remembered_is_bounded():
    questions = Questions(lambda one, other: 0.0)
    for number in range(3_000):
        questions.asked(Question(text="x", session=f"s{number}", caller="c"), queued(number), float(number) / 100)
    assert len(questions._known) <= 1_000
    assert len(questions._by) <= 1_001
