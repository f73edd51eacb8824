"""The ``default`` strategy: ranks versions by what the learner believes, trades quality for speed where that is wanted.

Owns the utility and the trade; must not learn, filter or draw. The learner (``core/bandit``) makes the beliefs when
evidence arrives, so that a choice is a comparison of ready numbers.

    utility = index * success

With an allowed loss ``s`` (``max_quality_loss``, or what the preference implies) the versions whose utility is at least
``best * (1 - s)`` count as equally good, and among them the preference decides: the fastest, the one that takes the
least memory or the least energy (latency times memory stands in for it where none is measured). A version nobody
measured counts as best in it, so that it is measured. A soft limit on latency goes before that: while a version within
it is at most ``SOFT_LOSS`` worse than the best, those beyond it are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from podium.core import history
from podium.core.constraints import Check, Option
from podium.core.scoring import MIN_SAMPLES, memory_mb
from podium.domain.belief import Belief
from podium.domain.decision import Candidate
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria, Preference

STRATEGY = "default"
IMPLIED_LOSS: Mapping[Preference | None, float] = {
    None: 0.0,
    Preference.QUALITY: 0.0,
    Preference.BALANCED: 0.02,
    Preference.FAST: 0.05,
    Preference.LOW_MEMORY: 0.05,
    Preference.LOW_ENERGY: 0.05,
}
"""The loss of quality a preference allows unless the criteria say how much, as a share of the best."""
SOFT_LOSS = 0.02
"""Share of the best quality that may be given up to keep a soft limit."""
UNKNOWN = Belief(mean=0.5, sd=0.5, index=1.0, weight=0.0)
"""Of a version the learner has not met yet."""


def judge(option: Option, evidence: Evidence | None, belief: Belief | None, verdict: Check) -> Candidate:
    """One version as this strategy sees it; the score is its utility."""
    known = belief or UNKNOWN
    terms = (("quality", _unit(known.mean)), ("unknown", _unit(known.index - known.mean)), ("success", known.success))
    return Candidate(
        ref=option.ref,
        score=known.index * known.success,
        terms=terms,
        samples=0 if evidence is None else evidence.samples,
        dropped=verdict.dropped,
        flags=verdict.flags,
    )


def allowed_loss(criteria: Criteria) -> float:
    """The share of quality that may be given up, in [0, 1)."""
    if criteria.max_quality_loss is not None:
        return criteria.max_quality_loss
    return IMPLIED_LOSS[criteria.preference]


def trade(
    ranked: Sequence[Candidate],
    criteria: Criteria,
    row: Mapping[str, Evidence],
    options: Mapping[str, Option],
) -> tuple[Candidate, str]:
    """The candidate to choose among ``ranked`` (best utility first, not empty), and why it is not the first one."""
    best = ranked[0]
    if len(ranked) == 1:
        return best, ""
    loss = allowed_loss(criteria)
    if "max_latency_ms" in criteria.soft and _late(criteria, row.get(best.ref)):
        bar = (best.score or 0.0) * (1.0 - max(loss, SOFT_LOSS))
        timely = [one for one in ranked if (one.score or 0.0) >= bar and not _late(criteria, row.get(one.ref))]
        if timely and loss <= 0.0:
            limit = criteria.max_latency_ms or 0.0
            return timely[0], f"within the soft limit of {limit:,.0f} ms; {best.ref} leads but is beyond it"
        ranked = timely or ranked
    if loss <= 0.0:
        return best, ""
    bar = (best.score or 0.0) * (1.0 - loss)
    good = [one for one in ranked if (one.score or 0.0) >= bar] or [*ranked[:1]]
    preference = criteria.preference or Preference.FAST
    chosen = min(good, key=lambda one: _price(preference, row.get(one.ref), options[one.ref]))
    if chosen is best:
        return best, ""
    lost = 1.0 - (chosen.score or 0.0) / best.score if best.score else 0.0
    unit, own, other = _said(preference, row, options, chosen.ref, best.ref)
    return chosen, f"gives up {lost:.1%} of {best.ref} (at most {loss:.0%} allowed) for {unit}: {own} against {other}"


def _late(criteria: Criteria, evidence: Evidence | None) -> bool:
    if evidence is None or evidence.successes < MIN_SAMPLES or criteria.max_latency_ms is None:
        return False
    return (history.mean_latency_ms(evidence) or 0.0) > criteria.max_latency_ms


def _price(preference: Preference, evidence: Evidence | None, option: Option) -> float:
    latency = history.mean_latency_ms(evidence) if evidence is not None else None
    memory = memory_mb(evidence, option.footprint_bytes)
    match preference:
        case Preference.LOW_MEMORY:
            return memory or 0.0
        case Preference.LOW_ENERGY:
            return (latency or 0.0) * (memory or 0.0)
        case _:
            return latency or 0.0


def _said(
    preference: Preference,
    row: Mapping[str, Evidence],
    options: Mapping[str, Option],
    chosen: str,
    best: str,
) -> tuple[str, str, str]:
    unit, name = ("MB", "memory") if preference is Preference.LOW_MEMORY else ("ms", "speed")
    if preference is Preference.LOW_ENERGY:
        unit, name = "ms x MB", "energy"

    def words(ref: str) -> str:
        value = _price(preference, row.get(ref), options[ref])
        return f"{value:,.0f} {unit}" if value else "not measured yet"

    return name, words(chosen), words(best)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
