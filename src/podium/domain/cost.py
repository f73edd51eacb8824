"""What one operation cost. A value that could not be measured is ``None`` and has a reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """How a figure came about."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time, memory, energy and tokens of one operation.

    CPU time of a shared instance is split over the requests active in each interval in equal parts.
    """

    wall_ms: float
    cpu_ms: float | None = None
    peak_memory_mb: float | None = None
    energy_mwh: float | None = None
    energy_method: Method = Method.UNAVAILABLE
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_per_s: float | None = None
    missing: tuple[tuple[str, str], ...] = ()
    """(field, reason) for every field that is ``None``."""
