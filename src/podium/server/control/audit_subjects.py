"""What an action is about, and how that stands: the ``before`` and ``after`` of the audit log. Reads only.

A view is small and made for this: what the action can change, nothing that could hold a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from podium.core.limits import shown_concurrency, shown_rate
from podium.errors import PodiumError
from podium.server import views
from podium.services.plane import Services

Found = Mapping[str, object] | None
_KINDS = {
    "models": ("model", "spec", "ref"),
    "aliases": ("alias", "alias", "alias"),
    "tasks": ("task", "task", "task"),
    "instances": ("model", "spec", "ref"),
    "rollouts": ("rollout", "rollout_id", "id"),
    "schedules": ("schedule", "schedule_id", "id"),
    "budgets": ("budget", "name", "name"),
    "keys": ("key", "key_id", "id"),
    "benchmarks": ("benchmark", "run_id", "id"),
    "webhooks": ("webhook", "name", "name"),
    "secrets": ("secret", "name", "name"),
}
"""By the first part of a path: what it is about, the parameter that names it, the field of an answer that does."""
UNTOLD = ("secrets",)
"""Where nothing of a body is kept, not even its length."""
NAME_CHARS = 160


def area_of(template: str) -> str:
    """``/api/v1/tasks/{task}/swap`` → ``tasks``."""
    return template.split("/")[3] if template.count("/") >= 3 else template


def subject_of(template: str, given: Mapping[str, object]) -> str:
    """What a request is about, from its path or its body; the area alone while nobody knows."""
    area = area_of(template)
    kind, parameter, field = _KINDS.get(area, (area, "", ""))
    name = given.get(parameter) or given.get(field)
    return f"{kind}:{_short(name)}" if isinstance(name, str) and name else area


def made_by(template: str, answer: Mapping[str, object]) -> str | None:
    """What an answer says was made, where the request could not name it."""
    subject = subject_of(
        template, {field: answer[field] for field in ("ref", "id", "name", "alias") if field in answer}
    )
    return subject if ":" in subject else None


def task_of(given: Mapping[str, object], seen: Found) -> str | None:
    """The task an action is about, if it is about one."""
    for found in (given.get("task"), (seen or {}).get("task")):
        if isinstance(found, str):
            return _short(found)
    return None


async def seen(services: Services, subject: str) -> Found:
    """How the subject stands now; ``None`` for one that is not there, or that has nothing to show."""
    kind, _, name = subject.partition(":")
    try:
        if kind == "rollout":
            return _rollout(await services.rollouts.find(name))
        if kind == "schedule":
            schedule = await services.schedules.find(name)
            swaps = [asdict(swap) for swap in schedule.swaps]
            return {"state": schedule.state, "swaps": swaps, "says": schedule.says}
        look = _LOOKS.get(kind)
        return None if look is None else look(services, name)
    except PodiumError:
        return None


def _rollout(found: object) -> Found:
    return {name: getattr(found, name) for name in ("task", "state", "baseline", "candidate", "share")}


def _model(services: Services, name: str) -> Found:
    version = services.registry.resolve(name)
    directive = services.directives.of(version.ref)
    copies = [view.state for view in services.pool.views() if view.ref == version.ref]
    return {
        "ref": version.ref,
        "status": version.status,
        "copies": len(copies),
        "directive": {
            "pinned": directive.pinned,
            "preload": directive.preload,
            "keep_alive_s": directive.keep_alive_s,
            "min_copies": directive.min_copies,
            "max_copies": directive.max_copies,
        },
    }


def _alias(services: Services, name: str) -> Found:
    return {"target": services.registry.aliases().get(name.removeprefix("@"))}


def _task(services: Services, name: str) -> Found:
    binding, rollout = services.swapper.binding(name), services.rollouts.on(name)
    found: dict[str, object] = {"serves": binding.ref if binding else None}
    if services.tasks.known(name):
        spec = services.tasks.get(name)
        kept = {key: value for key, value in views.criteria(spec.criteria).items() if value not in (None, [], 0)}
        found |= {"strategy": spec.strategy, "exploration": spec.exploration, "criteria": kept}
        found |= {"keywords": len(spec.keywords)}
    if rollout is not None:
        found |= {"rollout": rollout.id, "candidate": rollout.candidate, "state": rollout.state, "share": rollout.share}
    return found


def _budget(services: Services, name: str) -> Found:
    budget = services.budgeting.ledger.budgets.get(name)
    if budget is None:
        return None
    return {field: getattr(budget, field) for field in ("scope", "subject", "unit", "limit", "period", "timezone")}


def _key(services: Services, name: str) -> Found:
    key = services.keys.find(name)
    scopes = [
        *(f"task:{one}" for one in sorted(key.tasks or ())),
        *(f"model:{one}" for one in sorted(key.models or ())),
    ]
    times = {"expires_at": key.expires_at, "revoked_at": key.revoked_at}
    said = {
        "requests": shown_rate(key.limits.requests),
        "tokens": shown_rate(key.limits.tokens),
        "under way": shown_concurrency(key.limits.concurrency),
    }
    limits = [f"{name} {one}" for name, one in said.items() if one is not None]
    names = {"name": key.name, "role": key.role.value, "scopes": scopes, "limits": limits}
    return {**names, **times, "replaced_by": key.replaced_by}


_LOOKS: Mapping[str, Callable[[Services, str], Found]] = {
    "model": _model,
    "alias": _alias,
    "task": _task,
    "budget": _budget,
    "key": _key,
}


def _short(name: object) -> str:
    text = "".join(char if char.isprintable() else "?" for char in str(name)[:NAME_CHARS])
    return text.removeprefix("pod_")[:8] if text.startswith("pod_") else text
