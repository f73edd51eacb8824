"""What ``podium judgments --stats`` says of models as judges."""

from __future__ import annotations

from typing import Any

import pytest

from podium.cli.judged import by_judge


def estimate(judge: str, criterion: str, judgments: int, **more: Any) -> dict[str, Any]:
    return {
        "judge": judge,
        "criterion": criterion,
        "judgments": judgments,
        "invalid": 0,
        "seconds": 0.0,
        "tokens": 0,
    } | more


@pytest.mark.requirement("JDG-3")
def test_latency_and_cost_of_each_judge_are_shown_by_criterion_over_all_tasks():
    rows = by_judge(
        [
            estimate("j@1", "safety", 2, seconds=3.0, tokens=50),
            estimate("j@1", "safety", 4, seconds=6.0, tokens=100, invalid=1),
            estimate("j@1", "relevance", 1, seconds=0.5, tokens=7),
            estimate("rules", "safety", 6),
            estimate("overall", "overall", 6),
            estimate("stack", "safety", 6),
        ]
    )
    assert rows == [["relevance", "j@1", 1, 0, 0.5, 0.5, 7], ["safety", "j@1", 6, 1, 9.0, 1.5, 150]]
