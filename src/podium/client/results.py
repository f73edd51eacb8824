"""What the client hands back: values read from the server's JSON, domain types where they exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """Why a version was chosen. Probabilities and scores are in [0, 1]."""

    id: str
    chosen: str
    served: str
    strategy: str
    reason: str
    propensity: float
    confidence: float
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[str, ...]
    expected: Expected
    task: str
    task_confidence: float
    classified_by: str
    parent: str | None = None
    rollout: str | None = None
    """Id of the rollout that divided the traffic it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One decision and what came of it."""

    decision: DecisionView
    success: bool
    error: str | None
    latency_ms: float
    ttft_ms: float | None
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything recorded about one request, oldest attempt first."""

    request_id: str
    attempts: tuple[Attempt, ...]
    feedback: tuple[Mapping[str, Any], ...] = ()
    operations: tuple[Mapping[str, Any], ...] = ()
    """What was done because of it beside answering, such as judging the answer, with its cost."""
    rollouts: Mapping[str, Any] = field(default_factory=dict)
    """How rollouts stand that an attempt is charged to, by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer, who gave it, why, and what it cost.

    ``raw`` is the server's reply in OpenAI's format. ``cost`` has ``None`` for what could not be measured,
    with the reason under ``cost.missing``.
    """

    text: str
    version: str
    task: str
    request_id: str
    decision: DecisionView
    cost: Cost
    raw: Mapping[str, Any]


def attempt_of(data: Mapping[str, Any]) -> Attempt:
    """One entry of ``attempts``: a decision with its outcome."""
    outcome = data["outcome"]
    cost = {**outcome["cost"], "missing": tuple(outcome["cost"]["missing"].items())}
    candidates = [{**entry, "terms": tuple(entry["terms"].items())} for entry in data["candidates"]]
    return Attempt(
        decision=msgspec.convert({**data, "id": data["decision_id"], "candidates": candidates}, DecisionView),
        success=outcome["success"],
        error=outcome["error"],
        latency_ms=outcome["latency_ms"],
        ttft_ms=outcome["ttft_ms"],
        cost=msgspec.convert(cost, Cost),
    )


def explanation_of(data: Mapping[str, Any]) -> Explanation:
    """The body of ``GET /api/v1/decisions/{request_id}``."""
    return Explanation(
        request_id=str(data["request_id"]),
        attempts=tuple(attempt_of(entry) for entry in data.get("attempts", ())),
        feedback=tuple(data.get("feedback", ())),
        operations=tuple(data.get("operations", ())),
        rollouts=dict(data.get("rollouts", {})),
    )


def text_of(reply: Mapping[str, Any]) -> str:
    """The answer's text; empty when it holds none (for example only tool calls)."""
    choices = reply.get("choices") or [{}]
    message = choices[0].get("message") or {}
    return str(message.get("content") or choices[0].get("text") or "")
