"""Moves tasks on behalf of everything that does so without a person asking: auto-swap, rules, tasks that follow a model.

Owns the pause between two such moves of a task, which version would be the next best, and which are passed over: barred
after a roll back, left because they fell short, or tried in vain. Decides nothing and watches nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from podium.core.autoswap import AutoSwapRules, Cooldowns, passes
from podium.core.history import mean_quality
from podium.domain.model import Capability
from podium.domain.rollout import Bar, Rollout, RolloutMode, RolloutPlan, RolloutState
from podium.domain.swap import Event
from podium.domain.task import Binding
from podium.errors import NoCandidate, PodiumError
from podium.ports import Clock, Page
from podium.services.policy import Policy
from podium.services.registry import Registry
from podium.services.swap import Swapper

AUTOSWAP = "autoswap"
RULE = "rule:"
"""Begins who ordered a swap for a rule; the rule's name follows."""
FOLLOW = "follow"
OFFERED = 3
"""Alternatives that are looked for."""
LOOKED_AT = 50
HURRIED = 3
"""Requests on the task that a candidate must have had before its rollout is hurried."""
FAILED_S = 3600.0
"""How long a version that could not take over is not tried again."""


class Rolling(Protocol):
    """What is needed of rollouts."""

    async def order(
        self, task: str, to: str, plan: RolloutPlan, *, by: str, reason: str = "", batch: str | None = None
    ) -> Rollout:
        """Begin one; it goes on in the background. Raises ``NotFound``, ``Conflict``, ``InvalidRequest``."""
        ...

    async def command(self, rollout_id: str, order: str, *, by: str, reason: str = "") -> Rollout:
        """Promote it, and the like. Raises ``NotFound``, ``Conflict``, and what keeps the candidate from taking over."""
        ...

    def on(self, task: str) -> Rollout | None:
        """The open one of a task."""
        ...

    async def find(self, rollout_id: str) -> Rollout:
        """Raises ``NotFound``."""
        ...

    async def listed(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        """Newest first."""
        ...

    def barred(self, task: str, ref: str, samples: int) -> Bar | None:
        """Why a version is left alone on a task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """Versions that could take over, best first, and why others could not."""

    refs: tuple[str, ...]
    passed_over: Mapping[str, str]

    @property
    def why_none(self) -> str:
        """In words."""
        return "; ".join(f"{ref}: {why}" for ref, why in self.passed_over.items()) or "there is no other active version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of an order. ``id`` is of the swap or the rollout."""

    ok: bool
    to: str
    id: str | None = None
    error: str | None = None


class Steering:
    """One per gateway. ``plan`` says how gradual moves go; it may be replaced at any time."""

    def __init__(
        self,
        *,
        swapper: Swapper,
        rollouts: Rolling,
        policy: Policy,
        registry: Registry,
        clock: Clock,
        emit: Callable[[Event], None],
        plan: RolloutPlan,
        bindings: Iterable[Binding] = (),
    ) -> None:
        self._swapper = swapper
        self._rollouts = rollouts
        self._policy = policy
        self._registry = registry
        self._clock = clock
        self._emit = emit
        self.plan = plan
        self.cooldowns = Cooldowns()
        self._left: dict[tuple[str, str], int] = {}
        self._failed: dict[tuple[str, str], float] = {}
        self._ordered: dict[str, str] = {}
        self._seen: dict[str, Binding] = {}
        for binding in bindings:
            self._seen[binding.task] = binding
            self._moved(binding, max(0.0, clock.now() - binding.since))

    # ------------------------------------------------------------ who serves

    def serving(self, task: str) -> Binding | None:
        """Where a task is bound now."""
        binding = self._swapper.binding(task)
        if binding is not None and self._seen.get(task) != binding:
            self._seen[task] = binding
            self._moved(binding, 0.0)
        return binding

    def _moved(self, binding: Binding, ago_s: float) -> None:
        """A move nobody asked for begins a pause, and what was left for falling short is not gone back to at once."""
        if not automatic(binding.by):
            return
        self.cooldowns.start(binding.task, self._clock.monotonic() - ago_s)
        if binding.by == AUTOSWAP and binding.previous:
            left = binding.previous[0]
            self._left[binding.task, left] = self._samples(binding.task, left)

    def open(self, task: str) -> Rollout | None:
        """The rollout that is deciding about a task now."""
        return self._rollouts.on(task)

    def pause_left(self, task: str, cooldown_s: float) -> float:
        """Seconds until the task may be moved again without a person asking."""
        self.serving(task)
        return self.cooldowns.left(task, cooldown_s, self._clock.monotonic())

    # ------------------------------------------------------------ who could

    async def alternatives(self, task: str, rules: AutoSwapRules, wanted: float | None) -> Alternatives:
        """The versions the policy would choose if the one that serves were not there. Changes nothing.

        Passed over are versions that are barred, that were left or tried in vain, and that would themselves call for a
        replacement by ``rules`` and ``wanted`` (the quality asked for).
        """
        serving = self.serving(task)
        version = None if serving is None else self._registry.find(serving.ref)
        known = frozenset({Capability.CHAT.value})
        needs = known if version is None else known & version.facts.capabilities
        await self._note_failure(task)
        refs: list[str] = []
        passed_over: dict[str, str] = {}
        without = set() if serving is None else {serving.ref}
        while len(refs) < OFFERED and len(without) < LOOKED_AT:
            try:
                ref = self._policy.best(task, needs=needs, without=frozenset(without)).chosen
            except NoCandidate as error:
                dropped = error.details.get("dropped")
                if isinstance(dropped, dict):
                    passed_over |= {str(ref): str(why) for ref, why in dropped.items()}
                break
            without.add(ref)
            why = self._against(task, ref, rules, wanted)
            if why is None:
                refs.append(ref)
            else:
                passed_over[ref] = why
        return Alternatives(refs=tuple(refs), passed_over=passed_over)

    def _against(self, task: str, ref: str, rules: AutoSwapRules, wanted: float | None) -> str | None:
        samples = self._samples(task, ref)
        bar = self._rollouts.barred(task, ref, samples)
        if bar is not None:
            return f"barred since it was rolled back ({bar.reason})"
        left = self._left.get((task, ref))
        if left is not None and samples < left + rules.min_samples:
            return f"left for falling short, {samples - left} of {rules.min_samples} new samples since"
        if self._clock.monotonic() < self._failed.get((task, ref), -1.0):
            return "could not take over within the last hour"
        evidence = self._policy.evidence(task, ref)
        belief = self._policy.beliefs_on(task).get(ref)
        if evidence is None:
            return None
        success = belief.success if belief is not None else evidence.successes / max(1, evidence.samples)
        if not passes(evidence.samples, round(success * evidence.samples), rules):
            return f"answers {success:.0%} of its requests on this task itself"
        quality = mean_quality(evidence)
        if belief is not None and belief.weight >= rules.min_samples:
            quality = belief.mean
        if wanted is not None and quality is not None and evidence.quality_samples >= rules.min_samples:
            limit = rules.quality_ratio * wanted
            if quality < limit:
                return f"its own quality of {quality:.3f} is below {limit:.3f}"
        return None

    def _samples(self, task: str, ref: str) -> int:
        evidence = self._policy.evidence(task, ref)
        return 0 if evidence is None else evidence.samples

    async def _note_failure(self, task: str) -> None:
        """A rollout that failed before it could be judged says that its candidate cannot take over."""
        ordered = self._ordered.get(task)
        if ordered is None:
            return
        rollout = await self._rollouts.find(ordered)
        if not rollout.open:
            del self._ordered[task]
            if rollout.state is RolloutState.FAILED:
                self._failed[task, rollout.candidate] = self._clock.monotonic() + FAILED_S

    # ------------------------------------------------------------ moving

    async def move(self, task: str, to: str, *, immediate: bool, by: str, reason: str) -> Moved:
        """Order it, and begin the pause. An immediate swap is over when this returns, a gradual one has begun."""
        self.cooldowns.start(task, self._clock.monotonic())
        try:
            if not immediate:
                rollout = await self._rollouts.order(task, to, self.plan, by=by, reason=reason)
                self._ordered[task] = rollout.id
                return Moved(ok=True, to=to, id=rollout.id)
            swap = await self._swapper.swap(task, to, by=by, reason=reason)
        except PodiumError as error:
            return Moved(ok=False, to=to, error=error.message)
        if not swap.ok:
            self._failed[task, to] = self._clock.monotonic() + FAILED_S
            return Moved(ok=False, to=to, id=swap.id, error=swap.error or "it did not take over")
        self.serving(task)
        self.cooldowns.start(task, self._clock.monotonic())
        return Moved(ok=True, to=to, id=swap.id)

    def may_hurry(self, rollout: Rollout, rules: AutoSwapRules, wanted: float | None) -> bool:
        """Whether the candidate of a gradual rollout could take over at once: it serves already, and well so far."""
        gradual = rollout.plan.mode is RolloutMode.GRADUAL and rollout.routed
        evidence = self._policy.evidence(rollout.task, rollout.candidate)
        if not gradual or evidence is None or evidence.samples < HURRIED:
            return False
        well = evidence.successes >= rules.min_success * evidence.samples
        return well and self._against(rollout.task, rollout.candidate, rules, wanted) is None

    async def hurry(self, rollout: Rollout, *, by: str, reason: str) -> Moved:
        """Promote a gradual rollout now: what serves hardly answers any more."""
        self.cooldowns.start(rollout.task, self._clock.monotonic())
        try:
            await self._rollouts.command(rollout.id, "promote", by=by, reason=reason)
        except PodiumError as error:
            return Moved(ok=False, to=rollout.candidate, id=rollout.id, error=error.message)
        self.serving(rollout.task)
        return Moved(ok=True, to=rollout.candidate, id=rollout.id)

    def say(self, kind: str, task: str, **data: str | float | bool | None) -> None:
        """Publish an event about a task."""
        self._emit(Event(kind=kind, at=self._clock.now(), subject=task, data=tuple(data.items())))


def automatic(by: str) -> bool:
    """Whether whoever ordered a swap is one of those served here, and no person."""
    return by in {AUTOSWAP, FOLLOW} or by.startswith(RULE)
