"""The ``[pool]`` section: memory, waiting, health and number of copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from podium.core.balancing import Strategy

Share = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]
Megabytes = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How many models stay loaded, who waits for how long, and how instances are looked after."""

    memory_budget_mb: Annotated[
        Megabytes | None, Meta(description="Memory for loaded models, in MiB; unset: 80 % of the machine's RAM")
    ] = None
    helper_reserve_mb: Annotated[
        float, Meta(ge=0, description="Part of it kept for helpers: models tagged `helper`, and embedding models")
    ] = 0.0
    gpu_budget_mb: Annotated[
        Mapping[str, Megabytes], Meta(description="Memory per GPU, in MiB, by device (`cuda:0`); unset: 90 % of each")
    ] = field(default_factory=dict)
    keep_warm_days: Annotated[float, Meta(ge=0, description="How long a replaced version stays deprecated")] = 7.0
    queue_limit: Annotated[int, Meta(ge=1, description="Requests that may wait for one model")] = 256
    queue_timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for a place on a loaded model, loading included")
    ] = 600.0
    load_timeout_s: Annotated[
        Seconds, Meta(description="Longest time one model may take to start, unless its ready_timeout_s allows more")
    ] = 300.0
    idle_ttl_s: Annotated[
        float, Meta(ge=0, description="Unload a model after this long without a request; 0 keeps it")
    ] = 0.0
    max_wait_s: Annotated[
        float, Meta(ge=0, description="How long a busy model goes on while requests for another wait for its memory")
    ] = 5.0
    min_residency_s: Annotated[float, Meta(ge=0, description="Shortest time a model stays loaded")] = 1.0
    residency_loads: Annotated[
        float, Meta(ge=0, description="A busy model stays at least this many times what loading it took")
    ] = 4.0
    linger_s: Annotated[
        float, Meta(ge=0, description="How long a model counts as busy after a request, at most as long as it loads")
    ] = 1.0
    patience_s: Annotated[Seconds, Meta(description="Waiting this long lifts a request by one priority")] = 10.0
    balancing: Annotated[
        Strategy,
        Meta(description="Between copies: affinity, least_busy, power_of_two, weighted or round_robin"),
    ] = Strategy.AFFINITY
    health_interval_s: Annotated[Seconds, Meta(description="Between health checks of a quiet instance")] = 5.0
    health_timeout_s: Annotated[Seconds, Meta(description="Time a health check may take")] = 5.0
    health_failures: Annotated[int, Meta(ge=1, description="Failed checks in a row before an instance is given up")] = 3
    hang_timeout_s: Annotated[
        Seconds, Meta(description="A busy instance that fails its checks and sends nothing for this long is killed")
    ] = 120.0
    breaker_failures: Annotated[
        int, Meta(ge=1, description="Failures within 30 s, at least half of the answers, that stop requests")
    ] = 5
    breaker_open_s: Annotated[Seconds, Meta(description="Time until one request tries it again; doubles, to 120 s")] = (
        5.0
    )
    scale_up_at: Annotated[Share, Meta(description="Use of all places, waiting included, that starts another copy")] = (
        0.8
    )
    scale_down_at: Annotated[Share, Meta(description="Use below which a copy is stopped; below scale_up_at")] = 0.5
    scale_up_after_s: Annotated[Seconds, Meta(description="How long the use must be high")] = 10.0
    scale_down_after_s: Annotated[Seconds, Meta(description="How long the use must be low")] = 120.0
    scale_cooldown_s: Annotated[float, Meta(ge=0, description="Pause between two changes")] = 30.0
