"""Whether one version may replace another for a task (SWP-3). Pure.

Owns the rules. A smaller context than in use, a missing required capability and ill health always block; a task
without any history and a success rate below 0.9 of the incumbent's block in strict mode and warn otherwise.
"""

from __future__ import annotations

from podium.core import history, posterior
from podium.core.scoring import MIN_SAMPLES
from podium.domain.belief import Belief
from podium.domain.evidence import Evidence
from podium.domain.judgment import TASK as JUDGMENT
from podium.domain.model import Lifecycle, ModelVersion
from podium.domain.swap import Compatibility

SUCCESS_RATIO = 0.9
SLOWER_RATIO = 1.1
LARGER_RATIO = 1.1
HUNGRIER_RATIO = 1.1


def check(
    *,
    incumbent: ModelVersion | None,
    candidate: ModelVersion,
    incumbent_evidence: Evidence | None = None,
    candidate_evidence: Evidence | None = None,
    incumbent_memory_mb: float | None = None,
    candidate_memory_mb: float | None = None,
    incumbent_belief: Belief | None = None,
    candidate_belief: Belief | None = None,
    in_use_context: int = 0,
    required_capabilities: frozenset[str] = frozenset(),
    healthy: bool = True,
    strict: bool = False,
    task: str | None = None,
) -> Compatibility:
    """Compare ``candidate`` with ``incumbent`` (``None``: nothing serves the task yet).

    ``in_use_context`` is in tokens, memory in MB; memory defaults to the peak in the evidence, energy is what
    the beliefs know. A version whose
    specialisation or tags name ``task`` covers it without history. Changes are candidate minus incumbent, ``None``
    when either side has no measurement.
    """
    old, new = incumbent_evidence or Evidence(), candidate_evidence or Evidence()
    gaps = _gaps(candidate, in_use_context, required_capabilities, healthy=healthy)
    strict_gaps = _strict_gaps(candidate, old, new, task)
    memory = _change(
        old.memory_mb_max if incumbent_memory_mb is None else incumbent_memory_mb,
        new.memory_mb_max if candidate_memory_mb is None else candidate_memory_mb,
    )
    latency = _change(history.mean_latency_ms(old), history.mean_latency_ms(new))
    quality = _change(history.mean_quality(old), history.mean_quality(new))
    warnings = [] if strict else list(strict_gaps)
    warnings += _warnings(incumbent, candidate, in_use_context)
    old_latency = history.mean_latency_ms(old)
    if latency is not None and old_latency is not None and latency > (SLOWER_RATIO - 1) * old_latency:
        warnings.append(f"slower by {_ms(latency)} on average ({_counts(old, new)})")
    if quality is not None and quality < 0:
        warnings.append(f"mean quality lower by {-quality:.3f} ({_counts(old, new)})")
    old_memory = old.memory_mb_max if incumbent_memory_mb is None else incumbent_memory_mb
    if memory is not None and old_memory is not None and memory > (LARGER_RATIO - 1) * old_memory:
        warnings.append(f"needs {memory:,.0f} MB more memory")
    old_energy = _energy_mwh(incumbent_belief)
    energy = _change(old_energy, _energy_mwh(candidate_belief))
    if energy is not None and old_energy is not None and energy > (HUNGRIER_RATIO - 1) * old_energy:
        warnings.append(f"needs {energy:,.3g} mWh more energy per request")
    return Compatibility(
        compatible=not gaps and not (strict and strict_gaps),
        gaps=tuple(gaps),
        strict_gaps=tuple(strict_gaps),
        warnings=tuple(warnings),
        latency_change_ms=latency,
        quality_change=quality,
        memory_change_mb=memory,
        energy_change_mwh=energy,
    )


def _gaps(candidate: ModelVersion, in_use_context: int, required: frozenset[str], *, healthy: bool) -> list[str]:
    gaps = []
    context = candidate.facts.context_length
    if context is not None and context < in_use_context:
        gaps.append(f"context length {context} tokens is smaller than the {in_use_context} in use")
    missing = required - candidate.facts.capabilities
    if missing:
        gaps.append(f"lacks required capability {', '.join(sorted(missing))}")
    if not healthy:
        gaps.append("unhealthy: it does not pass its health check")
    return gaps


def _strict_gaps(candidate: ModelVersion, old: Evidence, new: Evidence, task: str | None) -> list[str]:
    gaps = []
    judges = (
        task is not None and task.partition(".")[0] == JUDGMENT
    )  # they leave no outcomes: nothing would ever cover it
    if new.samples == 0 and not judges and not (task and (candidate.specialisation == task or task in candidate.tags)):
        gaps.append(f"task {task or 'in question'} is not covered: {candidate.ref} has served no request of it yet")
    before, after = history.success_rate(old), history.success_rate(new)
    if before is not None and after is not None and after < SUCCESS_RATIO * before:
        gaps.append(
            f"success rate {after:.3f} is below {SUCCESS_RATIO} of the present {before:.3f} ({_counts(old, new)})"
        )
    return gaps


def _warnings(incumbent: ModelVersion | None, candidate: ModelVersion, in_use_context: int) -> list[str]:
    warnings = []
    context = candidate.facts.context_length
    if context is None and in_use_context > 0:
        warnings.append(f"context length is not known, {in_use_context} tokens are in use")
    if candidate.status in (Lifecycle.DEPRECATED, Lifecycle.RETIRED):
        warnings.append(f"its status is {candidate.status.value}")
    if incumbent is None:
        return warnings
    before = incumbent.facts.context_length
    if context is not None and before is not None and in_use_context <= context < before:
        warnings.append(f"context length shrinks from {before} to {context} tokens")
    lost = incumbent.facts.capabilities - candidate.facts.capabilities
    if lost:
        warnings.append(f"loses capability {', '.join(sorted(lost))}, which the task does not require")
    return warnings


def _energy_mwh(belief: Belief | None) -> float | None:
    if belief is None or belief.performance is None or belief.performance.energy_mwh is None:
        return None
    return posterior.mean(belief.performance.energy_mwh)


def _counts(old: Evidence, new: Evidence) -> str:
    thin = f", fewer than {MIN_SAMPLES} on a side" if min(old.samples, new.samples) < MIN_SAMPLES else ""
    return f"{new.samples} against {old.samples} samples{thin}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.2g} ms"


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
