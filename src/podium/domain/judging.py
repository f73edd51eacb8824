"""What waits to be judged, and what judged answers add up to."""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.judgment import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """An answer of live traffic that was picked to be judged. Its texts are kept until it was."""

    decision_id: str
    request_id: str
    task: str
    ref: str
    """The version that answered."""
    item: Judged
    place: float
    """Where the decision lies in [0, 1); see core/sampling."""
    odds: float
    """With which probability it was picked while nothing was thinned out, in (0, 1]."""
    sample: float
    """The probability by chance alone."""
    most: float = 1.0
    """What ``odds`` are with a sign, whenever it shows."""
    share: float = 1.0
    """What thinning left of both, in (0, 1]."""
    signs: tuple[str, ...] = ()
    at: float = 0.0

    @property
    def probability(self) -> float:
        """With which it is among the judged."""
        return self.odds * self.share

    @property
    def by_chance(self) -> bool:
        """It would have been picked without any sign."""
        return self.place < self.sample * self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The entry of a queued answer without its texts."""

    decision_id: str
    task: str
    place: float
    odds: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums over judged answers with weight w = 1/probability and score y; enough for a mean and its interval."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wy: float = 0.0
    wwy: float = 0.0
    wwyy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the judgments of one (task, version, criterion, judge) add up to."""

    task: str
    ref: str
    criterion: str
    judge: str
    judgments: int
    invalid: int
    no_ground: int
    """Without a score, and not invalid: the judge could not tell."""
    sums: Sums
    """Of those with a score."""
    latency_ms: float
    """Together; what was not measured counts as 0."""
    tokens: int
    last_at: float
    calibrated: int = 0
    """Scores that were given by a calibrated judge."""
    passing: Sums | None = None
    """The same sums of 1 for a score from the judge's cut on, else 0; ``None`` where it has no cut."""
