"""Who is asked at the same time: all criteria of an answer at once, and no more requests than there are places."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from podium.core.graders import grade
from podium.core.judge_budget import Budget, Limits
from podium.domain.judgment import CRITERIA, Judged, Rubric, Verdict
from podium.domain.model import ModelVersion
from podium.rubrics import RubricLibrary
from podium.services.idleness import Idleness
from podium.services.judging.bench import REQUESTS, Bench

pytestmark = pytest.mark.requirement("JDG-4")


class Still:
    """A clock that does not move."""

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Crowd:
    """A judge that answers nobody before ``wanted`` requests are under way."""

    wanted: int
    under_way: int = 0
    most: int = 0
    full: asyncio.Event = field(default_factory=asyncio.Event)

    async def judge(
        self,
        item: Judged,
        rubric: Rubric,
        judge: ModelVersion,
        *,
        deadline_s: float = 60,
        judged_ref: str | None = None,
    ) -> Verdict:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way >= self.wanted:
            self.full.set()
        await asyncio.wait_for(self.full.wait(), 10)
        self.under_way -= 1
        return Verdict(criterion=rubric.criterion, judge="j@1", score=0.5, latency_ms=1.0)


def bench(asking: Crowd) -> Bench:
    version = cast("ModelVersion", object())
    return Bench(
        grade=grade,
        asking=asking,
        rubrics=RubricLibrary(),
        pick=lambda criterion, ref, named, mute: version,
        named=lambda name: version,
        known=lambda judge, criterion: None,
        budget=Budget(Limits(), 0.0),
        clock=cast("Any", Still()),
        idleness=Idleness(),
        search=lambda pattern, text: None,
    )


async def test_all_criteria_of_an_answer_are_asked_at_once():
    crowd = Crowd(wanted=len(CRITERIA))
    made = bench(crowd)
    item = Judged(id="a", task="t", prompt="What is the capital of France?", output="Paris is the capital of France.")
    found = await made.judge(item, CRITERIA, judge="auto", timeout_s=10)
    assert [one.criterion for one in found] == list(CRITERIA)
    assert all("j@1" in [verdict.judge for verdict in one.verdicts] for one in found)
    made.close()


async def test_many_answers_at_once_ask_no_more_than_there_are_places():
    crowd = Crowd(wanted=REQUESTS)
    made = bench(crowd)
    items = [Judged(id=str(n), task="t", prompt="Name a colour.", output=f"Blue {n}.") for n in range(2 * REQUESTS)]
    await asyncio.gather(*(made.judge(item, ("relevance",), judge="auto", timeout_s=10) for item in items))
    assert crowd.most == REQUESTS
    made.close()
