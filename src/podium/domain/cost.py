"""What one operation cost, and to whom it is charged. A value that could not be measured is ``None`` and has a reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from podium.domain.record import record


class Method(StrEnum):
    """How a figure came about."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNAVAILABLE = "unavailable"


class Cause(StrEnum):
    """Why an operation took place. All but ``REQUEST`` are charged to what caused them."""

    REQUEST = "request"
    """A client asked, and this was the first attempt."""
    RETRY = "retry"
    """The attempt before it failed; charged to that decision."""
    CANARY = "canary"
    """A client asked and was served by the candidate of a rollout; charged to the rollout."""
    SHADOW = "shadow"
    """The candidate of a rollout answered too, unseen; charged to the rollout."""
    VALIDATION = "validation"
    """A rollout measured versions before it moved traffic; charged to the rollout."""
    JUDGE = "judge"
    """A model judged an answer; charged to the request it answered."""
    BENCHMARK = "benchmark"
    """A benchmark asked; charged to its run."""


METERED = (
    "cpu_ms", "gpu_ms", "peak_memory_mb", "mean_memory_mb", "energy_mwh", "input_tokens", "output_tokens", "price_microusd",
)  # fmt: skip
"""Figures with a method, in the order in which they are packed: append only."""


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time, memory, energy, tokens and money of one operation.

    What an instance spent is split over the requests that ran on it at the same time: see ``core/attribution``.
    """

    wall_ms: float
    cpu_ms: float | None = None
    """Processor time of the model's processes, over all cores."""
    gpu_ms: float | None = None
    """Time in which GPUs worked for it, over all GPUs."""
    peak_memory_mb: float | None = None
    """Most memory of their own that the model's processes held during it: anonymous, shared, and swapped out."""
    mean_memory_mb: float | None = None
    """The same, averaged over the time it took."""
    mapped_memory_mb: float | None = None
    """Beside it, most of mapped files (the weights) that was in memory; several copies of a model share that."""
    energy_mwh: float | None = None
    energy_method: Method = Method.UNAVAILABLE
    input_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the input tokens, those the server did not have to read again; ``None`` when it does not say."""
    output_tokens: int | None = None
    tokens_per_s: float | None = None
    price_microusd: int | None = None
    """Millionths of a US dollar; ``None`` for a model that nobody bills."""
    price_table: str | None = None
    """Version of the table the price is from."""
    estimated: tuple[str, ...] = ()
    """Names in ``METERED`` whose figure is an estimate. ``energy_mwh`` has its own field."""
    cause: Cause = Cause.REQUEST
    charged_to: str | None = None
    """Id of what caused it: a decision, rollout, request or run; ``None`` for a request itself."""
    missing: tuple[tuple[str, str], ...] = ()
    """(field, reason) for every one of ``METERED`` that is ``None``; no price means that nobody bills it."""

    @property
    def held_memory_mb(self) -> float | None:
        """All memory it needed: its processes' own and the mapped weights."""
        return None if self.peak_memory_mb is None else self.peak_memory_mb + (self.mapped_memory_mb or 0.0)

    def method(self, figure: str) -> Method:
        """How one of ``METERED`` came about."""
        if getattr(self, figure) is None:
            return Method.UNAVAILABLE
        if figure == "energy_mwh":
            return self.energy_method
        return Method.ESTIMATED if figure in self.estimated else Method.MEASURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Work that no decision was made for: a shadow's answer, a verdict, an item of a benchmark."""

    id: str
    at: float
    """Unix seconds of its end."""
    task: str
    ref: str
    success: bool
    cost: Cost
    request_id: str | None = None
    """The client's request it is about; ``None`` when there is none."""


@record
@dataclass(frozen=True, slots=True)
class SpentKey:
    """One row of the sums: what a version spent on a task in one hour for one cause."""

    hour: int
    """Hours since 1970."""
    task: str
    ref: str
    cause: Cause


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class SpentRow:
    """Sums over operations. A mean divides a sum by the count of those that have the figure."""

    operations: int = 0
    failed: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    cpu_samples: int = 0
    gpu_ms: float = 0.0
    gpu_samples: int = 0
    energy_mwh: float = 0.0
    energy_samples: int = 0
    energy_estimated: int = 0
    """Of ``energy_samples``, those that are estimates."""
    memory_mb_ms: float = 0.0
    """Mean memory times wall time."""
    memory_wall_ms: float = 0.0
    """Wall time of those whose mean memory is known."""
    peak_memory_mb: float | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    token_samples: int = 0
    tokens_estimated: int = 0
    price_microusd: int = 0
    price_samples: int = 0
