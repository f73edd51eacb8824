"""The classic policies the product's own is measured against, and the list of all policies by name.

Owns epsilon-greedy, UCB1, Thompson sampling, LinUCB, the two presets and uniform choice, each as the exact
distribution over the arms offered; one uniform draw then picks by the inverse of its cumulative sum, so that the
stated propensity is the one that was used. Must not read files, keep time or know what the rewards mean.

Arms nobody tried on a task come first in epsilon-greedy and UCB1; equals share their part evenly. State is kept per
(task, arm): a few dozen bytes each, one pass, no history.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from podium.core import history
from podium.core.policies import Pick, Policy
from podium.core.scoring import DEFAULT_LATENCY_LIMIT_MS, PRESETS, score
from podium.domain.evidence import Evidence
from podium.domain.task import Criteria


def pick(arms: Sequence[str], shares: Sequence[float], draw: float) -> Pick:
    """The arm whose part of the unit interval holds ``draw``; ``shares`` are >= 0 and sum to 1."""
    total, last = 0.0, -1
    for index, share in enumerate(shares):
        if share <= 0.0:
            continue
        total, last = total + share, index
        if draw < total:
            break
    return Pick(arms[last], float(shares[last]))


def accept(score_: float, weight: float) -> None:
    """Raise ``ValueError`` for a score outside [0, 1] or a weight that is not finite and positive."""
    if not 0.0 <= score_ <= 1.0:
        raise ValueError(f"a score is between 0 and 1, not {score_}")
    if not (weight > 0.0 and math.isfinite(weight)):
        raise ValueError(f"a weight is finite and positive, not {weight}")


def best(values: Sequence[float]) -> list[float]:
    """All of the probability on the largest value, in equal parts when several are."""
    top = max(values)
    share = 1.0 / sum(1 for value in values if value == top)
    return [share if value == top else 0.0 for value in values]


class Distributed(ABC):
    """A policy that can say the whole distribution it chooses from."""

    @abstractmethod
    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        """The probability of each of ``arms``, in their order; changes nothing."""

    def choose(self, task: str, arms: Sequence[str], draw: float, context: NDArray[np.float64] | None = None) -> Pick:
        """See ``Policy.choose``; ``context`` is not used."""
        if not arms:
            raise ValueError("there is no arm to choose from")
        return pick(arms, self.distribution(task, arms), draw)


class Uniform(Distributed):
    """Every arm alike, whatever happened."""

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        return [1.0 / len(arms)] * len(arms)

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
        accept(score, weight)


class Tabular(Distributed):
    """Weighted count and sum of scores per task and arm."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[float, float]]] = {}

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
        accept(score, weight)
        row = self._seen.setdefault(task, {})
        count, total = row.get(arm, (0.0, 0.0))
        row[arm] = (count + weight, total + weight * score)

    def _row(self, task: str, arms: Sequence[str]) -> list[tuple[float, float]]:
        """(count, sum) of each arm."""
        seen = self._seen.get(task, {})
        return [seen.get(arm, (0.0, 0.0)) for arm in arms]


class EpsilonGreedy(Tabular):
    """The best mean so far with probability ``1 - epsilon``, else any arm (Sutton and Barto, section 2.2)."""

    def __init__(self, epsilon: float = 0.1) -> None:
        super().__init__()
        self._epsilon = epsilon

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        greedy = best([total / count if count else math.inf for count, total in self._row(task, arms)])
        floor = self._epsilon / len(arms)
        return [(1.0 - self._epsilon) * share + floor for share in greedy]


class Ucb1(Tabular):
    """Mean plus ``sqrt(2 ln n / n_arm)``, per task (Auer, Cesa-Bianchi, Fischer 2002, figure 1)."""

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        row = self._row(task, arms)
        spread = 2.0 * math.log(max(1.0, sum(count for count, _ in row)))
        return best([total / count + math.sqrt(spread / count) if count else math.inf for count, total in row])


class Thompson(Tabular):
    """An arm with the probability that it is the best, under independent Beta posteriors from a uniform prior.

    A score s in [0, 1] counts as s successes and 1 - s failures. The probabilities are the integrals
    ``P(arm is best) = ∫ f_arm(x) Π_other F_other(x) dx``, by the trapezoidal rule on the union of every arm's own
    grid of ``mean ± 7 sd``: within 0.003 of simulation, and exactly what is then drawn from.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[object, Sequence[float]] = (None, ())

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        row = self._row(task, arms)
        if row != self._last[0]:
            self._last = (row, self._integrate(np.array(row)))
        return self._last[1]

    def _integrate(self, row: NDArray[np.float64]) -> Sequence[float]:
        if len(row) == 1 or not np.any(row[:, 0]):
            return [1.0 / len(row)] * len(row)
        a, b = 1.0 + row[:, 1], 1.0 + row[:, 0] - row[:, 1]
        mean = a / (a + b)
        deviation = np.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
        grid = np.unique(np.clip(mean[:, None] + deviation[:, None] * _STEPS, 0.0, 1.0))
        inner = np.clip(grid, 1e-12, 1.0 - 1e-12)
        log_density = (a - 1.0)[:, None] * np.log(inner) + (b - 1.0)[:, None] * np.log1p(-inner)
        density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
        width = np.diff(grid)
        area = 0.5 * (density[:, 1:] + density[:, :-1]) * width
        below = np.concatenate([np.zeros((len(row), 1)), np.cumsum(area, axis=1)], axis=1)
        below /= below[:, -1:]
        # Each arm's share of every cell: its own mass there times the others' distribution at the middle.
        log_middle = np.log(np.maximum(0.5 * (below[:, 1:] + below[:, :-1]), 1e-300))
        mass = np.diff(below, axis=1) * np.exp(log_middle.sum(axis=0) - log_middle)
        shares = mass.sum(axis=1)
        return [float(share) for share in shares / shares.sum()]


_STEPS = np.linspace(-7.0, 7.0, 57)


class LinUcb(Tabular):
    """LinUCB with disjoint linear models (Li et al. 2010, algorithm 1) on the task's one-hot, ``alpha`` 1.

    With one-hot features every arm's matrix ``A = I + Σ x x'`` is diagonal, so ``A⁻¹`` is known in closed form and
    the index is ``sum / (1 + n) + alpha / sqrt(1 + n)`` with the arm's n and sum on this task.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        row = self._row(task, arms)
        return best([total / (1.0 + n) + self._alpha / math.sqrt(1.0 + n) for n, total in row])


class Preset(Distributed):
    """One of the product's deterministic score presets (``core/scoring``), fed with the same outcomes.

    One observation is one second of time. A latency nobody measured counts as half of the default limit, which makes
    its term 0.5 as for everything else unknown. Equal scores go to more samples, then to the alphabet, as in selection.
    """

    def __init__(self, preset: str) -> None:
        self._weights = PRESETS[preset]
        self._evidence: dict[str, dict[str, Evidence]] = {}
        self._now = 0.0

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float]:
        row = self._evidence.get(task, {})
        ranked = []
        for position, arm in enumerate(arms):
            known = row.get(arm)
            value, _ = score(known, _NO_LIMITS, None, self._weights, self._now)
            ranked.append((-value, 0 if known is None else -known.samples, arm, position))
        first = min(ranked)[3]
        return [1.0 if position == first else 0.0 for position in range(len(arms))]

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
        accept(score, weight)
        self._now += 1.0
        row = self._evidence.setdefault(task, {})
        known = history.fold_feedback(row.get(arm, _NOTHING), score)
        latency_ms = DEFAULT_LATENCY_LIMIT_MS / 2 if latency_s is None else latency_s * 1000.0
        row[arm] = replace(
            known,
            samples=known.samples + 1,
            successes=known.successes + 1,
            latency_ms_sum=known.latency_ms_sum + latency_ms,
            last_at=self._now,
        )


_NOTHING = Evidence()
_NO_LIMITS = Criteria()

BASELINES: Mapping[str, Callable[[], Policy]] = MappingProxyType(
    {
        "epsilon-greedy": EpsilonGreedy,
        "ucb1": Ucb1,
        "thompson": Thompson,
        "linucb": LinUcb,
        "balanced": lambda: Preset("balanced"),
        "classic": lambda: Preset("classic"),
        "uniform": Uniform,
    }
)
"""How each baseline is made."""
