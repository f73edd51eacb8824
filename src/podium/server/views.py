"""How domain values look in JSON. One function per value; units are in the names."""

from __future__ import annotations

from typing import Any

from podium.core import history
from podium.domain.decision import Candidate, Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.instance import InstanceView, QueueView
from podium.domain.model import ModelVersion, Profile, Transition
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding, Criteria, TaskSpec
from podium.ports import HostFacts
from podium.server import cost_views

Json = dict[str, Any]
MB = 1024 * 1024


def model(version: ModelVersion, profile: Profile | None, aliases: tuple[str, ...] = ()) -> Json:
    """A registered version."""
    facts = version.facts
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.version,
        "status": version.status,
        "provider": version.source.provider,
        "source": {"location": version.source.location, "settings": dict(version.source.settings)},
        "digest": facts.digest,
        "facts": {
            "digest": facts.digest,
            "architecture": facts.architecture,
            "parameters": facts.parameters,
            "quantization": facts.quantization,
            "context_length": facts.context_length,
            "size_bytes": facts.size_bytes,
            "licence": version.licence,
            "chat_template": bool(facts.chat_template),
            "capabilities": sorted(facts.capabilities),
        },
        "evidence": dict(facts.evidence),
        "specialisation": version.specialisation,
        "training_data": version.provenance.training_data,
        "hardware": sorted(version.provenance.hardware),
        "profile": profile_json(profile),
        "category": version.category,
        "tags": sorted(version.tags),
        "parent": version.parent,
        "aliases": list(aliases),
        "created_at": version.created_at,
        "activated_at": version.activated_at,
    }


def profile_json(profile: Profile | None) -> Json | None:
    """A measured profile; fields that could not be measured are null."""
    if profile is None:
        return None
    return {
        "load_s": profile.load_s,
        "memory_mb": profile.memory_bytes / 1048576 if profile.memory_bytes is not None else None,
        "ttft_ms": profile.ttft_ms,
        "tokens_per_s": profile.tokens_per_s,
        "latency_ms": profile.latency_ms,
        "measured_at": profile.measured_at,
    }


def transition(item: Transition) -> Json:
    """One lifecycle change."""
    return {"from": item.before, "to": item.after, "at": item.at, "by": item.by, "reason": item.reason}


def criteria(item: Criteria) -> Json:
    """Limits and wishes."""
    return {
        "capabilities": sorted(item.capabilities),
        "min_quality": item.min_quality,
        "max_latency_ms": item.max_latency_ms,
        "max_memory_mb": item.max_memory_mb,
        "hardware": sorted(item.hardware) if item.hardware is not None else None,
        "preference": item.preference,
        "min_context": item.min_context,
        "max_quality_loss": item.max_quality_loss,
        "soft": sorted(item.soft),
    }


def task(spec: TaskSpec, binding: Binding | None, evidence: dict[str, Evidence]) -> Json:
    """A task, where it is bound, and what each version showed on it."""
    return {
        "task": spec.name,
        "strategy": spec.strategy,
        "exploration": spec.exploration,
        "criteria": criteria(spec.criteria),
        "keywords": sorted(spec.keywords),
        "bound_to": binding.ref if binding else None,
        "binding": {
            "ref": binding.ref,
            "previous": list(binding.previous),
            "since": binding.since,
            "by": binding.by,
            "reason": binding.reason,
        }
        if binding
        else None,
        "evidence": {ref: evidence_json(item) for ref, item in sorted(evidence.items())},
    }


def evidence_json(item: Evidence) -> Json:
    """Measured history of one version on one task."""
    return {
        "samples": item.samples,
        "success_rate": history.success_rate(item),
        "latency_ms": history.mean_latency_ms(item),
        "latency_p95_ms": history.latency_quantile_ms(item, 0.95),
        "ttft_ms": history.mean_ttft_ms(item),
        "tokens_per_s": history.mean_tokens_per_s(item),
        "quality": history.mean_quality(item),
        "quality_samples": item.quality_samples,
        "memory_mb": item.memory_mb_max,
        "cpu_ms": item.cpu_ms_sum / item.cpu_samples if item.cpu_samples else None,
        "last_at": item.last_at,
    }


def instance(view: InstanceView) -> Json:
    """A warm instance."""
    return {name: getattr(view, name) for name in InstanceView.__slots__}


def queue(view: QueueView) -> Json:
    """Those who wait for one version."""
    return {name: getattr(view, name) for name in QueueView.__slots__}


def swap(item: Swap) -> Json:
    """A swap record; ``ok`` says whether the traffic moved."""
    verdict = item.compatibility
    return {
        "id": item.id,
        "task": item.task,
        "kind": item.kind,
        "before": item.before,
        "after": item.after,
        "state": item.state,
        "ok": item.ok,
        "error": item.error,
        "requested_at": item.requested_at,
        "finished_at": item.finished_at,
        "by": item.by,
        "reason": item.reason,
        "load_ms": item.load_ms,
        "swap_ms": item.swap_ms,
        "compatibility": {name: getattr(verdict, name) for name in type(verdict).__slots__} if verdict else None,
    }


def candidate(item: Candidate) -> Json:
    """One candidate as the decision saw it."""
    return {
        "ref": item.ref,
        "score": item.score,
        "terms": dict(item.terms),
        "samples": item.samples,
        "dropped": item.dropped,
        "flags": list(item.flags),
    }


def attempt(decision: Decision, outcome: Outcome) -> Json:
    """One attempt: why this version, and what happened."""
    choice = decision.choice
    return {
        "decision_id": decision.id,
        "parent": decision.parent,
        "at": decision.at,
        "task": choice.task,
        "classified_by": decision.classified_by,
        "task_confidence": decision.task_confidence,
        "strategy": choice.strategy,
        "chosen": choice.chosen,
        "served": decision.served,
        "propensity": decision.propensity,
        "rollout": choice.rollout,
        "fallbacks": list(choice.fallbacks),
        "reason": choice.reason,
        "confidence": choice.confidence,
        "expected": {name: getattr(choice.expected, name) for name in type(choice.expected).__slots__},
        "candidates": [candidate(item) for item in choice.candidates],
        "outcome": {
            "success": outcome.success,
            "error": outcome.error,
            "streamed": outcome.streamed,
            "latency_ms": outcome.latency_ms,
            "ttft_ms": outcome.ttft_ms,
            "cost": cost_views.cost(outcome.cost),
        },
    }


def feedback(item: Feedback) -> Json:
    """A score somebody gave."""
    return {name: getattr(item, name) for name in type(item).__slots__}


def event(item: Event) -> Json:
    """Something that happened."""
    return {"id": item.id, "kind": item.kind, "at": item.at, "subject": item.subject, "data": dict(item.data)}


def host(facts: HostFacts) -> Json:
    """What this machine is."""
    return {
        "cpu_model": facts.cpu_model,
        "cores_physical": facts.cores_physical,
        "cores_logical": facts.cores_logical,
        "memory_mb": facts.memory_bytes // 1048576,
        "memory_available_mb": facts.memory_available_bytes // 1048576,
        "accelerators": [{name: getattr(item, name) for name in type(item).__slots__} for item in facts.accelerators],
        "unavailable": dict(facts.unavailable),
        "cpu_features": list(facts.cpu_features),
        "plan": None
        if facts.plan is None
        else {
            "steps": [{name: getattr(step, name) for name in type(step).__slots__} for step in facts.plan.steps],
            "left_out": dict(facts.plan.left_out),
        },
    }
