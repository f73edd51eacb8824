"""The pool's limits. Replaced as a whole by a reload of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podium.core.balancing import Strategy
from podium.core.breaker import BreakerRules
from podium.core.planning import RAM, Device, Rules

MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bytes and seconds. ``memory_bytes`` is the budget of main memory for all local instances together."""

    memory_bytes: int
    helper_reserve_bytes: int = 0
    """Part of it kept for helpers (judges, embeddings)."""
    gpu_bytes: Mapping[str, int] = field(default_factory=dict)
    """Budget per GPU, by device id (``cuda:0``)."""
    queue_limit: int = 1000
    load_timeout_s: float = 300.0
    drain_timeout_s: float = 600.0
    idle_ttl_s: float | None = None
    min_residency_s: float = 1.0
    max_wait_s: float = 5.0
    """How long requests for a loaded model go first while others wait for its memory."""
    residency_loads: float = 4.0
    """A busy model is not given up before it was loaded for this many times what loading takes."""
    linger_s: float = 1.0
    """How long at most, and no longer than it took to load, an instance counts as in use after its last request."""
    patience_s: float = 10.0
    """Waiting this long lifts a request one priority."""
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0
    balancing: Strategy = Strategy.AFFINITY
    breaker: BreakerRules = field(default_factory=BreakerRules)
    health_interval_s: float = 5.0
    health_timeout_s: float = 5.0
    health_failures: int = 3
    hang_timeout_s: float = 120.0
    """A busy process that answers no health check and sends no byte for this long is killed."""
    verify_s: float = 5.0
    """How long the memory of a stopped instance may take to come back."""
    scale_up_at: float = 0.8
    scale_down_at: float = 0.5
    scale_up_after_s: float = 10.0
    scale_down_after_s: float = 120.0
    scale_cooldown_s: float = 30.0

    def devices(self, available: Mapping[str, int | None]) -> tuple[Device, ...]:
        """What the planner plans with; ``available`` is what the operating system says is free now."""
        main = Device(
            id=RAM,
            capacity_bytes=self.memory_bytes,
            reserve_bytes=self.helper_reserve_bytes,
            available_bytes=available.get(RAM),
        )
        gpus = (
            Device(id=name, capacity_bytes=size, available_bytes=available.get(name))
            for name, size in self.gpu_bytes.items()
        )
        return (main, *gpus)

    def rules(self) -> Rules:
        """What the planner goes by."""
        return Rules(
            min_residency_s=self.min_residency_s, max_wait_s=self.max_wait_s, residency_loads=self.residency_loads
        )
