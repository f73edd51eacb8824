"""One open rollout as the gateway that drives it holds it: its value, its evidence, its work under way.

Owns no decision and no I/O. ``lock`` is held while a transition is recorded and put in force; work that takes long
(validating, warming) is done without it and looks again afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from podium.core.arms import Arms, Sample
from podium.core.rollout import Move
from podium.domain.rollout import Arm, Metric, Reading, Rollout, Split


class Driven:
    """Used from one event loop only."""

    __slots__ = (
        "_fresh", "_readings", "arms", "ended", "lock", "retry_at", "rollout", "saved_at", "seen", "split", "unsaved",
        "wanted", "warm", "work",
    )  # fmt: skip

    def __init__(self, rollout: Rollout, arms: Arms) -> None:
        self.rollout = rollout
        self.arms = arms
        self.lock = asyncio.Lock()
        self.ended = asyncio.Event()
        self.work: asyncio.Task[None] | None = None
        """What is being done for it: preparing, or carrying out a move."""
        self.warm = False
        """The candidate was seen warm in this process, so that traffic may go to it."""
        self.split: Split | None = None
        """How the traffic is divided for it now."""
        self.seen = False
        """There is evidence at all."""
        self.unsaved = False
        """There is evidence that is not kept yet."""
        self.saved_at = 0.0
        """Monotonic seconds when evidence was last kept."""
        self.wanted: tuple[Move, str] | None = None
        """What took the candidate out of the traffic and could not be recorded yet, and who ordered it."""
        self.retry_at = 0.0
        """Monotonic seconds before which work that failed for reasons of ours is not tried again."""
        self._readings: Mapping[Metric, Reading] | None = None
        self._fresh = False

    def observe(self, arm: Arm, sample: Sample) -> None:
        """One request of an arm ended."""
        self.arms.observe(arm, sample)
        self._changed()

    def score(self, arm: Arm, value: float, weight: float, stratum: str) -> None:
        """One quality score; a negative weight takes an earlier one back."""
        self.arms.score(arm, value, weight=weight, stratum=stratum)
        self._changed()

    def pair(self, baseline: float, candidate: float) -> None:
        """Scores of both arms on the same prompt."""
        self.arms.pair(baseline, candidate)
        self._changed()

    def note(self, now: float) -> None:
        """Keep for the picture how things stand, if anything has changed since the last time."""
        if self._fresh:
            self.arms.note(now, self.rollout.share)
            self._fresh = False

    def readings(self) -> Mapping[Metric, Reading]:
        """What the evidence says now; computed again only when it has changed."""
        if self._readings is None:
            self._readings = self.arms.readings()
        return self._readings

    def samples(self) -> Mapping[Arm, int]:
        """Requests observed, by arm."""
        return {arm: self.arms.samples(arm) for arm in Arm}

    def busy(self) -> bool:
        """Work for it is under way."""
        return self.work is not None and not self.work.done()

    def stop(self) -> None:
        """Call off its work, unless that is what calls."""
        work, self.work = self.work, None
        if work is not None and work is not asyncio.current_task():
            work.cancel()

    def _changed(self) -> None:
        self._readings = None
        self._fresh = self.unsaved = self.seen = True
