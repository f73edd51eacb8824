"""Choosing a version for a request: the pure function from a policy snapshot and a query to a choice.

Owns the snapshot, the three modes (requested by name, bound task, free) and the order of candidates. Must not do
I/O, read a clock or draw random numbers: every choice is deterministic and has propensity 1.

Order of candidates: higher score, then more samples, then the newer version, then the ref in alphabetical order.

Confidence in [0, 1] is ``n / (n + 10) * (0.5 + 0.5 * min(1, gap / 0.2))``: n are the samples of the chosen version
for the task and gap is its score minus that of the best other one (at least 0, and 0.2 when there is no other).
It is 1 for a version requested by name, which needs no belief.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from podium.core import history, learned
from podium.core.bandit import EPSILON
from podium.core.constraints import CPU, Check, Limits, Option, check
from podium.core.explaining import binding_words, no_candidate, versus
from podium.core.lessons import Lessons, enhance_criteria
from podium.core.scoring import memory_mb, score, weights_for
from podium.domain.belief import Belief
from podium.domain.decision import Candidate, Choice, Expected
from podium.domain.evidence import Evidence
from podium.domain.rollout import Split
from podium.domain.task import Binding, Criteria, Preference, TaskSpec, Weights

RECENCY_GRAIN_S = 3_600.0
"""``now`` is rounded down to the hour, so that choices only change when evidence does."""
CONFIDENT_SAMPLES = 10
CONFIDENT_GAP = 0.2

ANY_TASK = "*"
CANARY = "canary"
"""The strategy of a choice whose task is divided between the two arms of a rollout."""
EXPLORATION = EPSILON
"""Share of requests that go to a version drawn at random, unless the task says otherwise."""
_NO_EVIDENCE: Mapping[str, Evidence] = MappingProxyType({})
_NO_BELIEFS: Mapping[str, Belief] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """Everything a choice depends on. Mappings are never changed after construction."""

    options: tuple[Option, ...] = ()
    tasks: Mapping[str, TaskSpec] = field(default_factory=lambda: MappingProxyType({}))
    bindings: Mapping[str, Binding] = field(default_factory=lambda: MappingProxyType({}))
    evidence: Mapping[str, Mapping[str, Evidence]] = field(default_factory=lambda: MappingProxyType({}))
    """By task, then by ref."""
    beliefs: Mapping[str, Mapping[str, Belief]] = field(default_factory=lambda: MappingProxyType({}))
    """By task, then by ref; under ``ANY_TASK`` what is believed on a task nobody has met."""
    splits: Mapping[str, Split] = field(default_factory=lambda: MappingProxyType({}))
    """By task, how a rollout divides its traffic."""
    lessons: Mapping[str, Lessons] = field(default_factory=lambda: MappingProxyType({}))
    """By task, what sharpens the criteria that nobody set; empty unless that is switched on."""
    weights: Mapping[str, Weights] = field(default_factory=lambda: MappingProxyType({}))
    """Configured strategies by name, beside the presets."""
    memory_budget_bytes: int | None = None
    hardware: frozenset[str] = frozenset({CPU})
    now: float = 0.0
    """Unix seconds."""

    def beliefs_on(self, task: str) -> Mapping[str, Belief]:
        """What is believed on a task, by ref."""
        found = self.beliefs.get(task)
        return self.beliefs.get(ANY_TASK, _NO_BELIEFS) if found is None else found

    @property
    def hour(self) -> float:
        """``now`` as choices see it."""
        return math.floor(self.now / RECENCY_GRAIN_S) * RECENCY_GRAIN_S

    def with_evidence(self, task: str, ref: str, evidence: Evidence, now: float | None = None) -> PolicySnapshot:
        """The same snapshot with one row of history replaced."""
        row = {**self.evidence.get(task, _NO_EVIDENCE), ref: evidence}
        return replace(self, evidence={**self.evidence, task: row}, now=self.now if now is None else now)

    def with_binding(self, task: str, binding: Binding | None) -> PolicySnapshot:
        """The same snapshot with a task bound elsewhere, or unbound."""
        bindings = {**self.bindings}
        bindings.pop(task, None)
        if binding is not None:
            bindings[task] = binding
        return replace(self, bindings=bindings)

    def with_split(self, task: str, split: Split | None) -> PolicySnapshot:
        """The same snapshot with a task's traffic divided anew, or no longer divided."""
        splits = {name: one for name, one in self.splits.items() if name != task}
        if split is not None:
            splits[task] = split
        return replace(self, splits=splits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What one request asks of the policy.

    ``refs`` are the versions the caller named, first choice first; ``None`` leaves the choice to the policy.
    ``criteria`` override the task's, field by field; capabilities add up and the larger context counts.
    """

    task: str
    needs: frozenset[str] = frozenset()
    min_context: int = 0
    refs: tuple[str, ...] | None = None
    criteria: Criteria | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    """All a candidate is judged by, apart from its own facts and history."""

    limits: Limits
    strategy: str
    weights: Weights | None
    """``None``: by what was learned."""
    now: float
    exploration: float = 0.0
    notes: tuple[str, ...] = ()
    """How the criteria were sharpened."""


def choose(snapshot: PolicySnapshot, query: Query, previous: tuple[PolicySnapshot, Choice] | None = None) -> Choice:
    """Pick a version, with ordered fallbacks and reasons.

    ``previous`` is an earlier snapshot with its choice for the same query: candidates whose facts and history are
    the very same objects there are taken over instead of judged again. It never changes the result.

    Raises ``NoCandidate`` when nothing passes the hard filters; its details list every version with its reason.
    Raises ``InvalidRequest`` for an unknown strategy.
    """
    frame = _frame(snapshot, query)
    candidates = _candidates(snapshot, query, frame, previous)
    if query.refs is not None:
        return _by_name(snapshot, query, frame, candidates)
    created = {option.ref: option.created_at for option in snapshot.options}
    ranked = sorted(
        (c for c in candidates if c.dropped is None),
        key=lambda c: (-(c.score or 0.0), -c.samples, -created[c.ref], c.ref),
    )
    if not ranked:
        raise no_candidate(query.task, None, _checks(snapshot, query, frame))
    binding = snapshot.bindings.get(query.task)
    split = snapshot.splits.get(query.task)
    if split is not None and (arm := next((c for c in ranked if c.ref == split.baseline), None)) is not None:
        return _divided(snapshot, query, split, arm, candidates, [c for c in ranked if c is not arm])
    bound = next((c for c in ranked if binding is not None and c.ref == binding.ref), None)
    chosen, traded = (bound, "") if bound is not None else _best(snapshot, query, frame, ranked)
    others = [c for c in ranked if c is not chosen]
    share = 0.0
    if bound is not None and binding is not None:
        strategy, reason = "bound", binding_words(binding)
    else:
        strategy, reason = frame.strategy, traded or versus(frame.strategy, chosen, others)
        share = frame.exploration / len(ranked) if others else 0.0
        if binding is not None:
            lost = next((c.dropped for c in candidates if c.ref == binding.ref), None)
            reason = f"{binding_words(binding)}, but it was dropped ({lost or 'not registered'}); {reason}"
    if chosen.flags:
        reason = f"{reason}; {'; '.join(chosen.flags)}"
    if frame.notes and bound is None:
        reason = f"{reason}; learned: {'; '.join(frame.notes)}"
    return Choice(
        task=query.task,
        strategy=strategy,
        chosen=chosen.ref,
        propensity=1.0 - share * len(others),
        fallbacks=tuple(c.ref for c in others),
        reason=reason,
        confidence=confidence(chosen, others[0] if others else None),
        candidates=tuple(candidates),
        expected=_expected(snapshot, query.task, chosen.ref),
        alternatives=tuple(c.ref for c in others) if share else (),
        exploration=share,
    )


def _divided(
    snapshot: PolicySnapshot,
    query: Query,
    split: Split,
    arm: Candidate,
    every: list[Candidate],
    others: list[Candidate],
) -> Choice:
    """The baseline's side of a rollout; the candidate is the alternative that a draw gives its share."""
    able = any(c.ref == split.candidate for c in others)
    share = split.share if able else 0.0
    reason = f"rollout {split.rollout}: {1 - share:.0%} of the traffic stays with {split.baseline}"
    if not able:
        lost = next((c.dropped for c in every if c.ref == split.candidate), None) or "not registered"
        reason = f"{reason}; {split.candidate} cannot serve this request ({lost})"
    return Choice(
        task=query.task,
        strategy=CANARY,
        chosen=arm.ref,
        propensity=1.0 - share,
        fallbacks=tuple(c.ref for c in others),
        reason="; ".join((reason, *arm.flags)),
        confidence=confidence(arm, others[0] if others else None),
        candidates=tuple(every),
        expected=_expected(snapshot, query.task, arm.ref),
        alternatives=(split.candidate,) if able else (),
        exploration=share,
        rollout=split.rollout,
    )


def drawn(choice: Choice, ref: str, able: tuple[str, ...]) -> Choice:
    """The choice as it stands when ``ref`` came out of the draw among ``choice.chosen`` and the alternatives ``able``."""
    if ref == choice.chosen:
        return replace(choice, propensity=1.0 - choice.exploration * len(able), alternatives=able)
    others = tuple(other for other in (choice.chosen, *choice.fallbacks) if other != ref)
    reason = f"drawn to learn ({choice.exploration:.2%} each); otherwise {choice.chosen}: {choice.reason}"
    able = (choice.chosen, *(other for other in able if other != ref))
    return replace(
        choice, chosen=ref, propensity=choice.exploration, fallbacks=others, reason=reason, alternatives=able
    )


def _best(snapshot: PolicySnapshot, query: Query, frame: _Frame, ranked: list[Candidate]) -> tuple[Candidate, str]:
    if frame.strategy != learned.STRATEGY:
        return ranked[0], ""
    row = snapshot.evidence.get(query.task, _NO_EVIDENCE)
    options = {option.ref: option for option in snapshot.options}
    return learned.trade(ranked, frame.limits.criteria, row, options, snapshot.beliefs_on(query.task))


def confidence(chosen: Candidate, runner_up: Candidate | None) -> float:
    """How sure the policy is of ``chosen``, in [0, 1]; the formula is in the module's docstring."""
    known = chosen.samples / (chosen.samples + CONFIDENT_SAMPLES)
    gap = CONFIDENT_GAP if runner_up is None else (chosen.score or 0.0) - (runner_up.score or 0.0)
    return known * (0.5 + 0.5 * min(1.0, max(0.0, gap) / CONFIDENT_GAP))


def _by_name(snapshot: PolicySnapshot, query: Query, frame: _Frame, candidates: list[Candidate]) -> Choice:
    able = [c for c in candidates if c.dropped is None]
    if not able:
        raise no_candidate(query.task, query.refs, _checks(snapshot, query, frame))
    chosen = able[0]
    return Choice(
        task=query.task,
        strategy="requested",
        chosen=chosen.ref,
        propensity=1.0,
        fallbacks=tuple(c.ref for c in able[1:]),
        reason="; ".join(("requested by name", *chosen.flags)),
        confidence=1.0,
        candidates=tuple(candidates),
        expected=_expected(snapshot, query.task, chosen.ref),
    )


def _frame(snapshot: PolicySnapshot, query: Query) -> _Frame:
    spec = snapshot.tasks.get(query.task) or TaskSpec(name=query.task)
    criteria, notes = _sharpened(snapshot, spec, query)
    split = snapshot.splits.get(query.task)
    by_learning = spec.strategy == learned.STRATEGY
    if by_learning:
        strategy, weights = learned.STRATEGY, None
    else:
        strategy, weights = weights_for(spec.strategy, criteria.preference, snapshot.weights)
    limits = Limits(
        criteria=criteria,
        memory_budget_bytes=snapshot.memory_budget_bytes,
        hardware=snapshot.hardware,
        by_name=query.refs is not None,
        canary=None if split is None or query.refs is not None else split.candidate,
    )
    if not by_learning:
        return _Frame(limits, strategy, weights, snapshot.hour, 0.0, notes)
    share = EXPLORATION if spec.exploration is None else spec.exploration
    return _Frame(limits, strategy, None, 0.0, 0.0 if query.refs is not None else share, notes)


def _sharpened(snapshot: PolicySnapshot, spec: TaskSpec, query: Query) -> tuple[Criteria, tuple[str, ...]]:
    """The criteria of task and request, with lessons in the places both leave open, and what was added in words."""
    criteria = merge(spec.criteria, query)
    lessons = snapshot.lessons.get(query.task)
    if not lessons or query.refs is not None:
        return criteria, ()
    if spec.criteria.preference is not None:  # "balanced" counts as set, although merging makes it None
        lessons = {name: lesson for name, lesson in lessons.items() if name != "preference"}
    return enhance_criteria(criteria, lessons)


def merge(base: Criteria, query: Query) -> Criteria:
    """The task's criteria with those of the request laid over them."""
    over = query.criteria or Criteria()
    preference = over.preference or base.preference
    return Criteria(
        capabilities=base.capabilities | over.capabilities | query.needs,
        min_quality=base.min_quality if over.min_quality is None else over.min_quality,
        max_latency_ms=base.max_latency_ms if over.max_latency_ms is None else over.max_latency_ms,
        max_memory_mb=base.max_memory_mb if over.max_memory_mb is None else over.max_memory_mb,
        hardware=base.hardware if over.hardware is None else over.hardware,
        # An explicit "balanced" from the caller overrides the task; alone it leaves the strategy as configured.
        preference=None if preference is Preference.BALANCED and over.preference is None else preference,
        min_context=max(base.min_context, over.min_context, query.min_context),
        max_quality_loss=base.max_quality_loss if over.max_quality_loss is None else over.max_quality_loss,
        soft=over.soft | {name for name in base.soft if getattr(over, name, None) is None},
    )


def _candidates(
    snapshot: PolicySnapshot, query: Query, frame: _Frame, previous: tuple[PolicySnapshot, Choice] | None
) -> list[Candidate]:
    """In the order asked for when the caller named versions, else in the order of the snapshot."""
    row = snapshot.evidence.get(query.task, _NO_EVIDENCE)
    beliefs = snapshot.beliefs_on(query.task) if frame.weights is None else _NO_BELIEFS
    old_beliefs = beliefs
    options: tuple[Option, ...] = snapshot.options
    if query.refs is not None:
        by_ref = {option.ref: option for option in options}
        options = tuple(by_ref[ref] for ref in query.refs if ref in by_ref)
    known: dict[str, Candidate] = {}
    before: dict[str, Option] = {}
    old_row: Mapping[str, Evidence] = _NO_EVIDENCE
    if previous is not None and _frame(previous[0], query) == frame:
        old, choice = previous
        known = {c.ref: c for c in choice.candidates}
        before = {option.ref: option for option in old.options}
        old_row = old.evidence.get(query.task, _NO_EVIDENCE)
        old_beliefs = old.beliefs_on(query.task) if frame.weights is None else _NO_BELIEFS
    result = []
    for option in options:
        ref = option.ref
        same = before.get(ref) is option and old_row.get(ref) is row.get(ref)
        if ref in known and same and old_beliefs.get(ref) is beliefs.get(ref):
            result.append(known[ref])
        else:
            result.append(_judge(option, row.get(ref), beliefs.get(ref), frame))
    return result


def _judge(option: Option, evidence: Evidence | None, belief: Belief | None, frame: _Frame) -> Candidate:
    verdict = check(option, evidence, frame.limits, belief)
    if frame.weights is None:
        return learned.judge(option, evidence, belief, verdict)
    value, parts = score(evidence, frame.limits.criteria, option.footprint_bytes, frame.weights, frame.now)
    return Candidate(
        ref=option.ref,
        score=value,
        terms=parts,
        samples=0 if evidence is None else evidence.samples,
        dropped=verdict.dropped,
        flags=verdict.flags,
    )


def _checks(snapshot: PolicySnapshot, query: Query, frame: _Frame) -> dict[str, Check]:
    row = snapshot.evidence.get(query.task, _NO_EVIDENCE)
    beliefs = snapshot.beliefs_on(query.task) if frame.weights is None else _NO_BELIEFS
    asked = None if query.refs is None else frozenset(query.refs)
    return {
        option.ref: check(option, row.get(option.ref), frame.limits, beliefs.get(option.ref))
        for option in snapshot.options
        if asked is None or option.ref in asked
    }


def _expected(snapshot: PolicySnapshot, task: str, ref: str) -> Expected:
    evidence = snapshot.evidence.get(task, _NO_EVIDENCE).get(ref)
    if evidence is None or evidence.samples == 0:
        return Expected()
    return Expected(
        quality=history.mean_quality(evidence),
        latency_ms=history.mean_latency_ms(evidence),
        memory_mb=memory_mb(evidence, None),
        samples=evidence.samples,
    )
