"""The route of the leaderboard of live traffic: per task who leads, why, and what every version showed lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Query

from podium.core import posterior
from podium.domain.decision import Choice
from podium.domain.task import TaskSpec
from podium.errors import PodiumError
from podium.server import views
from podium.server.control import learning
from podium.server.control.access import ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.plane import Services

router = guarded(tag="insight")
Task = Annotated[str | None, Query(description="Of this task only.")]
Most = Annotated[int, Query(ge=1, le=200, description="Tasks at most, the busiest first.")]


@router.get("/leaderboard", responses=errors(e404="there is no such task"))
async def leaderboard(services: ServicesDep, task: Task = None, limit: Most = 20) -> views.Json:
    """Tasks, the busiest first, with their versions, the best first: quality, latency, energy and success as they were
    lately with 90 % intervals, and the share of the traffic of the last 24 hours.

    ``leader`` is the version that a plain request would go to now, and ``why`` says why; ``dropped`` why one cannot.
    """
    services.recorder.catch_up()
    shares = services.traffic.shares()
    specs = [services.tasks.get(task)] if task is not None else list(services.tasks.specs())
    specs.sort(key=lambda spec: (-_requests(services, spec), spec.name))
    if task is None:
        specs = [spec for spec in specs if _requests(services, spec) or services.swapper.binding(spec.name)]
    return {
        "tasks": [_standing(services, spec, shares.get(spec.name, {})) for spec in specs[:limit]],
        "more": max(0, len(specs) - limit),
    }


def _requests(services: Services, spec: TaskSpec) -> int:
    return sum(item.samples for item in services.selector.evidence_of(spec.name).values())


def _standing(services: Services, spec: TaskSpec, counts: Mapping[str, int]) -> views.Json:
    choice, unable = _choice(services, spec)
    binding = services.swapper.binding(spec.name)
    rollout = services.rollouts.on(spec.name)
    figures = learning.lately(services, spec)
    evidence = services.selector.evidence_of(spec.name)
    candidates = {one.ref: one for one in choice.candidates} if choice is not None else {}
    leader = choice.chosen if choice is not None else None
    total = sum(counts.values())
    rows = []
    for ref in sorted({*figures, *candidates, *counts, *evidence}):
        seen = candidates.get(ref)
        if seen is not None and seen.dropped is not None and ref not in evidence and ref not in counts:
            continue  # a version that cannot serve the task, and never did
        known = figures.get(ref, {})
        item = evidence.get(ref)
        rows.append(
            {
                "ref": ref,
                "leads": ref == leader,
                "score": seen.score if seen is not None else None,
                "dropped": seen.dropped if seen is not None else None if choice is None else "not registered",
                **{name: known.get(name) for name in ("quality", "success", *posterior.GAUGES)},
                "requests": item.samples if item is not None else 0,
                "scores": item.quality_samples if item is not None else 0,
                "requests_24h": counts.get(ref, 0),
                "share_24h": counts.get(ref, 0) / total if total else None,
            }
        )
    rows.sort(key=lambda row: (not row["leads"], row["dropped"] is not None, -(row["score"] or 0.0), str(row["ref"])))
    return {
        "task": spec.name,
        "requests": _requests(services, spec),
        "strategy": spec.strategy,
        "leader": leader,
        "why": choice.reason if choice is not None else unable,
        "confidence": choice.confidence if choice is not None else None,
        "bound_to": binding.ref if binding is not None else None,
        "rollout": None
        if rollout is None
        else {"id": rollout.id, "state": rollout.state, "candidate": rollout.candidate, "share": rollout.share},
        "versions": rows,
    }


def _choice(services: Services, spec: TaskSpec) -> tuple[Choice | None, str | None]:
    try:
        return services.selector.choose(spec.name, needs=frozenset(), size=0, explicit=None, criteria=None), None
    except PodiumError as error:
        return None, error.message
