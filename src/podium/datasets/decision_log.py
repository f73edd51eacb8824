"""The decision log: one row for each logged decision, with its propensity and reward. Checks it row by row.

The columns are what ``docs/replay.md`` describes. Rows come in the order of the file and nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from podium.core.evaluation import Logged
from podium.datasets.table import Chunk, complain, open_table, shown
from podium.errors import InvalidRequest

TEXTS = ("task", "chosen")
NUMBERS = ("propensity", "reward")
CANDIDATES, PREDICTED, TARGET = "candidates", "predicted", "target"
EVALUABLE = "evaluable"
"""In an export: false for an attempt that no policy chose (a fallback)."""
MOST_TASKS = 100_000
"""Every task costs memory for as long as an evaluation runs."""


class DecisionLog:
    """A file of logged decisions. Raises ``InvalidRequest`` when a needed column is missing."""

    def __init__(self, path: Path) -> None:
        self._table = table = open_table(path)
        missing = [name for name in (*TEXTS, *NUMBERS, CANDIDATES) if name not in table.names]
        if missing:
            has = ", ".join(table.names[:12]) or "none"
            raise InvalidRequest(f"{path} lacks the columns {', '.join(missing)}; it has {has}", param=missing[0])
        self.has_target = TARGET in table.names
        self._objects = tuple(name for name in (CANDIDATES, PREDICTED, TARGET, EVALUABLE) if name in table.names)
        self._tasks: set[str] = set()
        self.without_reward = 0
        """Rows read so far whose reward is null; they are left out."""
        self.no_choice = 0
        """Rows read so far that were no choice of a policy, as the column ``evaluable`` says; they are left out."""

    def rows(self, progress: Callable[[float], None] = lambda done: None) -> Iterator[Logged]:
        """The rows with a reward, in the order of the file. Raises ``InvalidRequest`` for the first bad cell."""
        self.without_reward = self.no_choice = 0
        for chunk in self._table.chunks(TEXTS, NUMBERS, self._objects):
            yield from self._chunk(chunk)
            progress(chunk.done)

    def _chunk(self, chunk: Chunk) -> Iterator[Logged]:
        tasks, chosen = chunk.texts
        self._tasks.update(tasks)
        if len(self._tasks) > MOST_TASKS:
            raise InvalidRequest(
                f"{self._table.path} has more than {MOST_TASKS} tasks: is the column task right?", param="task"
            )
        objects = dict(zip(self._objects, chunk.objects, strict=True))
        for index, position in enumerate(chunk.positions.tolist()):
            propensity, reward = chunk.numbers[index].tolist()
            if EVALUABLE in objects and not self._evaluable(position, objects[EVALUABLE][index]):
                self.no_choice += 1
                continue
            if not 0.0 < propensity <= 1.0:
                what = "null" if math.isnan(propensity) else f"{propensity:.12g}"
                raise complain(self._table, position, "propensity", f"{what} is not a probability above 0")
            if math.isnan(reward):
                self.without_reward += 1
                continue
            if not 0.0 <= reward <= 1.0:
                raise complain(self._table, position, "reward", f"{reward:.12g} is not between 0 and 1")
            candidates = self._candidates(position, objects[CANDIDATES][index])
            if chosen[index] not in candidates:
                raise complain(self._table, position, "chosen", f"{shown(chosen[index])} is not among the candidates")
            yield Logged(
                task=tasks[index],
                candidates=candidates,
                chosen=candidates.index(chosen[index]),
                propensity=propensity,
                reward=reward,
                predicted=self._by_candidate(position, PREDICTED, candidates, objects, index),
                target=self._probabilities(position, candidates, objects, index),
            )

    def _evaluable(self, position: int, value: Any) -> bool:
        if not isinstance(value, bool):
            raise complain(self._table, position, EVALUABLE, f"{shown(value)} is neither true nor false")
        return value

    def _candidates(self, position: int, value: Any) -> tuple[str, ...]:
        found = tuple(value) if isinstance(value, (list, tuple)) else ()
        if not found or not all(isinstance(name, str) and name for name in found):
            raise complain(self._table, position, CANDIDATES, f"{shown(value)} is not a list of model names")
        if len(set(found)) < len(found):
            raise complain(self._table, position, CANDIDATES, "names a model twice")
        return found

    def _by_candidate(
        self, position: int, column: str, candidates: Sequence[str], objects: Mapping[str, Sequence[Any]], index: int
    ) -> tuple[float, ...] | None:
        """The numbers in [0, 1] of a column that maps candidates to numbers; ``None`` where it is absent or null."""
        value = objects[column][index] if column in objects else None
        if value is None:
            return None
        if not isinstance(value, dict):
            raise complain(self._table, position, column, f"{shown(value)} does not map candidates to numbers")
        found = []
        for name in candidates:
            number = value.get(name)
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0.0 <= number <= 1.0:
                raise complain(self._table, position, column, f"{shown(number)} for {name} is not between 0 and 1")
            found.append(float(number))
        return tuple(found)

    def _probabilities(
        self, position: int, candidates: Sequence[str], objects: Mapping[str, Sequence[Any]], index: int
    ) -> tuple[float, ...] | None:
        shares = self._by_candidate(position, TARGET, candidates, objects, index)
        if shares is not None and abs(math.fsum(shares) - 1.0) > 1e-6:
            raise complain(self._table, position, TARGET, f"the probabilities sum to {math.fsum(shares):.6g}, not 1")
        return shares
