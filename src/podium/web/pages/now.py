"""What is going on this moment: traffic, who waits, what is loaded against its budget, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence

from podium.domain.instance import InstanceState
from podium.domain.swap import Event
from podium.ports import Page as Rows
from podium.server import views
from podium.server.control import instances, traffic
from podium.web.page import Data, Look, Page

RANGES = {"10m": ("10 minutes", 600, 120), "1h": ("1 hour", 3600, 60), "24h": ("24 hours", 86_400, 288)}
"""(words, seconds, points) by the word in the address."""
EVENTS = 8
_RANK = {state: place for place, state in enumerate(("loading", "draining", "ready", "failed", "stopped"))}


async def data(look: Look) -> Data:
    """Traffic, pool and the newest events."""
    services = look.services
    chosen = look.query.get("range", "10m")
    chosen = chosen if chosen in RANGES else "10m"
    _, seconds, points = RANGES[chosen]
    pool = await instances.list_instances(services)
    found = await traffic.traffic(services, seconds=seconds, points=points)
    events = await services.event_log.events_like(0, (), Rows(limit=4 * EVENTS), newest=True)
    return {
        "traffic": found,
        "range": chosen,
        "ranges": RANGES,
        "rates": _rates(found["curve"]),
        "latencies": _latencies(found["curve"]),
        "pool": pool,
        "rows": sorted(pool["instances"], key=lambda row: (_RANK.get(row["state"], 9), row["ref"])),
        "used_mb": sum(row["memory_mb"] or 0.0 for row in pool["instances"]),
        "loaded": sum(row["state"] == InstanceState.READY for row in pool["instances"]),
        "events": _told(events)[:EVENTS],
        "registered": len(services.registry.versions()),
        "total_24h": sum(one["requests"] for refs in found["last_24_h"].values() for one in refs.values()),
    }


def _told(events: Sequence[Event]) -> list[views.Json]:
    """The newest first; that an instance was loading says nothing once it is ready."""
    shown = [views.event(item) for item in reversed(events)]
    ready = {one["data"].get("instance") for one in shown if one["kind"] == "instance.ready"}
    return [one for one in shown if one["kind"] != "instance.loading" or one["data"].get("instance") not in ready]


def _rates(curve: views.Json) -> Data:
    return {
        "x": curve["at"],
        "unit": "/s",
        "lines": [
            {"name": "requests", "values": curve["requests_per_s"], "kind": "area", "unit": "/s", "color": 1},
            {"name": "failed", "values": curve["failed_per_s"], "unit": "/s", "color": 2},
        ],
    }


def _latencies(curve: views.Json) -> Data:
    return {
        "x": curve["at"],
        "unit": "ms",
        "lines": [
            {"name": "median", "values": curve["p50_ms"], "unit": "ms", "color": 3},
            {"name": "95 %", "values": curve["p95_ms"], "unit": "ms", "color": 4},
        ],
    }


PAGE = Page(
    path="/",
    title="Now",
    template="now.html",
    data=data,
    tab="now",
    live=("figures", "curves", "pool", "events"),
)
