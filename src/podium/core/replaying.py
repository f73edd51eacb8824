"""The one-pass protocol of ``podium replay``: offer a stream of rows to a policy and add up what it earned.

Owns the order of events (offer, choose, reveal the chosen arm's columns, observe), the yardsticks (per-task best,
best single, regret, recovery) and the simulated loss of quality. Must not read files, shuffle or draw random numbers:
rows come in stream order and every decision's uniform draw comes with them.

The yardsticks are means over the whole file, known before the stream starts. In a row where a task's best model was
not run, the best of those that were counts. With a simulated loss, a task's yardstick after it is the new best.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from podium.core.policies import Policy

Floats = NDArray[np.float64]

WINDOW = 20
"""Requests of one task that the moving mean of the recovery spans."""
BACK = 0.95
"""Share of the new optimum at which a task has recovered."""
LOSS = 0.5
"""What is left of the quality of a model that degrades."""
LOSING_TASKS = 6
"""How many tasks lose quality at most, those with the most rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a first look at all rows gives: sums per task and model, T tasks and M models."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    rows: int
    task_rows: NDArray[np.int64]
    """Rows per task, shape (T,)."""
    counts: NDArray[np.int64]
    """Rows with a score, shape (T, M)."""
    sums: Floats
    """Sum of scores, shape (T, M)."""

    def means(self) -> Floats:
        """Mean score per task and model, shape (T, M); ``nan`` where a model was never run."""
        means: Floats = np.full(self.sums.shape, np.nan)
        np.divide(self.sums, self.counts, out=means, where=self.counts > 0)
        return means


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of the stream, n of them and M models."""

    task: NDArray[np.int32]
    """Index into ``Totals.tasks``, shape (n,)."""
    quality: Floats
    """Scores in [0, 1], shape (n, M); ``nan`` where the model was not run: it is not offered there."""
    latency_s: Floats | None
    """Seconds, shape (n, M), ``nan`` where unknown; ``None`` without such columns."""
    cost_usd: Floats | None
    """US dollars, shape (n, M), ``nan`` where unknown; ``None`` without such columns."""
    draws: Floats
    """One uniform number in [0, 1) for each decision, shape (n,)."""

    def first(self, count: int) -> Rows:
        """The first ``count`` of them."""
        return Rows(
            task=self.task[:count],
            quality=self.quality[:count],
            latency_s=None if self.latency_s is None else self.latency_s[:count],
            cost_usd=None if self.cost_usd is None else self.cost_usd[:count],
            draws=self.draws[:count],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """From the request with this number on (0 is the first), the best model of some tasks keeps ``left`` of its quality."""

    at: int
    tasks: int = LOSING_TASKS
    left: float = LOSS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a policy earned over the whole stream. ``None`` where there is nothing to measure."""

    n: int
    mean_quality: float
    task_oracle: float
    """Mean over the rows of the task's best model's mean."""
    best_single: float
    """Mean score of the one model that is best over the whole file; before any simulated loss."""
    best_single_model: str
    regret: float
    """Sum over the rows of the task's best mean minus the score obtained."""
    pseudo_regret: float
    """Sum over the rows of the task's best mean minus the chosen model's mean: the same without the luck."""
    final_quarter: float | None
    """Quality in the last quarter of the stream relative to the per-task best there."""
    cost: float | None
    """US dollars of the chosen models; rows without a figure count nothing."""
    latency_s: float | None
    """Mean seconds of the chosen models where known."""
    shares: Mapping[str, float]
    """Share of the requests each model got."""
    recovery: float | None = None
    """Requests of a task after the loss until its moving mean is back, the median over the tasks that lost; ``None``
    when most never came back.
    """
    never_recovered: float | None = None
    """Share of those tasks that never came back."""
    degraded: Mapping[str, str] | None = None
    """The tasks that lost and the model each lost."""


class Replay:
    """One run. Feed all rows in order, then ask for the result.

    ``length`` is how many rows will come, all of them by default; the yardsticks are those of the whole file anyway.
    """

    def __init__(self, policy: Policy, totals: Totals, loss: Loss | None = None, length: int | None = None) -> None:
        self._policy = policy
        self._totals = totals
        self._means = totals.means()
        self._after = self._means.copy()
        self._loss = loss
        self._losing = _losing(totals, self._means, loss)
        for task, model in self._losing.items():
            self._after[task, model] *= loss.left if loss else 1.0
        self._windows = {task: _Window() for task in self._losing}
        self._seen = 0
        self._length = totals.rows if length is None else length
        self._last_quarter = self._length - max(1, self._length // 4)
        self._picked = np.zeros(len(totals.models), dtype=np.int64)
        self._obtained = self._best = self._expected = 0.0
        self._late_obtained = self._late_best = 0.0
        self._cost = self._latency = 0.0
        self._timed = self._priced = 0

    def feed(self, rows: Rows) -> None:
        """Offer these rows one after the other. Raises ``ValueError`` when the policy breaks its contract."""
        size = len(rows.task)
        number = self._seen + np.arange(size)
        quality, means = rows.quality, self._means[rows.task]
        if self._loss is not None:
            late = number >= self._loss.at
            means = np.where(late[:, None], self._after[rows.task], means)
            quality = self._lose(rows, late)
        means = np.where(np.isnan(quality), np.nan, means)
        best = np.nanmax(means, axis=1)
        chosen = self._choose(rows, quality, means, best, number)
        here = np.arange(size)
        obtained, expected = quality[here, chosen], means[here, chosen]
        last = number >= self._last_quarter
        self._obtained += float(obtained.sum())
        self._expected += float(expected.sum())
        self._best += float(best.sum())
        self._late_obtained += float(obtained[last].sum())
        self._late_best += float(best[last].sum())
        self._picked += np.bincount(chosen, minlength=len(self._picked))
        if rows.cost_usd is not None:
            known = rows.cost_usd[here, chosen]
            self._cost += float(np.nansum(known))
            self._priced += int(np.count_nonzero(~np.isnan(known)))
        if rows.latency_s is not None:
            known = rows.latency_s[here, chosen]
            self._latency += float(np.nansum(known))
            self._timed += int(np.count_nonzero(~np.isnan(known)))
        self._seen += size

    def _lose(self, rows: Rows, late: NDArray[np.bool_]) -> Floats:
        """The scores with the loss in them."""
        assert self._loss is not None
        quality = rows.quality.copy()
        for task, model in self._losing.items():
            quality[late & (rows.task == task), model] *= self._loss.left
        return quality

    def _choose(
        self, rows: Rows, quality: Floats, means: Floats, best: Floats, number: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The chosen model of every row; this is the loop that lets the policy see one column of each."""
        models, tasks, policy = self._totals.models, self._totals.tasks, self._policy
        position = {model: index for index, model in enumerate(models)}
        missing = np.isnan(quality)
        absent = np.count_nonzero(missing, axis=1)
        chosen = np.empty(len(rows.task), dtype=np.int64)
        at = self._loss.at if self._loss is not None else self._length
        for row, (task, draw) in enumerate(zip(rows.task.tolist(), rows.draws.tolist(), strict=True)):
            arms: Sequence[str] = models
            if absent[row]:
                arms = [model for model, gone in zip(models, missing[row].tolist(), strict=True) if not gone]
            arm = policy.choose(tasks[task], arms, draw).arm
            index = position.get(arm, -1)
            if index < 0 or missing[row, index]:
                raise ValueError(f"the policy chose {arm!r}, which was not offered")
            chosen[row] = index
            policy.observe(
                tasks[task],
                arm,
                float(quality[row, index]),
                latency_s=None if rows.latency_s is None else _known(rows.latency_s[row, index]),
                cost=None if rows.cost_usd is None else _known(rows.cost_usd[row, index]),
            )
            if task in self._windows and number[row] >= at:
                self._windows[task].add(float(means[row, index]), float(best[row]))
        return chosen

    def result(self) -> Result:
        """Everything measured. Raises ``ValueError`` when rows are still to come."""
        if self._seen != self._length:
            raise ValueError(f"{self._seen} of {self._length} rows were replayed")
        n, totals = self._seen, self._totals
        counts = totals.counts.sum(axis=0)
        single = totals.sums.sum(axis=0) / np.maximum(counts, 1)
        favourite = int(np.argmax(np.where(counts > 0, single, -1.0)))
        recovery, never = _recovery([window for window in self._windows.values() if window.seen >= WINDOW])
        return Result(
            n=n,
            mean_quality=self._obtained / n,
            task_oracle=self._best / n,
            best_single=float(single[favourite]),
            best_single_model=totals.models[favourite],
            regret=self._best - self._obtained,
            pseudo_regret=self._best - self._expected,
            final_quarter=self._late_obtained / self._late_best if self._late_best > 0 else None,
            cost=self._cost if self._priced else None,
            latency_s=self._latency / self._timed if self._timed else None,
            shares={model: float(self._picked[index]) / n for index, model in enumerate(totals.models)},
            recovery=recovery,
            never_recovered=never,
            degraded=None
            if self._loss is None
            else {totals.tasks[task]: totals.models[model] for task, model in self._losing.items()},
        )


class _Window:
    """Whether one task is back: the chosen models' means over the last requests beside the best ones'."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.seen = 0
        self.back: int | None = None

    def add(self, expected: float, best: float) -> None:
        self.seen += 1
        if self.back is not None:
            return
        self._recent.append((expected, best))
        if len(self._recent) == WINDOW:
            got, possible = (sum(column) for column in zip(*self._recent, strict=True))
            if got >= BACK * possible - 1e-12:
                self.back = self.seen


def _losing(totals: Totals, means: Floats, loss: Loss | None) -> dict[int, int]:
    """The tasks that lose quality, by number of rows and then by name, and the best model of each."""
    if loss is None:
        return {}
    used = [task for task in range(len(totals.tasks)) if totals.counts[task].any()]
    order = sorted(used, key=lambda task: (-int(totals.task_rows[task]), totals.tasks[task]))
    return {task: int(np.nanargmax(means[task])) for task in order[: loss.tasks]}


def _recovery(windows: Sequence[_Window]) -> tuple[float | None, float | None]:
    """(median requests until back, with never as infinite; share that never came back)."""
    if not windows:
        return None, None
    middle = median(float("inf") if window.back is None else float(window.back) for window in windows)
    never = sum(1 for window in windows if window.back is None) / len(windows)
    return (middle if middle < float("inf") else None), never


def _known(value: float) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124 - only nan differs from itself
