"""Off-policy evaluation: what a policy would have earned on decisions that another one made and logged.

Owns the three estimators, their intervals, the effective sample size and the words of the verdict. Rows are added one
by one and only sums are kept. Must not read files or decide what ships.

With the target's probability π of the logged choice, the logged propensity p, the reward r and w = π / p, over n rows:

    IPS     mean of w r                                       (Horvitz and Thompson 1952)
    SNIPS   Σ w r / Σ w                                       (Swaminathan and Joachims 2015)
    DR      mean of Σ_a π(a) q(a) + w (r - q(chosen))         (Dudík, Langford, Li 2011)
    ESS     (Σ w)² / Σ w²                                     (Kish 1965)

q is a prediction of the reward: the log's own, else the running mean of the candidate's rewards on the task, shrunk
towards the task's by two observations, of earlier rows only, so that DR is unbiased for any logging policy whose
propensities are right. Weights are never clipped. Intervals are asymptotic, from the variance of the terms (for
SNIPS of their linearisation), with the quantile of Student's t at ESS - 1 degrees of freedom.

A row with propensity 1 says nothing about any other choice (a session that goes on, a version asked for by name, a
deterministic strategy). It teaches, but the estimates are over the rows that had a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import NormalDist
from typing import Protocol

ENOUGH = 50.0
"""Effective samples below which there is no verdict."""
CERTAIN = 1.0 - 1e-9
"""The propensity from which on a choice had no alternative."""
SHRINK = 2.0
"""Observations of the task's mean in the reward model's mean of one candidate."""
ODD_WEIGHT = 4.0
"""Standard errors by which the mean weight may be off 1 before the propensities are doubted."""


class Verdict(StrEnum):
    """How the target compares with the policy that made the log."""

    BETTER = "better"
    WORSE = "worse"
    UNKNOWN = "cannot tell"


class Target(Protocol):
    """The policy under evaluation."""

    def distribution(self, task: str, arms: Sequence[str]) -> Sequence[float] | None:
        """The probability of each of ``arms``, in their order, before the row's reward is known.

        ``None`` when it has no choice among these: the row is left out.
        """
        ...

    def observe(self, task: str, arm: str, score: float, *, weight: float = 1.0) -> None:
        """The row's reward, for a policy that learns from the log as it goes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One logged decision with its reward."""

    task: str
    candidates: Sequence[str]
    chosen: int
    """Index into ``candidates``."""
    propensity: float
    """Probability in (0, 1] with which the logging policy made this choice."""
    reward: float
    """In [0, 1]."""
    predicted: Sequence[float] | None = None
    """Predicted reward of each candidate, made without this row's reward."""
    target: Sequence[float] | None = None
    """Probabilities of the target for this row; wins over the target's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float
    error: float
    """Standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What some rows say about the target. An estimate without any weight in the log is ``None``."""

    n: int
    effective_samples: float
    mean_weight: float
    """1 within its error when the propensities are right and every choice of the target was possible."""
    max_weight: float
    logging: Estimate
    ips: Estimate | None
    snips: Estimate | None
    doubly_robust: Estimate | None
    difference: Estimate | None
    """Doubly robust value minus what was logged, paired by row."""
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The whole log, and each task."""

    overall: Comparison
    tasks: Mapping[str, Comparison] = field(default_factory=dict)


class Evaluator:
    """Takes the rows of a log in the order they happened. The first ``warm_up`` rows only teach."""

    def __init__(self, target: Target, *, warm_up: int = 0, confidence: float = 0.95) -> None:
        self._target = target
        self._warm_up = warm_up
        self._confidence = confidence
        self._model = _RewardModel()
        self._all = _Sums()
        self._tasks: dict[str, _Sums] = {}
        self.left_out = 0
        """Rows in which the target had no choice."""
        self.certain = 0
        """Rows in which the log had no choice; they only taught."""

    def add(self, row: Logged) -> None:
        """Take in one row. Raises ``ValueError`` when the target's probabilities do not fit the candidates."""
        shares = self._target.distribution(row.task, row.candidates) if row.target is None else row.target
        if shares is None:
            self.left_out += 1
            return
        if len(shares) != len(row.candidates) or abs(math.fsum(shares) - 1.0) > 1e-6:
            raise ValueError(f"probabilities {list(shares)} for {len(row.candidates)} candidates")
        arm = row.candidates[row.chosen]
        if self._warm_up > 0:
            self._warm_up -= 1
        elif row.propensity >= CERTAIN:
            self.certain += 1
        else:
            guess = row.predicted
            if guess is None:
                guess = [self._model.predict(row.task, name) for name in row.candidates]
            weight = shares[row.chosen] / row.propensity
            direct = sum(share * value for share, value in zip(shares, guess, strict=True))
            robust = direct + weight * (row.reward - guess[row.chosen])
            self._all.add(weight, row.reward, robust)
            self._tasks.setdefault(row.task, _Sums()).add(weight, row.reward, robust)
        self._model.observe(row.task, arm, row.reward)
        self._target.observe(row.task, arm, row.reward)

    @property
    def evaluated(self) -> int:
        """Rows the estimates are made of."""
        return self._all.n

    def result(self) -> Evaluation:
        """Everything estimated. Raises ``ValueError`` without a row to judge by; ``evaluated`` tells."""
        if self._all.n == 0:
            raise ValueError("no row was evaluated")
        return Evaluation(
            overall=self._all.compare(self._confidence),
            tasks={name: sums.compare(self._confidence) for name, sums in sorted(self._tasks.items())},
        )


class _RewardModel:
    """Shrunk running means per task and candidate."""

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[float, float]] = {}
        self._cells: dict[tuple[str, str], tuple[float, float]] = {}

    def predict(self, task: str, arm: str) -> float:
        count, total = self._tasks.get(task, (0.0, 0.0))
        prior = (total + 0.5) / (count + 1.0)
        count, total = self._cells.get((task, arm), (0.0, 0.0))
        return (total + SHRINK * prior) / (count + SHRINK)

    def observe(self, task: str, arm: str, reward: float) -> None:
        count, total = self._tasks.get(task, (0.0, 0.0))
        self._tasks[task] = (count + 1.0, total + reward)
        count, total = self._cells.get((task, arm), (0.0, 0.0))
        self._cells[task, arm] = (count + 1.0, total + reward)


@dataclass(slots=True)
class _Sums:
    """Sums over rows of weight w, reward r and doubly robust term d, and of the products the variances need."""

    n: int = 0
    w: float = 0.0
    ww: float = 0.0
    wr: float = 0.0
    wwr: float = 0.0
    wwrr: float = 0.0
    www: float = 0.0
    wwwr: float = 0.0
    wwwrr: float = 0.0
    r: float = 0.0
    rr: float = 0.0
    d: float = 0.0
    dd: float = 0.0
    dr: float = 0.0
    top: float = 0.0

    def add(self, weight: float, reward: float, robust: float) -> None:
        product = weight * reward
        self.n += 1
        self.w += weight
        self.ww += weight * weight
        self.wr += product
        self.wwr += weight * product
        self.wwrr += product * product
        self.www += weight**3
        self.wwwr += weight * weight * product
        self.wwwrr += weight * product * product
        self.r += reward
        self.rr += reward * reward
        self.d += robust
        self.dd += robust * robust
        self.dr += robust * reward
        self.top = max(self.top, weight)

    def compare(self, confidence: float) -> Comparison:
        n, effective = self.n, self.w * self.w / self.ww if self.ww > 0 else 0.0
        wide = student(effective - 1.0, confidence)
        logging = _mean(self.r, self.rr, n, student(n - 1.0, confidence))
        ips = snips = robust = difference = None
        if effective > 0:
            ips = _mean(self.wr, self.wwrr, n, wide)
            snips = self._normalised(wide)
            robust = _mean(self.d, self.dd, n, wide)
            difference = _mean(self.d - self.r, self.dd - 2.0 * self.dr + self.rr, n, wide, low=-1.0)
        weights = _mean(self.w, self.ww, n, 1.0, low=0.0, high=math.inf)
        verdict, reason = _judge(effective, weights, difference)
        return Comparison(
            n=n,
            effective_samples=effective,
            mean_weight=self.w / n,
            max_weight=self.top,
            logging=logging,
            ips=ips,
            snips=snips,
            doubly_robust=robust,
            difference=difference,
            verdict=verdict,
            reason=reason,
        )

    def _normalised(self, wide: float) -> Estimate:
        """SNIPS. Each squared residual is raised by ``1 + 2 w / Σ w``, as its row pulls the mean towards itself."""
        value = self.wr / self.w
        spread = self.wwrr - 2.0 * value * self.wwr + value * value * self.ww
        pulled = self.wwwrr - 2.0 * value * self.wwwr + value * value * self.www
        return _estimate(value, math.sqrt(max(0.0, spread + 2.0 * pulled / self.w)) / self.w, wide)


def _judge(effective: float, weights: Estimate, difference: Estimate | None) -> tuple[Verdict, str]:
    if effective < ENOUGH or difference is None:
        return Verdict.UNKNOWN, f"cannot tell: {effective:.0f} effective samples, {ENOUGH:.0f} are needed"
    if abs(weights.value - 1.0) > ODD_WEIGHT * weights.error:
        why = "the propensities are not right, or the log could not make all of the policy's choices"
        return Verdict.UNKNOWN, f"cannot tell: the weights average {weights.value:.3g} instead of 1, so {why}"
    low, high = f"{difference.low:+.3f}", f"{difference.high:+.3f}"
    if difference.low > 0 or difference.high < 0:
        verdict = Verdict.BETTER if difference.low > 0 else Verdict.WORSE
        return verdict, f"{verdict} by {abs(difference.value):.3f} (95 % interval of the difference {low} to {high})"
    return Verdict.UNKNOWN, f"cannot tell: {effective:.0f} effective samples leave {low} to {high}"


def _mean(total: float, squares: float, n: int, wide: float, low: float = 0.0, high: float = 1.0) -> Estimate:
    """The mean of n terms with their sum and sum of squares."""
    value = total / n
    variance = max(0.0, squares - n * value * value) / max(1, n - 1)
    return _estimate(value, math.sqrt(variance / n), wide, low, high)


def _estimate(value: float, error: float, wide: float, low: float = 0.0, high: float = 1.0) -> Estimate:
    """The interval is cut to what the value can be."""
    return Estimate(
        value=value,
        low=min(high, max(low, value - wide * error)),
        high=max(low, min(high, value + wide * error)),
        error=error,
    )


def student(degrees: float, confidence: float) -> float:
    """The two-sided quantile of Student's t: within 0.5 % from 3 degrees of freedom on; fewer count as 3.

    The expansion around the normal quantile of Abramowitz and Stegun 26.7.5.
    """
    z, v = NormalDist().inv_cdf(0.5 + confidence / 2.0), max(3.0, degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
