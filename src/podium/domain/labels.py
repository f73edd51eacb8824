"""A person's label of an answer, and the scale it is on."""

from __future__ import annotations

from dataclasses import dataclass, field

from podium.domain.judgment import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From ``low`` (worst) to ``high`` (best); ``pair``: the label is 1 or 2, the number of the better output."""

    low: float = 0.0
    high: float = 1.0
    pair: bool = False
    capped: bool = False
    """Labels above ``high`` count as ``high``: a ratio that may exceed 1."""
    text: str = ""
    """In the words of the file."""

    def level(self, label: float) -> float:
        """The label on [0, 1]."""
        return min(1.0, max(0.0, (label - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One row of a file of labels: one output, or the two of a pair with the better one's number as ``human``."""

    line: int
    id: str
    dataset: str
    criterion: str
    context: str
    """As in the file; rows that share it depend on each other."""
    items: tuple[Judged, ...]
    human: float
    scale: Scale = field(default_factory=Scale)
