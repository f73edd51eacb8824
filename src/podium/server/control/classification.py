"""Routes about recognising tasks: what was learned, and what a prompt would be taken for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from podium.domain.request import Endpoint
from podium.server.control.access import ServicesDep
from podium.server.control.routing import guarded
from podium.server.views import Json
from podium.services.classifier import Report

router = guarded(tag="tasks")
READY_S = 10.0
SHOWN = 3
MAX_TEXT = 1_000_000


class TextBody(BaseModel):
    """A prompt to classify; it is not kept."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=MAX_TEXT)]


@router.get("/tasks/classifier")
async def show_classifier(services: ServicesDep) -> Json:
    """What the classifier learned: examples by task, accuracy by cross-validation, threshold, worst confusion."""
    return report_json(services.classifier.report())


@router.post("/tasks/classify")
async def classify_text(body: TextBody, services: ServicesDep) -> Json:
    """The task a chat prompt would be taken for, and why. Nothing is learned from it."""
    await services.classifier.ready(READY_S)
    seen = services.classifier.recognise(body.text, Endpoint.CHAT, frozenset(), services.tasks.specs())
    found = seen.found
    return {
        "task": found.task,
        "confidence": found.confidence,
        "abstained": found.abstained,
        "rule": found.rule,
        "likeliest": [{"task": name, "share": share} for name, share in seen.learned.ranked[:SHOWN]],
        "points": dict(seen.by_rule.scores or {}),
        "difficulty": found.difficulty,
    }


def report_json(report: Report) -> Json:
    """Shares are in [0, 1]; null while nothing is trained or nothing was there to count."""
    quality = report.quality
    seeds, own = (quality.seeds, quality.own) if quality else ({}, {})
    names = sorted({*seeds, *report.kept})
    return {
        "learning": report.learning,
        "trained": quality is not None,
        "accuracy": quality.accuracy if quality else None,
        "answered": quality.answered if quality else None,
        "error": quality.error if quality else None,
        "threshold": quality.threshold if quality else None,
        "worst_pair": {
            "task": quality.worst_pair[0],
            "taken_for": quality.worst_pair[1],
            "times": quality.worst_pair[2],
        }
        if quality and quality.worst_pair
        else None,
        "tasks": {
            name: {
                "seeds": seeds.get(name, 0),
                "labelled": report.seen.get(name, 0),
                "kept": report.kept.get(name, 0),
                "learned": name in seeds,
                "own": own.get(name, 0),
                "accuracy": quality.by_task.get(name) if quality else None,
            }
            for name in names
        },
        "needed": report.needed,
        "waiting": report.waiting,
        "trained_at": report.trained_at,
        "training_cpu_ms": report.training_s * 1000 if report.training_s is not None else None,
        "bytes": {"classifier": report.snapshot_bytes, "examples": report.examples_bytes},
    }
