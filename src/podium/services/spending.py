"""Adds up what operations cost, by the hour, task, version and cause, and keeps operations until they are durable.

Owns the sums of the newest hours, whole. A clock that goes back behind them does not open an old hour again: what is
spent then counts in the oldest hour that is still here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from podium.core.spending import hour_of, spend_all
from podium.domain.cost import Cause, Cost, Operation, SpentKey, SpentRow
from podium.domain.decision import Outcome

HOURS = 48
"""Hours whose sums are kept here: those with work, not those on the clock."""
CAPACITY = 50_000
AT_ONCE = 2_000


class Spending:
    """One per recorder, used from its event loop only. ``known``: the newest sums on record."""

    def __init__(self, known: Mapping[SpentKey, SpentRow] | None = None, capacity: int = CAPACITY) -> None:
        self._rows: dict[int, dict[SpentKey, SpentRow]] = {}
        for key, row in (known or {}).items():
            self._rows.setdefault(key.hour, {})[key] = row
        self._dirty: set[SpentKey] = set()
        self._operations: deque[Operation] = deque(maxlen=capacity)
        self.dropped = 0
        """Operations that nobody could store in time; the sums have them all the same."""
        self._shrink()

    def outcomes(self, outcomes: Iterable[Outcome], now: float) -> None:
        """Attempts ended."""
        groups: defaultdict[tuple[str, str, Cause], list[tuple[Cost, bool]]] = defaultdict(list)
        for outcome in outcomes:
            groups[outcome.task, outcome.ref, outcome.cost.cause].append((outcome.cost, outcome.success))
        for (task, ref, cause), spent in groups.items():
            self._add(task, ref, cause, spent, now)

    def operation(self, done: Operation, now: float) -> None:
        """Work without a decision ended."""
        self.dropped += len(self._operations) == self._operations.maxlen
        self._operations.append(done)
        self._add(done.task, done.ref, done.cost.cause, [(done.cost, done.success)], now)

    def recent(self) -> Mapping[SpentKey, SpentRow]:
        """The sums that are here, durable or not."""
        return {key: row for hour in self._rows.values() for key, row in hour.items()}

    @property
    def unsaved(self) -> bool:
        """Whether ``take`` would give something."""
        return bool(self._dirty or self._operations)

    def take(self) -> tuple[list[Operation], dict[SpentKey, SpentRow]]:
        """What is not durable yet; give it to ``put_back`` when storing it failed."""
        operations = [self._operations.popleft() for _ in range(min(len(self._operations), AT_ONCE))]
        dirty, self._dirty = self._dirty, set()
        return operations, {key: self._rows[key.hour][key] for key in dirty}

    def put_back(self, operations: Sequence[Operation], keys: Iterable[SpentKey]) -> None:
        """These could not be stored."""
        room = (self._operations.maxlen or 0) - len(self._operations)
        kept = operations[max(0, len(operations) - room) :]
        self.dropped += len(operations) - len(kept)
        self._operations.extendleft(reversed(kept))
        self._dirty.update(key for key in keys if key.hour in self._rows)

    def _add(self, task: str, ref: str, cause: Cause, spent: Sequence[tuple[Cost, bool]], now: float) -> None:
        hour = hour_of(now)
        if hour not in self._rows:
            hour = self._open(hour)
        key = SpentKey(hour, task, ref, cause)
        rows = self._rows[hour]
        rows[key] = spend_all(rows.get(key) or SpentRow(), spent)
        self._dirty.add(key)

    def _open(self, hour: int) -> int:
        """A new hour, or the oldest one here for a time before it whose sums may be on record."""
        if self._rows and hour < min(self._rows):
            return min(self._rows)
        self._shrink()
        self._rows[hour] = {}
        return hour

    def _shrink(self) -> None:
        """Forget the oldest hours that are durable."""
        waiting = {key.hour for key in self._dirty}
        for hour in sorted(self._rows)[:-HOURS]:
            if hour not in waiting:
                del self._rows[hour]
