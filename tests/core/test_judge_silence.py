"""Judges whose replies are no verdicts, and for how long they are passed over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podium.core.judge_silence import MOST, PAUSE_S, ROW, Silences
from podium.domain.judgment import Verdict

pytestmark = pytest.mark.requirement("JDG-3")
INVALID = Verdict(criterion="safety", judge="j@1", score=None, invalid="prose")
MARK = Verdict(criterion="safety", judge="j@1", score=0.5)


def test_so_many_replies_in_a_row_that_are_no_verdict_silence_a_judge_on_that_criterion_for_a_while():
    silences = Silences()
    for number in range(ROW):
        assert silences.of("safety", number) == frozenset()
        silences.heard(INVALID, number)
    assert silences.of("safety", ROW) == {"j@1"}
    assert silences.of("relevance", ROW) == frozenset()
    later = ROW - 1 + PAUSE_S
    assert silences.of("safety", later) == frozenset()
    silences.heard(INVALID, later)
    assert silences.of("safety", later + 1) == {"j@1"}, "asked once more in vain"


def test_a_verdict_ends_it_and_what_is_not_the_judges_fault_does_not_count():
    silences = Silences()
    for _ in range(ROW - 1):
        silences.heard(INVALID, 0.0)
    silences.heard(replace(INVALID, again=True), 0.0)
    silences.heard(replace(INVALID, invalid=None, reason="the output is empty"), 0.0)
    assert silences.of("safety", 0.0) == frozenset()
    silences.heard(MARK, 0.0)
    for _ in range(ROW - 1):
        silences.heard(INVALID, 0.0)
    assert silences.of("safety", 0.0) == frozenset()
    silences.heard(INVALID, 0.0)
    assert silences.of("safety", 0.0) == {"j@1"}


def test_it_remembers_no_more_than_the_newest():
    silences = Silences()
    for number in range(MOST + 1):
        for _ in range(ROW):
            silences.heard(replace(INVALID, judge=f"j@{number}"), 0.0)
    assert len(silences.of("safety", 0.0)) == MOST
    assert "j@0" not in silences.of("safety", 0.0)
