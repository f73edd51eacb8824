"""The error budgets of the tasks that have objectives: fed from the recorder, read back from the store at start.

Owns the budgets. Opens no alerts. Time is the clock that does not jump; what earlier runs recorded is put at its age.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from podium.core.history import CLIENT_LEFT
from podium.core.objectives import HOUR, MINUTE, Budget, Objectives, Standing, Turn
from podium.domain.alert import Aspect
from podium.ports import AlertStore, Clock
from podium.services.learner import WEIGHTS

EXCUSED = frozenset(
    {
        CLIENT_LEFT,
        "budget_busy",
        "budget_deferred",
        "context_length_exceeded",
        "insufficient_quota",
        "not_supported",
        "provider_rejected",
    }
)
"""Errors of the caller's own doing. That there was no room for a request is our failure."""
LOOKED_AT = 100
"""Budgets that one look goes through, some 10 ms; the next look goes on behind them."""
_REMEMBERED = 10_000


class Budgets:
    """One per gateway. ``live``: by task. A fallback makes up for the attempt before it; both are one request."""

    def __init__(self, *, store: AlertStore, clock: Clock, objectives: Mapping[str, Objectives]) -> None:
        self._store = store
        self._clock = clock
        self.objectives = dict(objectives)
        now = clock.monotonic()
        self.live = {task: Budget(one, now) for task, one in self.objectives.items()}
        self._turn: deque[str] = deque(self.live)
        self._excused: deque[str] = deque(maxlen=_REMEMBERED)
        self._excused_ids: set[str] = set()

    def excuse(self, decision_id: str) -> None:
        """A fallback of this attempt is the first that counts."""
        if len(self._excused) == _REMEMBERED:
            self._excused_ids.discard(self._excused[0])
        self._excused.append(decision_id)
        self._excused_ids.add(decision_id)

    def excused(self, decision_id: str) -> bool:
        """It failed by the caller's own doing."""
        return decision_id in self._excused_ids

    def scored(self, task: str, value: float, weight: float) -> None:
        """An answer was scored, in [0, 1]."""
        budget = self.live.get(task)
        if budget is not None:
            budget.score(self._clock.monotonic(), value, weight)

    def look(self) -> Iterator[tuple[str, Turn]]:
        """Budgets that began to burn, or do so no more."""
        now = self._clock.monotonic()
        for _ in range(min(LOOKED_AT, len(self._turn))):
            task = self._turn[0]
            self._turn.rotate(-1)
            for turn in self.live[task].look(now):
                yield task, turn

    def resume(self, task: str, aspect: Aspect, speed: str) -> bool:
        """Its alert was open when the last run ended; False: there is no such objective now."""
        budget = self.live.get(task)
        if budget is None or aspect not in budget.objectives.allowed():
            return False
        budget.resume(aspect, speed, self._clock.monotonic())
        return True

    def standings(self) -> Mapping[str, tuple[Standing, ...]]:
        """Every objective, by task."""
        now = self._clock.monotonic()
        return {task: budget.standings(now) for task, budget in sorted(self.live.items())}

    async def configure(self, objectives: Mapping[str, Objectives]) -> frozenset[str]:
        """Put others in force; returns the tasks whose objectives are others now or gone."""
        changed = frozenset(
            task
            for task in self.objectives.keys() | objectives.keys()
            if self.objectives.get(task) != objectives.get(task)
        )
        now = self._clock.monotonic()
        self.objectives = dict(objectives)
        for task in changed:
            self.live.pop(task, None)
            if task in objectives:
                self.live[task] = Budget(objectives[task], now)
        self._turn = deque(self.live)
        await self._recall([task for task in objectives if task in changed])
        return changed

    async def recall(self) -> None:
        """Read what earlier runs recorded. Raises ``StoreError``."""
        await self._recall(list(self.live))

    async def _recall(self, tasks: list[str]) -> None:
        by_window: dict[float, list[str]] = {}
        for task in tasks:
            by_window.setdefault(self.objectives[task].window_s, []).append(task)
        for window_s, group in by_window.items():
            await self._remember(group, window_s, window_s / 120.0, days=True)
        if tasks:
            await self._remember(tasks, 6 * HOUR, MINUTE, days=False)

    async def _remember(self, tasks: list[str], span_s: float, piece_s: float, *, days: bool) -> None:
        wall, now = self._clock.now(), self._clock.monotonic()
        pieces = await self._store.recorded_pieces(
            {task: self.objectives[task].latency_ms for task in tasks},
            wall - span_s,
            piece_s,
            excused=sorted(EXCUSED),
            weights=WEIGHTS,
        )
        for piece in pieces:
            budget = self.live.get(piece.task)
            if budget is not None:
                budget.remember(now - max(0.0, wall - piece.at), piece.sums, days=days)
