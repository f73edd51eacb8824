"""Counts of what judging did since the start, for statistics and for the doctor. Bounded: the newest tasks and judges."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from podium.core.judging_health import JudgeFacts
from podium.core.settling import Known, Settled

MOST = 1_000
"""Tasks, and pairs of judge and criterion, that are remembered."""


@dataclass(slots=True)
class Done:
    """Counts since the start."""

    answers: int = 0
    judgments: int = 0
    invalid: int = 0
    taught: int = 0
    no_ground: int = 0
    """Answers of which no criterion got a score."""
    retried: int = 0
    unjoined: int = 0
    """Scores whose request was no longer on record."""


class Figures:
    """By task: (answers judged, of which taught); by judge and criterion: verdicts and invalid ones."""

    def __init__(self) -> None:
        self.done = Done()
        self._tasks: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._judges: OrderedDict[tuple[str, str], tuple[int, int, str]] = OrderedDict()

    def judged(self, task: str, settled: Sequence[Settled], *, taught: bool, scored: bool) -> None:
        """One answer was judged. ``taught``: its score was taken, or stands for one that was."""
        done = self.done
        done.answers += 1
        done.taught += taught
        done.no_ground += not scored
        answers, teaching = self._tasks.pop(task, (0, 0))
        self._tasks[task] = answers + 1, teaching + taught
        for one in settled:
            for verdict in one.verdicts:
                done.judgments += 1
                done.invalid += verdict.invalid is not None
                key = (verdict.judge, one.criterion)
                verdicts, invalid, last = self._judges.pop(key, (0, 0, ""))
                bad = verdict.invalid is not None
                self._judges[key] = verdicts + 1, invalid + bad, verdict.invalid or last
        while len(self._tasks) > MOST:
            self._tasks.popitem(last=False)
        while len(self._judges) > MOST:
            self._judges.popitem(last=False)

    def unscored(self) -> dict[str, int]:
        """Answers judged by task, of tasks that nothing was learned of."""
        return {task: answers for task, (answers, teaching) in self._tasks.items() if not teaching}

    def judges(self, known: Known) -> tuple[JudgeFacts, ...]:
        """What each judge did on each criterion."""
        return tuple(
            JudgeFacts(
                judge=judge,
                criterion=criterion,
                verdicts=verdicts,
                invalid=invalid,
                last=last,
                calibration=known(judge, criterion),
            )
            for (judge, criterion), (verdicts, invalid, last) in self._judges.items()
        )
