"""The ``default`` strategy: ranks versions by what the learner believes, trades quality for speed where that is wanted.

Owns the utility and the trade; must not learn, filter or draw. The learner (``core/bandit``) makes the beliefs when
evidence arrives, so that a choice is a comparison of ready numbers.

    utility = index * success

With an allowed loss ``s`` (``max_quality_loss``, or what the preference implies) the versions whose utility is at least
``best * (1 - s)`` count as equally good, and among them the preference decides: the fastest, the one that takes the
least memory, the least energy (latency times memory stands in for it unless energy is measured for all of them) or the
least money (what nobody bills costs none; where nobody bills any, energy or what stands in for it decides).
What was measured lately decides (``core/posterior``), the whole history where that is empty. A version nobody measured
counts as best in it, so that it is measured. A soft limit on latency goes before that: while a version within
it is at most ``SOFT_LOSS`` worse than the best, those beyond it are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from podium.core import history, posterior
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
    Preference.LOW_COST: 0.05,
}
"""The loss of quality a preference allows unless the criteria say how much, as a share of the best."""
SOFT_LOSS = 0.02
"""Share of the best quality that may be given up to keep a soft limit."""
_MONEY = "millionths of a dollar"
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
    beliefs: Mapping[str, Belief] = MappingProxyType({}),
) -> tuple[Candidate, str]:
    """The candidate to choose among ``ranked`` (best utility first, not empty), and why it is not the first one."""
    best = ranked[0]
    if len(ranked) == 1:
        return best, ""
    loss = allowed_loss(criteria)
    limit = criteria.max_latency_ms
    if limit is not None and "max_latency_ms" in criteria.soft:

        def late(ref: str) -> bool:
            known, proven = _latency(row.get(ref), beliefs.get(ref))
            return proven and known > limit

        if late(best.ref):
            bar = (best.score or 0.0) * (1.0 - max(loss, SOFT_LOSS))
            timely = [one for one in ranked if (one.score or 0.0) >= bar and not late(one.ref)]
            if timely and loss <= 0.0:
                return timely[0], f"within the soft limit of {limit:,.0f} ms; {best.ref} leads but is beyond it"
            ranked = timely or ranked
    if loss <= 0.0:
        return best, ""
    bar = (best.score or 0.0) * (1.0 - loss)
    good = [one for one in ranked if (one.score or 0.0) >= bar] or [*ranked[:1]]
    preference = criteria.preference or Preference.FAST
    prices, name, unit = _prices(preference, [best.ref, *(one.ref for one in good)], row, options, beliefs)
    chosen = min(good, key=lambda one: prices[one.ref])
    if chosen is best:
        return best, ""
    lost = 1.0 - (chosen.score or 0.0) / best.score if best.score else 0.0
    own, other = (_said(prices[ref], unit) for ref in (chosen.ref, best.ref))
    return chosen, f"gives up {lost:.1%} of {best.ref} (at most {loss:.0%} allowed) for {name}: {own} against {other}"


def _latency(evidence: Evidence | None, belief: Belief | None) -> tuple[float, bool]:
    """Mean latency in milliseconds, 0 when nobody measured it, and whether it rests on enough to judge by."""
    known = None if belief is None or belief.performance is None else belief.performance.latency_ms
    if known is not None:
        return posterior.mean(known), known.weight >= posterior.PROVEN
    if evidence is None:
        return 0.0, False
    return history.mean_latency_ms(evidence) or 0.0, evidence.successes >= MIN_SAMPLES


def _memory(evidence: Evidence | None, belief: Belief | None, option: Option) -> float:
    """In MB; 0 when nothing is known."""
    known = None if belief is None or belief.performance is None else belief.performance.memory_mb
    return posterior.mean(known) if known is not None else memory_mb(evidence, option.footprint_bytes) or 0.0


def _prices(
    preference: Preference,
    refs: Sequence[str],
    row: Mapping[str, Evidence],
    options: Mapping[str, Option],
    beliefs: Mapping[str, Belief],
) -> tuple[Mapping[str, float], str, str]:
    """What each of ``refs`` costs in the sense of the preference (0: not measured), with its name and unit."""
    if preference is Preference.LOW_MEMORY:
        return {ref: _memory(row.get(ref), beliefs.get(ref), options[ref]) for ref in refs}, "memory", "MB"
    times = {ref: _latency(row.get(ref), beliefs.get(ref))[0] for ref in refs}
    if preference is Preference.LOW_ENERGY:
        return _energy(refs, times, row, options, beliefs)
    if preference is not Preference.LOW_COST:
        return times, "speed", "ms"
    bills = {ref: _mean(beliefs.get(ref), "price_microusd") for ref in refs}
    if any(bill is not None for bill in bills.values()):
        return {ref: bill or 0.0 for ref, bill in bills.items()}, "cost", _MONEY
    prices, name, unit = _energy(refs, times, row, options, beliefs)
    return prices, f"cost (nobody bills them, so {name} decides)", unit


def _energy(
    refs: Sequence[str],
    times: Mapping[str, float],
    row: Mapping[str, Evidence],
    options: Mapping[str, Option],
    beliefs: Mapping[str, Belief],
) -> tuple[Mapping[str, float], str, str]:
    energy: dict[str, float] = {}
    for ref in refs:
        known = _mean(beliefs.get(ref), "energy_mwh")
        if (
            known is None and times[ref]
        ):  # used, but its energy cannot be measured: compare all by what stands in for it
            work = {ref: times[ref] * _memory(row.get(ref), beliefs.get(ref), options[ref]) for ref in refs}
            return work, "energy", "ms x MB"
        energy[ref] = known or 0.0
    return energy, "energy", "mWh"


def _mean(belief: Belief | None, figure: Literal["energy_mwh", "price_microusd"]) -> float | None:
    known = None if belief is None or belief.performance is None else getattr(belief.performance, figure)
    return None if known is None else posterior.mean(known)


def _said(price: float, unit: str) -> str:
    if not price:
        return "no bill on record" if unit == _MONEY else "not measured yet"
    return f"{price:,.{0 if price >= 10 else 2}f} {unit}"


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
