"""Sorts what was observed of requests into the arms of the open rollouts.

Counts only what the division of the traffic assigned: requests of the arm's own version, drawn or kept in their
conversation while the rollout divided the task; fallbacks, requests by name and those the candidate could not serve say
nothing about the comparison. Feedback counts when its request did. Bounded; what it forgot it looks up in the store.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import structlog

from podium.core.arms import Sample
from podium.core.history import NOT_ITS_DOING
from podium.core.selection import CANARY
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.rollout import Arm, Rollout
from podium.errors import PodiumError
from podium.ports import Store
from podium.services.learner import WEIGHTS
from podium.services.rollouts.driven import Driven

REMEMBERED = 50_000
"""Newest counted requests over all rollouts."""
WAITING = 2_000
"""Feedback on older requests that waits to be looked up."""
LOOKED_UP = 50
"""At most so many of them per round."""
_SESSION = "session"
_log = structlog.get_logger("podium.rollouts")


class Gathering:
    """``on`` is the open rollout of a task."""

    def __init__(self, store: Store, on: Callable[[str], Driven | None]) -> None:
        self._store = store
        self._on = on
        self._counted: OrderedDict[str, tuple[str, Arm]] = OrderedDict()
        self._waiting: deque[tuple[Feedback, Feedback | None]] = deque(maxlen=WAITING)

    def observed(self, pairs: Sequence[tuple[Decision, Outcome]]) -> None:
        """Attempts that ended. Quick; called by the recorder after it folded them."""
        for decision, outcome in pairs:
            driven = self._on(outcome.task)
            if driven is None or outcome.error in NOT_ITS_DOING:
                continue
            arm = arm_of(driven.rollout, decision)
            if arm is None:
                continue
            driven.observe(arm, _sample(decision, outcome))
            self._counted[decision.id] = (driven.rollout.id, arm)
            if len(self._counted) > REMEMBERED:
                self._counted.popitem(last=False)

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """Somebody scored an answer, in the place of ``earlier`` if that is given. Quick."""
        driven = self._on(given.task)
        if driven is None or given.score is None:
            return
        if given.ref not in (driven.rollout.baseline, driven.rollout.candidate):
            return
        known = self._counted.get(given.decision_id)
        if known is None:
            self._waiting.append((given, earlier))
        elif known[0] == driven.rollout.id:
            _count(driven, known[1], given, earlier)

    async def look_up(self) -> None:
        """Decide about feedback on requests nobody remembers (from before a restart) by what the store has of them."""
        for _ in range(min(LOOKED_UP, len(self._waiting))):
            given, earlier = self._waiting.popleft()
            try:
                found = await self._store.find_decisions(given.request_id)
            except PodiumError as error:
                self._waiting.appendleft((given, earlier))
                _log.warning("feedback waits for the store", error=error.message)
                return
            driven = self._on(given.task)
            decision = next((decision for decision, _ in found if decision.id == given.decision_id), None)
            if driven is None or decision is None:
                continue
            arm = arm_of(driven.rollout, decision)
            if arm is not None:
                _count(driven, arm, given, earlier)


def arm_of(rollout: Rollout, decision: Decision) -> Arm | None:
    """The arm a request belongs to, by its own record; ``None`` when the rollout did not assign it."""
    choice = decision.choice
    if choice.rollout != rollout.id:
        return None
    if choice.strategy not in (CANARY, _SESSION) or decision.served != choice.chosen or choice.exploration <= 0:
        return None
    match decision.served:
        case rollout.baseline:
            return Arm.BASELINE
        case rollout.candidate:
            return Arm.CANDIDATE
        case _:
            return None


def _sample(decision: Decision, outcome: Outcome) -> Sample:
    return Sample(
        success=outcome.success,
        latency_ms=outcome.latency_ms if outcome.success else None,
        memory_mb=outcome.cost.held_memory_mb,
        energy_mwh=outcome.cost.energy_mwh,
        propensity=decision.propensity,
        kept=decision.choice.strategy == _SESSION,
    )


def _count(driven: Driven, arm: Arm, given: Feedback, earlier: Feedback | None) -> None:
    assert given.score is not None
    weight = WEIGHTS.get(given.source, 1.0) * given.weight
    if earlier is not None and earlier.score is not None:
        driven.score(arm, earlier.score, -weight, given.source)
    driven.score(arm, given.score, weight, given.source)
