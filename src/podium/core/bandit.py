"""The default policy: the worth of finding out, over the hierarchical quality model, with an exact uniform floor.

Owns the index, the choice and the order in which evidence is taken in. Must not filter candidates, read a clock or
draw at random.

    index[m] = E[q] + ALPHA / sqrt(n + 1) + HORIZON * EI * s^2 / (s^2 + v)
    p(m)     = (1 - epsilon) * [m has the highest index] + epsilon / |offered|

``s`` is the posterior standard deviation of ``q``, ``v`` the noise of one score, and ``EI = E[max(0, q - best)]`` the
expected improvement over the best mean offered (Jones, Schonlau and Welch 1998): what ``HORIZON`` more requests would
gain if the arm turned out better, times the share of the doubt that one score removes. The middle term guards against
the model being too sure of itself. One set of numbers for every task and fleet, chosen on one development set.

Beliefs depend on the observations and their order, never on when or in which batches they were folded: shared effects
are fitted anew after observation counts on a fixed schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.core import heritage, quality
from podium.core.cells import Cells
from podium.core.change import LEAST
from podium.core.policies import Pick
from podium.core.quality import START, Array, Fit

ALPHA = 0.2
HORIZON = 150.0
EPSILON = 0.005
REFIT_GROWTH = 0.05
CELLS_PER_OBSERVATION = 20
"""Shared effects are fitted again when observations grew by ``REFIT_GROWTH``; earlier for a new name, and for the first
observation of a cell. But for new names, not before there was an observation for every so many cells.
"""
MAX_TASKS, MAX_ARMS = 1_000, 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """What the policy believes about the asked arms on one task; arrays in their order."""

    index: Array
    mean: Array
    sd: Array
    """Posterior standard deviation of ``mean``."""
    weight: Array
    """Effective number of observations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a request allows."""

    explore: bool = True
    """False for a pinned version, inside a tool loop or in a session that goes on: the best mean, surely."""
    budget: float = 1.0
    """The share of the task's requests that may go to another arm than the one with the best mean."""
    spent: float = 0.0
    """The share that did."""
    min_quality: float | None = None
    """Arms surely below it are not explored while another is not."""


FREE = Guard()


class Bandit:
    """The product's own learner. Not safe for concurrent use; snapshots are what readers get."""

    def __init__(
        self,
        *,
        alpha: float = ALPHA,
        horizon: float = HORIZON,
        epsilon: float = EPSILON,
        drift: bool = True,
        max_tasks: int = MAX_TASKS,
        max_arms: int = MAX_ARMS,
    ) -> None:
        self.alpha, self.horizon, self.epsilon, self.drift = alpha, horizon, epsilon, drift
        self.cells = Cells(max_tasks, max_arms)
        self.claims: dict[str, tuple[float, ...]] = {}
        """What is declared of an arm, in the order of ``quality.CLAIM_MEAN``; ``nan`` where nothing is."""
        self.predecessors: dict[str, str] = {}
        self.fits = 0
        """Times the shared effects were fitted; after each, every task is believed something else of."""
        self.alarms = 0
        self.count = 0
        """Observations taken in."""
        self.last_fit, self.next_fit = 0, 1
        self.fit = self._fitted()
        self._rows: dict[str, tuple[Sequence[str], Row]] = {}

    # ------------------------------------------------------------ what is declared

    def expect(self, arm: str, *, benchmark: float | None = None, log2_size: float | None = None) -> None:
        """State what is claimed of ``arm``: the quality in [0, 1] a benchmark shows, the log2 of its size (any unit).

        Claims count as much as they turn out to predict. Raises ``ValueError`` for a number that is not finite.
        """
        given = tuple(math.nan if value is None else float(value) for value in (benchmark, log2_size))
        if any(math.isinf(value) for value in given):
            raise ValueError(f"the claims about {arm!r} are not finite numbers")
        self.claims[arm] = given
        self._refit()

    def succeed(self, arm: str, predecessor: str) -> None:
        """State that ``arm`` is the next version of ``predecessor``, whose evidence it inherits, discounted."""
        if arm == predecessor:
            raise ValueError(f"{arm!r} cannot follow itself")
        self.predecessors[arm] = predecessor
        self._rows = {}

    # ------------------------------------------------------------ choosing

    def choose(
        self,
        task: str,
        arms: Sequence[str],
        draw: float,
        context: NDArray[np.float64] | None = None,
        guard: Guard = FREE,
    ) -> Pick:
        """See ``Policy.choose``. ``context`` is not used; ``guard`` says what exploration is allowed."""
        if not arms:
            raise ValueError("there is no arm to choose from: offer at least one")
        row = self.table(task, arms)
        if not guard.explore or guard.spent >= guard.budget:
            best = int(row.mean.argmax())
            return Pick(arms[best], 1.0, float(row.mean[best]))
        open_ = list(range(len(arms)))
        index = row.index
        if guard.min_quality is not None:
            fine = (row.mean + row.sd >= guard.min_quality) | (row.weight < LEAST)
            if fine.any() and not fine.all():
                open_, index = fine.nonzero()[0].tolist(), np.where(fine, index, -math.inf)
        best, size = int(index.argmax()), len(open_)
        at, rest = best, draw - (1.0 - self.epsilon)
        if rest >= 0.0:
            at = open_[min(size - 1, int(rest / self.epsilon * size))]
        return Pick(arms[at], (1.0 - self.epsilon) * (at == best) + self.epsilon / size, float(index[at]))

    def table(self, task: str, arms: Sequence[str]) -> Row:
        """What the policy believes of each of ``arms`` on ``task``; changes nothing."""
        known = self._rows.get(task)
        if known is not None and known[0] == arms:
            return known[1]
        row = self._believe(task, arms)
        if task in self.cells.tasks:
            self._rows[task] = (list(arms), row)
        return row

    def _believe(self, task: str, arms: Sequence[str]) -> Row:
        cells, fit = self.cells, self.fit
        k = cells.tasks.get(task, -1)
        columns = [cells.arms.get(arm, -1) for arm in arms]
        at = np.array(columns)
        known = at >= 0
        if k >= 0:
            base, base_var = fit.base[k, at], fit.base_var[k, at]
            n, total = cells.n[k, at] * known, cells.total[k, at] * known
        else:
            base, base_var = fit.level[at], fit.level_var[at]
            n = total = np.zeros(at.size)
        if not known.all():
            unmet = fit.mean + self._claimed(arms) @ fit.beta
            base = np.where(known, base, unmet + (float(fit.base[k].mean() - fit.level.mean()) if k >= 0 else 0.0))
            base_var = np.where(known, base_var, fit.spread.arm + fit.spread.task)
        mean, var, v = quality.posterior(fit.spread, base, base_var, n, total)
        worth = n
        for place, arm in enumerate(arms):
            before = cells.arms.get(self.predecessors.get(arm, ""), -1)
            if before >= 0 and k >= 0:
                own = heritage.Own(k, columns[place], before, float(base[place]), float(base_var[place]))
                worth = worth.copy() if worth is n else worth
                mean[place], var[place], inherited = heritage.inherit(cells, fit, own)
                worth[place] += inherited
        sd = np.sqrt(var)
        index = mean + self.alpha / np.sqrt(worth + 1.0)
        if self.horizon > 0.0:
            best = float(mean.max())
            gain = [_improvement(float(m) - best, float(s)) for m, s in zip(mean, sd, strict=True)]
            index = index + self.horizon * np.array(gain) * var / (var + v)
        return Row(index=index, mean=mean, sd=sd, weight=n)

    def _claimed(self, arms: Sequence[str]) -> Array:
        """The claims about arms, around the mean of those made about any arm, shape ``(len(arms), CLAIMS)``."""
        if not self.claims:
            return np.zeros((len(arms), quality.CLAIMS))
        given = np.array(list(self.claims.values()))
        known = ~np.isnan(given)
        mean = np.where(known, given, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        nothing = (math.nan,) * quality.CLAIMS
        claims = np.array([self.claims.get(arm, nothing) for arm in arms])
        return np.where(np.isnan(claims), 0.0, claims - mean)

    # ------------------------------------------------------------ learning

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
        """See ``Policy.observe``. Raises ``ValueError`` too when there is no room for another name."""
        _accept(score, weight)
        cells = self.cells
        known = task in cells.tasks and arm in cells.arms
        k, m = cells.place(task, arm)
        watched = self.drift and known and cells.n[k, m] >= LEAST
        z = self._surprise(k, m, score, weight) if watched else 0.0
        cells.add(k, m, score, weight)
        if watched and cells.watch(k, m, z, score, weight, self.fit.spread.phi):
            self.alarms += 1
        self._rows.pop(task, None)
        self.count += 1
        size = len(cells.tasks) * len(cells.arms) // CELLS_PER_OBSERVATION
        early = cells.n[k, m] <= weight and self.count >= self.last_fit + size
        if not known or early or self.count >= self.next_fit:
            self.next_fit = self.count + max(1, size, int(self.count * REFIT_GROWTH))
            self.last_fit = self.count
            self._refit()

    def revise(self, task: str, arm: str, old: float, new: float, weight: float = 1.0) -> None:
        """Put ``new`` in the place of a score ``old`` that was observed with this ``weight`` before.

        The cell's weight stays as it is and its sums stay possible ones: what drift made it forget is forgotten.
        A cell that observed nothing observes ``new``. Raises ``ValueError`` as ``observe`` does.
        """
        _accept(old, weight)
        _accept(new, weight)
        k, m = self.cells.place(task, arm)
        if self.cells.n[k, m] <= 0.0:
            self.observe(task, arm, new, weight=weight)
            return
        self.cells.replace(k, m, old, new, weight)
        self._rows.pop(task, None)

    def _surprise(self, k: int, m: int, score: float, weight: float) -> float:
        """The score against its prediction, in standard deviations. The formulas of ``quality.posterior``, for one."""
        cells, fit = self.cells, self.fit
        n, total, base = float(cells.n[k, m]), float(cells.total[k, m]), float(fit.base[k, m])
        cell = fit.spread.cell * quality.TAIL
        p = (total + quality.SHRINK_CELL * base) / (n + quality.SHRINK_CELL)
        p = min(quality.P_HIGH, max(quality.P_LOW, p))
        v = fit.spread.phi * p * (1.0 - p) + quality.NOISE_FLOOR
        rest = v / (n * cell + v)
        mean = rest * base + (1.0 - rest) * total / n
        return (score - mean) / math.sqrt(rest * cell + rest * rest * float(fit.base_var[k, m]) + v / weight)

    def _refit(self) -> None:
        self._rows = {}
        self.fits += 1
        self.fit = self._fitted()

    def _fitted(self) -> Fit:
        cells = self.cells
        if not cells.tasks:
            none = np.zeros((1, 1))
            return quality.fit(START, np.full((1, quality.CLAIMS), math.nan), none, none, none)
        nothing = (math.nan,) * quality.CLAIMS
        claims = np.array([self.claims.get(arm, nothing) for arm in cells.arms])
        used = cells.used
        return quality.fit(self.fit.spread, claims, cells.n[used], cells.total[used], cells.squares[used])


def _accept(score: float, weight: float) -> None:
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score is between 0 and 1, not {score}")
    if not (math.isfinite(weight) and weight > 0.0):
        raise ValueError(f"the weight of evidence is above 0 and finite, not {weight}")


def _improvement(ahead: float, sd: float) -> float:
    """``E[max(0, X)]`` for ``X ~ N(ahead, sd^2)``."""
    if sd <= 0.0:
        return max(0.0, ahead)
    z = ahead / sd
    return sd * math.exp(-0.5 * z * z) * 0.3989422804014327 + ahead * 0.5 * math.erfc(-z * 0.7071067811865476)
