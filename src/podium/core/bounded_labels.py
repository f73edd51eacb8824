"""Names for what is counted, a bounded number of them: ten thousand task names must not become ten thousand series."""

from __future__ import annotations

MOST_TASKS = 100
MOST_PAIRS = 1_000
OTHER = "other"


class Labels:
    """Gives names to what is counted, and ``other`` to what comes after so many."""

    def __init__(self, most_tasks: int = MOST_TASKS, most_pairs: int = MOST_PAIRS) -> None:
        self._most_tasks = most_tasks
        self._most_pairs = most_pairs
        self._tasks: set[str] = set()
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}

    def task(self, name: str) -> str:
        """``name``, or ``other``."""
        if name not in self._tasks:
            if len(self._tasks) >= self._most_tasks:
                return OTHER
            self._tasks.add(name)
        return name

    def pair(self, task: str, ref: str) -> tuple[str, str]:
        """(task, model)."""
        known = self._pairs.get((task, ref))
        if known is None:
            if len(self._pairs) >= self._most_pairs:
                return OTHER, OTHER
            known = self._pairs[task, ref] = (self.task(task), ref)
        return known
