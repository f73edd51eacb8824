"""Hard filters and best-effort limits (SEL-1, SEL-2): which versions may serve a request, and why not.

Owns the words in which a dropped version is explained. Must not score or rank.

Capability, context length, hardware, memory fit, lifecycle and availability always drop a version. Limits on
quality and latency drop it once it has ``MIN_SAMPLES`` measurements; before that they are flagged as best effort.
Where the learner's beliefs are at hand they judge: a version is dropped when it is beyond the limit with 95 %
certainty by what was measured lately, and flagged while it may be on either side. For a version requested by name these two limits, being wishes of the task, are only flagged; so are soft ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from podium.core import history, posterior
from podium.core.scoring import BYTES_PER_MB, MIN_SAMPLES, memory_mb
from podium.domain.belief import Belief
from podium.domain.evidence import Evidence
from podium.domain.model import Lifecycle
from podium.domain.task import Criteria

CPU = "cpu"


class Cause(StrEnum):
    """Which filter dropped a version."""

    LIFECYCLE = "lifecycle"
    AVAILABILITY = "availability"
    CAPABILITY = "capability"
    CONTEXT = "context"
    HARDWARE = "hardware"
    MEMORY = "memory"
    QUALITY = "quality"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One version as the policy sees it."""

    ref: str
    status: Lifecycle = Lifecycle.ACTIVE
    capabilities: frozenset[str] = frozenset()
    context_length: int | None = None
    """Tokens; ``None`` when neither artifact nor server said."""
    footprint_bytes: int | None = None
    """Memory on this machine when loaded; 0 for a remote one, ``None`` when unknown."""
    hardware: frozenset[str] = frozenset()
    """Kinds of which any one can run it (``cpu``, ``cuda``, …); empty: it runs elsewhere or anywhere."""
    unavailable: str | None = None
    """Why it cannot be reached now (provider missing, breaker open until …), else ``None``."""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may use: the merged criteria and this machine. ``by_name``: the caller named the version."""

    criteria: Criteria
    memory_budget_bytes: int | None = None
    hardware: frozenset[str] = frozenset({CPU})
    """Kinds found on this machine."""
    by_name: bool = False
    canary: str | None = None
    """A version that a rollout tries out: it may serve although it is only ready."""


@dataclass(frozen=True, slots=True)
class Check:
    """``dropped`` holds every reason, joined by ``; ``, or ``None`` when the version may serve."""

    dropped: str | None
    causes: frozenset[Cause]
    flags: tuple[str, ...]


def check(option: Option, evidence: Evidence | None, limits: Limits, belief: Belief | None = None) -> Check:
    """Test one version against all filters. ``evidence`` is its history for the task, if any, ``belief`` the learner's."""
    found: list[tuple[Cause, str]] = []
    flags: list[str] = []
    _lifecycle(option, limits, found, flags)
    if option.unavailable is not None:
        found.append((Cause.AVAILABILITY, f"not available: {option.unavailable}"))
    _abilities(option, limits, found, flags)
    _memory(option, evidence, limits, found, flags)
    if limits.criteria.min_quality is not None or limits.criteria.max_latency_ms is not None:
        _measured(evidence or _NOTHING, belief, limits, found, flags)
    if not found:
        return Check(None, frozenset(), tuple(flags))
    return Check("; ".join(words for _, words in found), frozenset(cause for cause, _ in found), tuple(flags))


_NOTHING = Evidence()


def _lifecycle(option: Option, limits: Limits, found: list[tuple[Cause, str]], flags: list[str]) -> None:
    if option.status is Lifecycle.ACTIVE or (option.status is Lifecycle.READY and option.ref == limits.canary):
        return
    if limits.by_name and option.status is Lifecycle.DEPRECATED:
        flags.append("deprecated: plan to move to another version")
    else:
        found.append((Cause.LIFECYCLE, f"not active: its status is {option.status.value}"))


def _abilities(option: Option, limits: Limits, found: list[tuple[Cause, str]], flags: list[str]) -> None:
    criteria = limits.criteria
    if not criteria.capabilities <= option.capabilities:
        missing = ", ".join(sorted(criteria.capabilities - option.capabilities))
        has = ", ".join(sorted(option.capabilities)) or "none"
        found.append((Cause.CAPABILITY, f"lacks capability {missing} (has {has})"))
    if criteria.min_context > 0:
        if option.context_length is None:
            flags.append(f"best effort: context length not known, {criteria.min_context} tokens needed")
        elif option.context_length < criteria.min_context:
            found.append(
                (
                    Cause.CONTEXT,
                    f"context length {option.context_length} tokens, at least {criteria.min_context} needed",
                )
            )
    if option.hardware:
        allowed = limits.hardware if criteria.hardware is None else limits.hardware & (criteria.hardware | {CPU})
        if not option.hardware & allowed:
            needs, has = " or ".join(sorted(option.hardware)), ", ".join(sorted(allowed)) or "none"
            found.append((Cause.HARDWARE, f"needs hardware {needs}, usable here: {has}"))


def _memory(
    option: Option, evidence: Evidence | None, limits: Limits, found: list[tuple[Cause, str]], flags: list[str]
) -> None:
    budget = limits.memory_budget_bytes
    if budget is not None and option.footprint_bytes is not None and option.footprint_bytes > budget:
        needed, given = option.footprint_bytes / BYTES_PER_MB, budget / BYTES_PER_MB
        found.append((Cause.MEMORY, f"needs {needed:,.0f} MB of memory, the budget is {given:,.0f} MB"))
    limit = limits.criteria.max_memory_mb
    if limit is None:
        return
    used = memory_mb(evidence, option.footprint_bytes)
    if used is None:
        flags.append(f"best effort: memory not known, limit {limit:,.0f} MB")
    elif used > limit:
        found.append((Cause.MEMORY, f"uses {used:,.0f} MB of memory, the limit is {limit:,.0f} MB"))


def _measured(
    evidence: Evidence, belief: Belief | None, limits: Limits, found: list[tuple[Cause, str]], flags: list[str]
) -> None:
    floor, ceiling = limits.criteria.min_quality, limits.criteria.max_latency_ms
    if floor is not None:
        beyond, open_ = _bad(evidence, belief, floor)
        if beyond is not None:
            _drop_or_flag(Cause.QUALITY, "min_quality", beyond, limits, found, flags)
        elif open_ is not None and "min_quality" not in limits.criteria.soft:
            flags.append(f"best effort: quality >= {floor:g} not proven, {open_}")
    if ceiling is not None:
        beyond, open_ = _slow(evidence, belief, ceiling)
        if beyond is not None:
            _drop_or_flag(Cause.LATENCY, "max_latency_ms", beyond, limits, found, flags)
        elif open_ is not None and "max_latency_ms" not in limits.criteria.soft:
            flags.append(f"best effort: latency <= {ceiling:,.0f} ms not proven, {open_}")


_Verdict = tuple[str | None, str | None]
"""Why a limit is surely broken, else why it is open whether it is kept; neither when it is kept."""


def _bad(evidence: Evidence, belief: Belief | None, floor: float) -> _Verdict:
    """Judge the quality."""
    if belief is not None and belief.weight > 0.0:
        if belief.weight < MIN_SAMPLES:
            return None, f"{belief.weight:.0f} of {MIN_SAMPLES} scores"
        low, high = belief.mean - posterior.Z * belief.sd, belief.mean + posterior.Z * belief.sd
        words = f"quality {belief.mean:.3f} ({max(0.0, low):.3f} to {min(1.0, high):.3f}) by the last scores"
        if high < floor:
            return f"{words}, at least {floor:g} wanted", None
        return None, words if low < floor else None
    quality, count = history.mean_quality(evidence), evidence.quality_samples
    if quality is None or count < MIN_SAMPLES:
        return None, f"{count} of {MIN_SAMPLES} scores"
    if quality < floor:
        return f"mean quality {quality:.3f} over {count} scores, at least {floor:g} wanted", None
    return None, None


def _slow(evidence: Evidence, belief: Belief | None, ceiling: float) -> _Verdict:
    """Judge the latency."""
    gauge = belief.performance.latency_ms if belief is not None and belief.performance is not None else None
    if gauge is not None:
        if gauge.weight < posterior.PROVEN:
            return None, f"{gauge.weight:.0f} of {MIN_SAMPLES} samples"
        now = posterior.estimate(gauge)
        words = f"mean latency {now.mean:,.0f} ms ({now.low:,.0f} to {now.high:,.0f}) by the last samples"
        if now.low > ceiling:
            return f"{words}, at most {ceiling:,.0f} ms wanted", None
        return None, words if now.high > ceiling else None
    latency, count = history.mean_latency_ms(evidence), evidence.successes
    if latency is None or count < MIN_SAMPLES:
        return None, f"{count} of {MIN_SAMPLES} samples"
    if latency > ceiling:
        return f"mean latency {latency:,.0f} ms over {count} samples, at most {ceiling:,.0f} ms wanted", None
    return None, None


def _drop_or_flag(
    cause: Cause, field: str, words: str, limits: Limits, found: list[tuple[Cause, str]], flags: list[str]
) -> None:
    if field in limits.criteria.soft:
        flags.append(f"best effort: {words}; a soft limit")
    elif limits.by_name:
        flags.append(f"best effort: {words}; served because it was requested by name")
    else:
        found.append((cause, words))
