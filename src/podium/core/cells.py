"""The evidence of every (task, arm) cell as one table that grows: sums of scores, and the watch for changes.

Owns what was observed and its forgetting. Must not know the model, nor choose. A cell whose change was noticed starts
anew with the scores since the change, and from then on forgets a little with every other request of its task, so that
a version that recovers is found again; all other cells forget nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from podium.core.change import SLOTS, watch

Array = NDArray[np.float64]

MEMORY = 0.997
"""What a cell that changed once keeps with every request of its task that goes elsewhere."""


class Cells:
    """Arrays of shape (tasks, arms), larger than what is used; rows and columns are met in order."""

    def __init__(self, max_tasks: int, max_arms: int) -> None:
        self.tasks: dict[str, int] = {}
        self.arms: dict[str, int] = {}
        self.max_tasks, self.max_arms = max_tasks, max_arms
        self.n = np.zeros((4, 4))
        """Weight of the evidence, in observations."""
        self.total = np.zeros((4, 4))
        self.squares = np.zeros((4, 4))
        self.watched = np.zeros((4, 4, SLOTS))
        self.changed = np.zeros((4, 4))
        """1 where a change was noticed."""
        self._forgetting: dict[int, Array] = {}
        """What each cell of a task keeps per request; only tasks with a changed cell."""

    @property
    def used(self) -> tuple[slice, slice]:
        """The part of the arrays with names."""
        return slice(len(self.tasks)), slice(len(self.arms))

    def place(self, task: str, arm: str) -> tuple[int, int]:
        """Row and column, made when they are new. Raises ``ValueError`` when there is no room for more names."""
        k, m = self.tasks.get(task, -1), self.arms.get(arm, -1)
        if k >= 0 and m >= 0:
            return k, m
        if k < 0 and len(self.tasks) >= self.max_tasks:
            raise ValueError(f"{self.max_tasks} tasks are known, which is the most: {task!r} is not learned about")
        if m < 0 and len(self.arms) >= self.max_arms:
            raise ValueError(f"{self.max_arms} arms are known, which is the most: {arm!r} is not learned about")
        k, m = self.tasks.setdefault(task, len(self.tasks)), self.arms.setdefault(arm, len(self.arms))
        rows, columns = self.n.shape
        self.grow(2 * rows if k >= rows else rows, 2 * columns if m >= columns else columns)
        return k, m

    def add(self, k: int, m: int, score: float, weight: float) -> None:
        """One more score; changed cells of the task that were not asked forget a little."""
        keep = self._forgetting.get(k)
        if keep is not None:
            here = self.n[k, m], self.total[k, m], self.squares[k, m]
            for stat in (self.n, self.total, self.squares):
                stat[k] *= keep
            self.n[k, m], self.total[k, m], self.squares[k, m] = here
        self.n[k, m] += weight
        self.total[k, m] += weight * score
        self.squares[k, m] += weight * score * score

    def watch(self, k: int, m: int, z: float, score: float, weight: float, phi: float) -> bool:
        """Look for a change after ``add``; the cell starts anew when there is one."""
        memory = self.watched[k, m].tolist()
        found = watch(memory, z, score, weight, float(self.n[k, m]), float(self.total[k, m]), phi)
        self.watched[k, m] = memory
        if found is None:
            return False
        self.n[k, m], self.total[k, m], self.squares[k, m] = found
        self.changed[k, m] = 1.0
        self.remember()
        return True

    def replace(self, k: int, m: int, old: float, new: float, weight: float) -> None:
        """Put ``new`` in the place of ``old``; what was forgotten of it stays forgotten and sums stay possible ones."""
        n = float(self.n[k, m])
        held = min(weight, n)
        total = min(n, max(0.0, float(self.total[k, m]) + held * (new - old)))
        squares = float(self.squares[k, m]) + held * (new * new - old * old)
        self.total[k, m] = total
        self.squares[k, m] = min(total, max(total * total / n, squares))

    def remember(self) -> None:
        """Derive what is forgotten from ``changed``."""
        self._forgetting = {
            int(k): np.where(self.changed[k] > 0, MEMORY, 1.0) for k in np.flatnonzero(self.changed.any(axis=1))
        }

    def grow(self, tasks: int, arms: int) -> None:
        """Make room for this many rows and columns; never less than before."""
        if (tasks, arms) == self.n.shape:
            return

        def wider(old: Array) -> Array:
            new = np.zeros((tasks, arms, *old.shape[2:]))
            new[: old.shape[0], : old.shape[1]] = old
            return new

        self.n, self.total, self.squares = wider(self.n), wider(self.total), wider(self.squares)
        self.watched, self.changed = wider(self.watched), wider(self.changed)
        self.remember()
