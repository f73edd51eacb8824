"""Who waits to be judged, in the order they came: a line for each task, so that a task that must wait costs one look.

Owns the order and the count of those that had to wait; knows nothing of texts, of disks or of why a task must wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from podium.domain.judging import Waiting


@dataclass(slots=True)
class _Line:
    places: OrderedDict[str, tuple[int, Waiting]] = field(default_factory=OrderedDict)
    fresh: int = 0
    """Of those at its end, how many came since it was last held up."""


class Lines:
    """Used from one event loop."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._task: dict[str, str] = {}
        self._next = 0
        self.held_up = 0
        """Answers whose task had to wait while they were in line, each counted once."""

    def __len__(self) -> int:
        return len(self._task)

    def __contains__(self, decision_id: str) -> bool:
        return decision_id in self._task

    def __iter__(self) -> Iterator[Waiting]:
        """Everybody, task by task; what is taken out meanwhile makes no difference."""
        return iter([one for line in self._lines.values() for _, one in line.places.values()])

    def put(self, one: Waiting, *, again: bool = False) -> None:
        """Last in line; who waits already keeps the place and gets the new entry. ``again``: it had its turn before."""
        line = self._lines.get(one.task)
        if line is None:
            line = self._lines[one.task] = _Line()
        known = line.places.get(one.decision_id)
        if known is None:
            self.take(one.decision_id)
            line = self._lines.setdefault(one.task, line)
            self._task[one.decision_id] = one.task
            line.fresh += not again
            self._next += 1
        line.places[one.decision_id] = (self._next if known is None else known[0], one)

    def take(self, decision_id: str) -> Waiting | None:
        """Out of the line; ``None`` for one that is not in it."""
        task = self._task.pop(decision_id, None)
        if task is None:
            return None
        line = self._lines[task]
        _, one = line.places.pop(decision_id)
        if not line.places:
            del self._lines[task]
        return one

    def first(self, able: Callable[[str], bool]) -> Waiting | None:
        """Who came first among the tasks that ``able`` allows; it stays in line."""
        best: tuple[int, Waiting] | None = None
        for task, line in self._lines.items():
            if not able(task):
                self.held_up += min(line.fresh, len(line.places))
                line.fresh = 0
                continue
            head = next(iter(line.places.values()))
            if best is None or head[0] < best[0]:
                best = head
        return None if best is None else best[1]
