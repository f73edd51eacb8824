"""The record of judgments and calibrations. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.domain.judging import Queued, Tally, Waiting
from podium.domain.judgment import Calibration, Judgment
from podium.ports.store import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentFilter:
    """Which judgments are wanted; ``None`` allows all."""

    task: str | None = None
    ref: str | None = None
    criterion: str | None = None
    judge: str | None = None
    request_id: str | None = None
    invalid: bool | None = None


class JudgmentStore(Protocol):
    """Answers that wait to be judged, with their texts, and judgments, without them."""

    async def enqueue_judging(self, items: Sequence[Queued]) -> None:
        """Keep them until they are judged; one that waits already is replaced and keeps its place in line."""
        ...

    async def waiting_judging(self) -> tuple[Waiting, ...]:
        """All that wait, in the order they came."""
        ...

    async def take_judging(self, decision_ids: Sequence[str]) -> tuple[Queued, ...]:
        """Read some that wait; they stay until they are judged."""
        ...

    async def thin_judging(self, decision_ids: Sequence[str], share: float) -> None:
        """Forget those unjudged, and lower the share of all others to ``share``."""
        ...

    async def save_judgments(self, judgments: Sequence[Judgment]) -> None:
        """Store them and forget the texts they are about, in one transaction."""
        ...

    async def raise_judged_probability(self, decision_id: str, probability: float, sign: str) -> int:
        """A judged answer turned out to show a sign; returns how many judgments of it are corrected."""
        ...

    async def judgments(self, wanted: JudgmentFilter, page: Page) -> tuple[Judgment, ...]:
        """Newest first."""
        ...

    async def judgment_tallies(
        self, task: str | None, since: float, cuts: Mapping[tuple[str, str], float] | None = None
    ) -> tuple[Tally, ...]:
        """Sums by task, version, criterion and judge, of judgments from the Unix time ``since`` on. ``cuts``: by judge and
        criterion the score from which on an answer counts as passed.
        """
        ...

    async def prune_judgments(self, most: int) -> int:
        """Delete the oldest beyond the newest ``most``; returns how many."""
        ...


class CalibrationStore(Protocol):
    """How far each judge can be trusted on each criterion."""

    async def save_calibration(self, calibration: Calibration) -> None:
        """Insert it, or replace that of the same judge and criterion."""
        ...

    async def calibrations(self) -> tuple[Calibration, ...]:
        """All, by judge and criterion."""
        ...

    async def remove_calibration(self, judge: str, criterion: str) -> bool:
        """Whether there was one."""
        ...
