"""Judges whose replies are no verdicts: for how long they are passed over while another can judge. Pure; bounded.

Owns the count of such replies in a row, by judge and criterion. Must not know how a judge is chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from podium.domain.judgment import Verdict

ROW = 5
"""Replies without a verdict, one after the other, from which on a judge is passed over."""
PAUSE_S = 3600.0
"""After so long it is asked again; one more such reply and it is passed over as long."""
MOST = 1_000


@dataclass(frozen=True, slots=True)
class _Run:
    length: int
    until: float


class Silences:
    """What was heard of judges since the start. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str], _Run] = OrderedDict()

    def heard(self, verdict: Verdict, now: float) -> None:
        """One verdict of a model. What is no fault of the judge, and having no ground, changes nothing."""
        if verdict.again or verdict.cached:
            return
        key = (verdict.criterion, verdict.judge)
        if verdict.score is not None:
            self._runs.pop(key, None)
        elif verdict.invalid is not None:
            known = self._runs.pop(key, None)
            length = 1 if known is None else known.length + 1
            self._runs[key] = _Run(length, now + PAUSE_S if length >= ROW else 0.0)
            if len(self._runs) > MOST:
                self._runs.popitem(last=False)

    def of(self, criterion: str, now: float) -> frozenset[str]:
        """Who is passed over on this criterion now."""
        return frozenset(who for (what, who), run in self._runs.items() if what == criterion and now < run.until)
