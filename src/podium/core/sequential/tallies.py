"""What is remembered of the values of two arms: sums by cell, never the values.

Owns the sums and how many cells there may be. Must not interpret them.

A cell is one kind of prompt during one phase of a rollout. Phases are told apart because the share of traffic changes
between them: the candidate gets more of the late prompts than of the early ones, and if those differ, so would arms
that are equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SUMS = 4
"""Sum of weights, of weighted values, of weighted squares, and of squared weights."""
MOST_CELLS = 256
MOST_KINDS = 32
_REST = "\x00rest"


class Tallies:
    """Sums of one metric for the two arms (0: baseline, 1: candidate), by cell."""

    __slots__ = ("cells", "counts", "kinds")

    def __init__(self) -> None:
        self.cells: dict[tuple[int, str], list[float]] = {}
        """(phase, kind) to the baseline's sums and then the candidate's."""
        self.kinds: set[str] = set()
        self.counts = [0, 0]

    def add(self, arm: int, value: float, weight: float, phase: int, kind: str) -> None:
        """Take one value in; a negative weight takes it back."""
        if kind not in self.kinds:
            if len(self.kinds) >= MOST_KINDS:
                kind = _REST
            self.kinds.add(kind)
        cell = self.cells.get((phase, kind))
        if cell is None:
            if len(self.cells) >= MOST_CELLS:
                phase, kind = self._last()
            cell = self.cells.setdefault((phase, kind), [0.0] * (2 * SUMS))
        at = arm * SUMS
        cell[at] += weight
        cell[at + 1] += weight * value
        cell[at + 2] += weight * value * value
        cell[at + 3] += weight * abs(weight)
        self.counts[arm] += 1 if weight > 0 else -1

    def sums(self) -> tuple[Array, Array]:
        """(C, SUMS) of the baseline and of the candidate."""
        whole = np.array(list(self.cells.values()), dtype=np.float64).reshape(-1, 2, SUMS)
        return whole[:, 0], whole[:, 1]

    def dump(self) -> dict[str, object]:
        cells = [[phase, kind, *sums] for (phase, kind), sums in self.cells.items()]
        return {"counts": self.counts, "kinds": sorted(self.kinds), "cells": cells}

    @classmethod
    def load(cls, state: dict[str, object]) -> Tallies:
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` if ``state`` is none."""
        tallies = cls()
        counts, kinds, cells = state["counts"], state["kinds"], state["cells"]
        if not (isinstance(counts, Sequence) and isinstance(kinds, Sequence) and isinstance(cells, Sequence)):
            raise TypeError("these are no tallies")
        tallies.counts = [int(counts[0]), int(counts[1])]
        tallies.kinds = {str(kind) for kind in kinds}
        for phase, kind, *sums in cells:
            if len(sums) != 2 * SUMS:
                raise ValueError("a cell has the wrong number of sums")
            tallies.cells[int(phase), str(kind)] = [float(one) for one in sums]
        return tallies

    def _last(self) -> tuple[int, str]:
        return next(reversed(self.cells))
