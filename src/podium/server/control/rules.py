"""Routes to look at what moves tasks without a person asking: rules, tasks that follow a model, auto-swap."""

from __future__ import annotations

from dataclasses import asdict

from podium.server import views
from podium.server.control.access import ServicesDep
from podium.server.control.routing import guarded
from podium.services.plane import Services
from podium.services.rules import Looked

router = guarded(tag="rules")


@router.get("/rules")
async def list_rules(services: ServicesDep) -> views.Json:
    """A dry run: every rule with what it reads, whether it would fire now, and what it would order. Changes nothing."""
    services.recorder.catch_up()
    automation = services.automation
    return {
        "rules": [_looked(one) for one in await automation.rules.look()],
        "following": [asdict(one) for one in await automation.following.look()],
        "problems": list(automation.problems()),
    }


@router.get("/autoswap")
async def show_autoswap(services: ServicesDep) -> views.Json:
    """How the version that serves each task stands, and what is asked of it."""
    services.recorder.catch_up()
    specs = sorted(services.tasks.specs(), key=lambda spec: spec.name)
    return {"tasks": [one for spec in specs if (one := _task(services, spec.name)) is not None]}


def _looked(one: Looked) -> views.Json:
    rule, intent = one.rule, one.intent
    return {
        "rule": rule.name,
        "task": rule.task,
        "condition": rule.condition,
        "metric": rule.metric,
        "value": one.fact.value,
        "samples": one.fact.samples,
        "source": one.fact.source or None,
        "unavailable": one.fact.missing,
        "holds": one.verdict.holds,
        "fires": one.verdict.fires,
        "armed": one.armed,
        "why": one.verdict.why,
        "would_order": one.would_order,
        "order": {
            "to": intent.to,
            "mode": intent.mode,
            "waits_for": intent.later,
            "impossible": intent.never,
            "done": intent.done,
        },
    }


def _task(services: Services, task: str) -> views.Json | None:
    """``None`` for a task that is bound to no version."""
    binding = services.swapper.binding(task)
    if binding is None:
        return None
    automation = services.automation
    rules, standing = automation.asked(task), automation.autoswap.standing(task)
    wanted = automation.autoswap.wanted(task)
    return {
        "task": task,
        "serving": binding.ref,
        "enabled": rules.enabled,
        "samples": standing.samples if standing else 0,
        "success": standing.success if standing else None,
        "failures_in_a_row": standing.failures_in_a_row if standing else 0,
        "min_success": rules.min_success,
        "scores": standing.scores if standing else 0,
        "quality": standing.quality if standing else None,
        "min_quality": None if wanted is None else wanted * rules.quality_ratio,
        "min_samples": rules.min_samples,
        "cooldown_s": rules.cooldown_s,
        "cooldown_left_s": automation.steering.pause_left(task, rules.cooldown_s),
    }
