"""When judging gives no signal, it is said, with a cure."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from podium.core.judging_health import ENOUGH, JudgeFacts, JudgingFacts, diagnose_judging
from podium.domain.finding import Code
from podium.domain.judgment import Calibration

JUDGE = JudgeFacts(judge="j@1", criterion="safety", verdicts=100, invalid=2, last="prose")
WELL = JudgingFacts(
    enabled=True,
    unscored=MappingProxyType({}),
    judges=(JUDGE,),
    short_of=None,
    deferred=0,
    waiting=3,
    thinned_to=1.0,
    thinned=0,
    problems=MappingProxyType({}),
)
CHANCE = Calibration(judge="j@1", criterion="safety", kind="platt", knots=((1.0, 0.0),), n=60, auc_low=0.41)
ILL = {
    Code.JUDGING_SILENT: replace(WELL, unscored=MappingProxyType({"jobs": ENOUGH})),
    Code.JUDGE_INVALID: replace(WELL, judges=(replace(JUDGE, invalid=40),)),
    Code.JUDGE_UNINFORMATIVE: replace(WELL, judges=(replace(JUDGE, calibration=CHANCE),)),
    Code.JUDGE_MISSING: replace(WELL, problems=MappingProxyType({"safety": "there is no model 'x'"})),
    Code.JUDGING_BUDGET: replace(WELL, short_of="tokens", deferred=7),
    Code.JUDGING_BEHIND: replace(WELL, thinned_to=0.125, thinned=900),
}


@pytest.mark.requirement("LRN-5")
@pytest.mark.parametrize("code", ILL, ids=str)
def test_every_illness_of_judging_has_its_finding_alone(code: Code):
    (found,) = diagnose_judging(ILL[code])
    assert found.code is code
    assert found.says
    assert found.do
    assert "\n" not in found.says + found.do


@pytest.mark.requirement("LRN-5")
def test_a_criterion_that_has_no_rubric_is_told_apart_from_a_judge_that_is_missing():
    why = "there is no rubric 'relevence'; did you mean relevance?"
    (found,) = diagnose_judging(replace(WELL, unreadable=MappingProxyType({"relevence": why})))
    assert found.says == f"relevence is not judged ({why})"
    assert "judging.criteria" in found.do
    assert "rubrics/relevence.toml" in found.do


def test_every_code_of_judging_is_tested_here():
    assert {*ILL} == {code for code in Code if code.startswith("judg")}


def test_judging_that_works_or_is_off_has_no_findings():
    assert diagnose_judging(WELL) == ()
    informative = replace(JUDGE, calibration=replace(CHANCE, auc_low=0.7))
    assert diagnose_judging(replace(WELL, judges=(informative,))) == ()
    for facts in ILL.values():
        assert diagnose_judging(replace(facts, enabled=False)) == ()
    assert diagnose_judging(replace(WELL, unscored=MappingProxyType({"jobs": ENOUGH - 1}))) == ()
