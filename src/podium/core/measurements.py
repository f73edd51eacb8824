"""The measured posteriors of all (task, version) pairs, in bounded memory, and as bytes and back, bit for bit.

Owns which pairs are known and what changed since it was last asked. The mathematics is in ``core/posterior``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence

from podium.core import posterior
from podium.core.history import NOT_ITS_DOING
from podium.domain.belief import Performance
from podium.domain.decision import Outcome

MAX_PAIRS = 50_000
"""About 0.5 kB each; beyond, the pair that was used longest ago is forgotten."""
GRAIN_S = 3_600.0
"""Ages are counted in whole steps of it, so that figures only change when outcomes come."""
_NUMBERS = struct.Struct(f"<{posterior.SLOTS}d")
_EARLIER = struct.Struct(f"<{posterior.BEFORE_PRICES}d")
Row = tuple[str, str, bytes]


class Measurements:
    """``now``: the time of the newest outcome, rounded down; ``touched``: pairs that changed, for the reader to clear."""

    def __init__(self, limit: int = MAX_PAIRS) -> None:
        self._limit = limit
        self._cells: dict[tuple[str, str], posterior.Cell] = {}
        """The pair used longest ago is first."""
        self.now = 0.0
        self.touched: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._cells)

    def fold(self, outcomes: Iterable[Outcome]) -> bool:
        """Take outcomes in; True when any of them said something about a version."""
        said = False
        for outcome in outcomes:
            if outcome.error in NOT_ITS_DOING:
                continue
            said = True
            key = (outcome.task, outcome.ref)
            cell = self._cells.pop(key, None)
            if cell is None:
                cell = posterior.empty()
                if len(self._cells) >= self._limit:
                    self._touch(*(oldest := next(iter(self._cells))))
                    del self._cells[oldest]
            self._cells[key] = cell
            posterior.fold(cell, outcome)
            self._touch(*key)
            if math.isfinite(outcome.at):
                self.now = math.floor(outcome.at / GRAIN_S) * GRAIN_S
        return said

    def _touch(self, task: str, ref: str) -> None:
        refs = self.touched.get(task)
        if refs is None:
            refs = self.touched[task] = set()
        refs.add(ref)

    def of(self, task: str, ref: str) -> Performance | None:
        """What is known of a pair; ``None``: nothing."""
        cell = self._cells.get((task, ref))
        return None if cell is None else posterior.performance(cell, self.now)

    def on(self, task: str, refs: Sequence[str]) -> Mapping[str, Performance]:
        """What is known of some versions on a task; those nobody measured are left out."""
        found = {ref: self.of(task, ref) for ref in refs}
        return {ref: known for ref, known in found.items() if known is not None}

    def answered(self, task: str, ref: str) -> tuple[float, float]:
        """(answered, asked) of a pair, discounted."""
        cell = self._cells.get((task, ref))
        return (0.0, 0.0) if cell is None else (cell[0], cell[1])

    def tasks(self) -> set[str]:
        """Tasks of which something is known."""
        return {task for task, _ in self._cells}

    def dump(self) -> tuple[float, list[Row]]:
        """Everything: the time, then a row for each pair; ``8 * SLOTS`` bytes and the names."""
        return self.now, [(task, ref, _NUMBERS.pack(*cell)) for (task, ref), cell in self._cells.items()]

    def load(self, now: float, rows: Iterable[Row]) -> None:
        """Take over what ``dump`` gave. Raises ``ValueError`` for anything else; then nothing changed."""
        try:
            cells = {(task, ref): posterior.checked(_numbers(packed)) for task, ref, packed in rows}
        except (struct.error, TypeError) as error:
            raise ValueError(f"measurements cannot be read ({error})") from None
        self._cells, self.now = cells, float(now)

    def adopt(self, answered: Iterable[tuple[str, str, float, float]]) -> None:
        """Take over (task, ref, answered, asked) of states that had nothing else."""
        for task, ref, good, count in answered:
            cell = posterior.empty()
            cell[0], cell[1] = good, count
            self._cells[task, ref] = posterior.checked(cell)


def _numbers(packed: bytes) -> Sequence[float]:
    form = _EARLIER if len(packed) == _EARLIER.size else _NUMBERS
    return form.unpack(packed)
