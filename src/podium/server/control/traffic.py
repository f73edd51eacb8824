"""Routes of live traffic: how much is asked now and lately, and which versions it goes to."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from podium.core.traffic import Level
from podium.server import views
from podium.server.control.access import ServicesDep
from podium.server.control.routing import guarded
from podium.services.traffic import DAY_S, MINUTE_S, SHORT_S

router = guarded(tag="insight")
NOW_S = 10
Seconds = Annotated[int, Query(ge=10, le=DAY_S, description="How far back the curve goes")]
Points = Annotated[int, Query(ge=1, le=1440, description="About how many points it has")]


@router.get("/traffic")
async def traffic(services: ServicesDep, seconds: Seconds = SHORT_S, points: Points = 120) -> views.Json:
    """What clients ask: rates and latencies of the last seconds, a curve of up to a day, and the share of each version.

    A retry is no request of its own; what judges, benchmarks and shadows ask is not counted.
    """
    services.recorder.catch_up()
    short, minute = services.traffic.level(NOW_S), services.traffic.level(MINUTE_S)
    curve = services.traffic.curve(seconds, points)
    queues = services.pool.queues()
    shares = services.traffic.shares()
    return {
        "now": {
            "requests_per_s": short.requests_per_s,
            "failed_per_s": minute.failed_per_s,
            "tokens_per_s": short.tokens_per_s,
            "p50_ms": minute.p50_ms,
            "p95_ms": minute.p95_ms,
            "active": sum(one.active for one in services.pool.views()),
            "waiting": sum(one.waiting for one in queues),
            "oldest_wait_s": max((one.oldest_s for one in queues), default=None),
        },
        "curve": {
            "step_s": curve.step_s,
            "at": curve.at,
            **{name: [getattr(level, name) for level in curve.levels] for name in Level.__slots__},
        },
        "last_24_h": {
            task: {ref: {"requests": count, "share": count / sum(refs.values())} for ref, count in sorted(refs.items())}
            for task, refs in sorted(shares.items())
        },
    }
