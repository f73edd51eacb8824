"""Requests that named an execution before its start was heard of: starts come in batches, requests at once.

Owns them until the start comes, bounded in number and time. Must not change executions.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from podium.core import executions as rules
from podium.domain.decision import Decision, Outcome
from podium.domain.execution import Execution

WAIT_S = 60.0
MOST = 10_000
"""Executions waited for."""
SHOWN = 10


class EarlyRequests:
    """One per tracker. Until a start comes, its requests count as unjoined."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting: OrderedDict[str, tuple[float, list[Decision | Outcome]]] = OrderedDict()
        self._newest: deque[tuple[str, str]] = deque(maxlen=SHOWN)
        self.unjoined = 0
        """Routing decisions whose execution is not known, those that wait for its start included."""

    def began(self, execution_id: str, decision: Decision) -> None:
        """A request of an unknown execution goes to a version."""
        self.unjoined += 1
        self._newest.append((execution_id, decision.request_id))
        _, noted = self._waiting.setdefault(execution_id, (self._monotonic() + WAIT_S, []))
        if len(noted) < rules.ROUTED:
            noted.append(decision)
        if len(self._waiting) > MOST:
            self._waiting.popitem(last=False)

    def ended(self, execution_id: str, outcome: Outcome) -> None:
        """One of its attempts ended."""
        waiting = self._waiting.get(execution_id)
        if waiting is not None:
            waiting[1].append(outcome)

    def joined(self, execution: Execution) -> Execution:
        """The execution, started only now, with the requests that waited for it."""
        self.expire()
        _, noted = self._waiting.pop(execution.id, (0.0, []))
        for one in noted:
            if isinstance(one, Decision):
                execution = rules.joined(execution, one)
                self.unjoined -= 1
                if (execution.id, one.request_id) in self._newest:
                    self._newest.remove((execution.id, one.request_id))
            else:
                execution = rules.ended(execution, one)
        return execution

    def expire(self) -> None:
        """Forget what waited too long."""
        now = self._monotonic()
        while self._waiting and next(iter(self._waiting.values()))[0] <= now:
            self._waiting.popitem(last=False)

    def newest(self) -> tuple[tuple[str, str], ...]:
        """(execution id, request id) of the newest that joined nothing, newest first."""
        return tuple(reversed(self._newest))
