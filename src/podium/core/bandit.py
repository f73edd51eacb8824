"""The default policy: an optimism index over the hierarchical quality model, with drift detection and a floor.

Owns the table of evidence, the index and the choice. Must not filter candidates, read a clock or draw at random.

    index[k, m] = E[q[k, m]] + ALPHA / sqrt(n[k, m] + 1)
    p(m) = (1 - EPSILON) * [m has the highest index] + EPSILON / |offered|

Indices depend only on the observations and their order, never on when or in which batches they were folded: shared
effects are fitted anew after observation counts on a fixed schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.core import quality
from podium.core.change import cusum
from podium.core.policies import Pick
from podium.core.quality import Array, Spread

ALPHA = 0.4
EPSILON = 0.01
AFTER_ALARM = 2.0
"""The weight a cell keeps when its alarm rings; other cells of its task keep at most ``NEIGHBOURS``."""
NEIGHBOURS = 15.0
REFIT_GROWTH = 0.02
REFIT_MOST = 500


@dataclass(frozen=True, slots=True)
class Row:
    """What the policy believes about the asked arms on one task; arrays in their order."""

    index: Array
    mean: Array
    sd: Array
    """Posterior standard deviation of ``mean``."""
    weight: Array
    """Effective number of observations."""


class Bandit:
    """The product's own learner. Not safe for concurrent use; snapshots are what readers get."""

    def __init__(self, *, alpha: float = ALPHA, epsilon: float = EPSILON, drift: bool = True) -> None:
        self.alpha = alpha
        self.epsilon = epsilon
        self.drift = drift
        self._tasks: dict[str, int] = {}
        self._arms: dict[str, int] = {}
        self._n = np.zeros((4, 4))
        self._total = np.zeros((4, 4))
        self._squares = np.zeros((4, 4))
        self._up = np.zeros((4, 4))
        self._down = np.zeros((4, 4))
        self._prior = np.zeros(4)
        self._count = 0
        self._next_fit = 1
        self.fits = 0
        """Times the shared effects were fitted; after each, every task is believed something else of."""
        self._fit = self._refit(Spread())
        self._rows: dict[int, tuple[Array, Array, Array]] = {}
        self.alarms = 0

    def expect(self, arm: str, effect: float) -> None:
        """State how much better (or worse) than the average ``arm`` is expected to be, in units of quality."""
        self._prior[self._arm(arm)] = effect
        self._fit = self._refit(self._fit.spread)

    def choose(self, task: str, arms: Sequence[str], draw: float, context: NDArray[np.float64] | None = None) -> Pick:
        """See ``Policy.choose``. ``context`` is not used."""
        if not arms:
            raise ValueError("there is no arm to choose from: offer at least one")
        index = self.table(task, arms).index
        best, share = int(index.argmax()), self.epsilon / len(arms)
        at = best
        if draw >= 1.0 - self.epsilon:
            at = min(len(arms) - 1, int((draw - (1.0 - self.epsilon)) / self.epsilon * len(arms)))
        return Pick(arms[at], (1.0 - self.epsilon) * (at == best) + share, float(index[at]))

    def table(self, task: str, arms: Sequence[str]) -> Row:
        """What the policy believes of each of ``arms`` on ``task``."""
        k = self._task(task)
        at = [self._arm(arm) for arm in arms]
        row = self._rows.get(k)
        if row is None:
            mean, var = self._posterior(k)
            index = mean + self.alpha / np.sqrt(self._n[k, : mean.size] + 1.0)
            row = self._rows[k] = (index, mean, np.sqrt(var))
        return Row(index=row[0][at], mean=row[1][at], sd=row[2][at], weight=self._n[k, at])

    def observe(
        self,
        task: str,
        arm: str,
        score: float,
        *,
        weight: float = 1.0,
        latency_s: float | None = None,
        cost: float | None = None,
    ) -> None:
        """See ``Policy.observe``."""
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score is between 0 and 1, not {score}")
        if not (math.isfinite(weight) and weight > 0.0):
            raise ValueError(f"the weight of evidence is above 0 and finite, not {weight}")
        k, m = self._task(task), self._arm(arm)
        if self.drift and self._n[k, m] >= AFTER_ALARM:
            self._watch(k, m, score)
        self._n[k, m] += weight
        self._total[k, m] += weight * score
        self._squares[k, m] += weight * score * score
        self._rows.pop(k, None)
        self._count += 1
        if self._count >= self._next_fit:
            self._next_fit = self._count + min(REFIT_MOST, max(1, int(self._count * REFIT_GROWTH)))
            self._fit = self._refit(self._fit.spread)

    def _watch(self, k: int, m: int, score: float) -> None:
        one = (slice(k, k + 1), slice(m, m + 1))
        fit = self._fit
        n, total = self._n[one], self._total[one]
        mean, var = quality.posterior(fit.spread, fit.base[one], fit.base_var[one], n, total)
        spread = math.sqrt(float(var[0, 0]) + float(quality.noise(fit.spread, n, total, fit.base[one])[0, 0]))
        z = (score - float(mean[0, 0])) / spread
        self._up[k, m], self._down[k, m], alarm = cusum(float(self._up[k, m]), float(self._down[k, m]), z)
        if alarm:
            self.alarms += 1
            self._up[k, m] = self._down[k, m] = 0.0
            keep = np.minimum(1.0, NEIGHBOURS / np.maximum(self._n[k], NEIGHBOURS))
            keep[m] = AFTER_ALARM / max(AFTER_ALARM, float(self._n[k, m]))
            for stat in (self._n, self._total, self._squares):
                stat[k] *= keep

    def _posterior(self, k: int) -> tuple[Array, Array]:
        fit = self._fit
        arms = fit.base.shape[1]
        return quality.posterior(fit.spread, fit.base[k], fit.base_var[k], self._n[k, :arms], self._total[k, :arms])

    def _refit(self, spread: Spread) -> quality.Fit:
        self._rows = {}
        self.fits += 1
        used = (slice(max(1, len(self._tasks))), slice(max(1, len(self._arms))))
        return quality.fit(spread, self._prior[used[1]], self._n[used], self._total[used], self._squares[used])

    def _task(self, name: str) -> int:
        return self._place(name, self._tasks)

    def _arm(self, name: str) -> int:
        return self._place(name, self._arms)

    def _place(self, name: str, places: dict[str, int]) -> int:
        at = places.get(name)
        if at is None:
            at = places[name] = len(places)
            room = self._n.shape
            self._grow(
                2 * room[0] if len(self._tasks) > room[0] else room[0],
                2 * room[1] if len(self._arms) > room[1] else room[1],
            )
        return at

    def _grow(self, tasks: int, arms: int) -> None:
        def wider(old: Array) -> Array:
            if old.shape == (tasks, arms):
                return old
            new = np.zeros((tasks, arms))
            new[: old.shape[0], : old.shape[1]] = old
            return new

        self._n, self._total, self._squares = wider(self._n), wider(self._total), wider(self._squares)
        self._up, self._down = wider(self._up), wider(self._down)
        self._prior = np.concatenate((self._prior, np.zeros(arms - self._prior.size)))
        self._fit = self._refit(self._fit.spread)

    def revise(self, task: str, arm: str, old: float, new: float, weight: float = 1.0) -> None:
        """Put ``new`` in the place of a score ``old`` that was observed with this ``weight`` before.

        The cell's weight stays as it is and its sums stay possible ones: what drift made it forget is forgotten.
        A cell that observed nothing observes ``new``. Raises ``ValueError`` as ``observe`` does.
        """
        for score in (old, new):
            if not 0.0 <= score <= 1.0:
                raise ValueError(f"a score is between 0 and 1, not {score}")
        if not (math.isfinite(weight) and weight > 0.0):
            raise ValueError(f"the weight of evidence is above 0 and finite, not {weight}")
        k, m = self._task(task), self._arm(arm)
        n = float(self._n[k, m])
        if n <= 0.0:
            self.observe(task, arm, new, weight=weight)
            return
        held = min(weight, n)
        total = min(n, max(0.0, float(self._total[k, m]) + held * (new - old)))
        squares = float(self._squares[k, m]) + held * (new * new - old * old)
        self._total[k, m] = total
        self._squares[k, m] = min(total, max(total * total / n, squares))
        self._rows.pop(k, None)
