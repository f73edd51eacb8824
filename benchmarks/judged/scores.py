"""What judges say of the answers, by the product's own path: graders, stored calibrations, and which verdict counts.

Nothing here knows the grades of the answers that are replayed; labels are those of the rows a person would have labelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from judged.answers import Answer
from podium.core.graders import grade
from podium.core.settling import Known, overall, settle
from podium.datasets.labels import read_labels
from podium.domain.judgment import CRITERIA, RULES, Calibration, Judged, Verdict
from podium.domain.labels import Labelled, Scale
from podium.errors import InvalidRequest
from podium.services.calibrating import RulesJudge, Scored, drawn, measure, measure_stack, score
from podium.services.judging.reading import clean, shortened

Verdicts = Mapping[str, tuple[Verdict, ...]]
"""Of one answer: what everybody said, by criterion."""


@dataclass(frozen=True)
class Given:
    """The score that the pipeline would hand to the learner; ``None`` where nothing may be learned."""

    score: float | None
    sd: float | None = None


def item_of(answer: Answer) -> Judged:
    """As the pipeline reads an answer of live traffic."""
    return Judged(
        id=f"{answer.suite}/{answer.item}/{answer.model}",
        task=answer.task,
        prompt=clean(answer.prompt),
        output=clean(shortened(answer.output)),
        finish=answer.finish,
    )


def ruled(answer: Answer) -> Verdicts:
    """What the rules say by each criterion."""
    item = item_of(answer)
    return {criterion: (grade(item, criterion),) for criterion in CRITERIA}


def settled(verdicts: Verdicts, known: Known, criteria: Sequence[str], *, forced: bool = False) -> Given:
    """One score of one answer, and whether it teaches, as the pipeline decides it."""
    found = overall([settle(name, verdicts[name], known, forced=forced) for name in criteria])
    return Given(found.score, found.sd) if found.teaches else Given(None)


def calibrated(
    answers: Sequence[Answer], verdicts: Sequence[Verdicts], criteria: Sequence[str], seed: int
) -> dict[tuple[str, str], Calibration]:
    """What ``podium judge calibrate --save`` keeps, each of these answers labelled once as right or wrong."""
    kept: dict[tuple[str, str], Calibration] = {}
    for criterion in criteria:
        rows = [
            Labelled(
                line=number,
                id=str(number),
                dataset=answer.suite,
                criterion=criterion,
                context=answer.prompt,
                items=(item_of(answer),),
                human=answer.truth,
                scale=Scale(),
            )
            for number, answer in enumerate(answers, 1)
        ]
        judges = [one.judge for one in verdicts[0][criterion]]
        parts = [
            Scored(judge, tuple(rows), tuple(one[criterion][place] for one in verdicts), 0.0)
            for place, judge in enumerate(judges)
        ]
        _keep(kept, parts, seed)
    return kept


def public(folder: Path, most: int) -> dict[tuple[str, str], Calibration]:
    """The calibrations that the public sets give, with no label of one's own."""
    kept: dict[tuple[str, str], Calibration] = {}
    for criterion in CRITERIA:
        rows = drawn(read_labels(folder / f"{criterion}.jsonl.gz"), most, 0)
        _keep(kept, [asyncio.run(score(rows, RulesJudge()))], 0)
    return kept


def _keep(kept: dict[tuple[str, str], Calibration], parts: Sequence[Scored], seed: int) -> None:
    for part in parts:
        if part.judge == RULES or len(parts) > 1:
            _one(kept, lambda part=part: measure(part, seed=seed).calibration)
    _one(kept, lambda: measure_stack(parts, seed=seed).calibration)


def _one(kept: dict[tuple[str, str], Calibration], made: object) -> None:
    try:
        found = made()  # type: ignore[operator] # a closure of no arguments
    except InvalidRequest:
        return  # too few labels: then nothing is calibrated, as for a user
    if found is not None:
        kept[found.judge, found.criterion] = found
