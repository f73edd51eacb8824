"""How what was learned of tasks, and what keeps them from learning, looks in JSON."""

from __future__ import annotations

from dataclasses import asdict

from podium.core import posterior
from podium.core.lessons import enhance_criteria, read_lessons
from podium.domain.finding import Finding
from podium.domain.task import Criteria, TaskSpec
from podium.server import views
from podium.services.doctor import Diagnosis, diagnose_one
from podium.services.plane import Services

_BY_HAND = {"usual_quality": "min_quality", "optimal_latency_ms": "max_latency_ms", "preference": "preference"}
"""Lessons, and the criteria that take their place when set."""


def learned(services: Services, spec: TaskSpec) -> views.Json:
    """What is known of a task whoever serves it, and how that sharpens its criteria."""
    base = services.recorder.knowledge
    known = base.of(spec.name)
    lessons = read_lessons(known, services.selector.evidence_of(spec.name))
    sharp, said = enhance_criteria(spec.criteria, lessons)
    rows: dict[str, views.Json] = {}
    for name, lesson in lessons.items():
        rows[name] = {
            "value": lesson.value,
            "unit": lesson.unit or None,
            "observations": lesson.n,
            "confidence": lesson.confidence,
            "says": lesson.says,
            "set_by_hand": _set(spec.criteria, name),
        }
    return {
        "since": known.since,
        "requests": known.requests,
        "scores": known.score.n,
        "lessons": rows,
        "labels": dict(known.labels),
        "corrections": known.corrections,
        "sharpening": {
            "applied": base.enhance,
            "explanations": list(said),
            "criteria": views.criteria(sharp),
        },
    }


def lately(services: Services, spec: TaskSpec) -> views.Json:
    """What is believed of each version on a task by what was seen lately: means, 90 % intervals, and what they rest on.

    Figures nobody measured are null, and ``missing`` says so.
    """
    beliefs = services.selector.beliefs_on(spec.name)
    seen = services.selector.evidence_of(spec.name)
    measured = services.learner.measured(spec.name, sorted({*seen, *beliefs}))
    rows: dict[str, views.Json] = {}
    for ref in sorted({*measured, *(ref for ref, one in beliefs.items() if one.weight > 0.0)}):
        figures: dict[str, views.Json | None] = dict.fromkeys(("quality", "success", *posterior.GAUGES))
        belief, known = beliefs.get(ref), measured.get(ref)
        if belief is not None and belief.weight > 0.0:
            wide = posterior.Z * belief.sd
            figures["quality"] = {
                "mean": belief.mean,
                "low": max(0.0, belief.mean - wide),
                "high": min(1.0, belief.mean + wide),
                "weight": belief.weight,
            }
        if known is not None:
            if known.asked > 0.0:
                figures["success"] = _figure(posterior.success(known))
            for name in posterior.GAUGES:
                gauge = getattr(known, name)
                figures[name] = None if gauge is None else _figure(posterior.estimate(gauge))
        missing = {name: _MISSING[name == "quality"] for name, figure in figures.items() if figure is None}
        rows[ref] = {**figures, "missing": missing}
    return rows


_MISSING = ("no request reported it lately", "nobody scored an answer on this task")


def _figure(found: posterior.Estimate) -> views.Json:
    return {name: value for name, value in asdict(found).items() if value is not None}


def _set(criteria: Criteria, lesson: str) -> object:
    """What the task's own criteria say in the place of a lesson: that wins. ``None``: nothing."""
    field = _BY_HAND.get(lesson)
    return None if field is None else getattr(criteria, field)


def findings(services: Services, spec: TaskSpec) -> list[views.Json]:
    """What keeps a task from learning."""
    return [finding(item) for item in diagnose_one(services, spec)]


def finding(item: Finding) -> views.Json:
    """One finding."""
    return {name: getattr(item, name) for name in type(item).__slots__}


def diagnosis(found: Diagnosis) -> views.Json:
    """All findings, and which tasks have none."""
    ill = {item.task for item in found.findings}
    return {
        "findings": [finding(item) for item in found.findings],
        "tasks_learning": [task for task in found.tasks if task not in ill],
        "tasks_not_looked_at": found.unseen,
    }
