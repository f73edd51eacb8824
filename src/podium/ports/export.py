"""The record read in order, for training files and evaluation. Protocols and small values; no implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.judgment import Judgment


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which attempts are exported; ``None`` allows all."""

    since: float | None = None
    """Unix time of the decision, this moment included."""
    until: float | None = None
    """This moment excluded."""
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where the attempts of a window are in the record; both places are 0 when there are none."""

    first: int
    last: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttempt:
    """One attempt at a request with everything that was said of it later."""

    decision: Decision
    outcome: Outcome
    feedback: tuple[Feedback, ...] = ()
    judgments: tuple[Judgment, ...] = ()


class ExportStore(Protocol):
    """The record of attempts, piece by piece, oldest first."""

    async def export_extent(self, window: Window) -> Extent: ...

    async def export_piece(self, window: Window, after: int, upto: int) -> tuple[RecordedAttempt, ...]:
        """The attempts of the window at the places in (after, upto]; there can be none."""
        ...
