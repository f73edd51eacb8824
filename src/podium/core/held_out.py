"""What a calibrated judge did on rows it was not fitted on, and the figures of that. Pure; fits nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from podium.core import agreement
from podium.core.agreement import Interval
from podium.domain.judgment import Calibration

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Arrays over n rows: what orders them, the score ``before`` and ``after`` calibration, whether the judge passes
    them, the labels in [0, 1], and the groups that depend on each other.
    """

    order: Floats
    before: Floats
    after: Floats
    passes: Bools
    labels: Floats
    groups: Ints

    @property
    def passed(self) -> Bools:
        """By the labels."""
        return np.asarray(self.labels >= 0.5, dtype=np.bool_)


def joined(parts: Sequence[HeldOut]) -> HeldOut:
    """Several sets of rows as one. What orders each set alone has no common scale: calibrated scores order the whole."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(int(part.groups.max(initial=-1)) + 1 for part in parts[:-1])])
    after = np.concatenate([part.after for part in parts])
    return HeldOut(
        after,
        np.concatenate([part.before for part in parts]),
        after,
        np.concatenate([part.passes for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.groups + start for part, start in zip(parts, starts, strict=True)]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """With intervals at 95 %; ``None`` where there is no such number. Kappa, agreement, sensitivity and specificity are
    of pass or fail by the calibrated score, cut where the judge passes as many training rows as people did.
    """

    n: int
    positives: int
    auc: Interval | None
    kappa: Interval | None
    agreement: Interval | None
    ece_before: Interval | None
    ece_after: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None
    log_loss: float
    log_loss_of_base_rate: float
    """Of saying the share of passed labels every time: a judge above it knows less than nothing."""


def cut_at(probabilities: Floats, labels: Floats) -> float:
    """The cut at which as many rows pass as labels do, as near as ties allow; half-way between two scores."""
    values, counts = np.unique(probabilities, return_counts=True)
    above = counts[::-1].cumsum()[::-1]
    best = int(np.argmin(np.abs(above - (labels >= 0.5).sum())))
    lower = values[best - 1] if best else 0.0
    return float((lower + values[best]) / 2)


def filled(calibration: Calibration, held: HeldOut) -> Calibration:
    """``calibration`` with its figures."""
    passed = held.passed
    area = agreement.auc_interval(held.order, passed, held.groups)
    spread = np.cov(held.labels, held.after)
    return dataclasses.replace(
        calibration,
        n=int(held.labels.size),
        positives=int(passed.sum()),
        auc=None if area is None else area.value,
        auc_low=None if area is None else area.low,
        auc_high=None if area is None else area.high,
        kappa=agreement.kappa(held.passes, passed),
        ece_before=agreement.ece(held.before, held.labels),
        ece_after=agreement.ece(held.after, held.labels),
        sensitivity=agreement.share(held.passes[passed]),
        specificity=agreement.share(~held.passes[~passed]),
        moments=(
            float(held.labels.mean()), float(held.after.mean()),
            float(spread[0, 0]), float(spread[1, 1]), float(spread[0, 1]),
        ),
    )  # fmt: skip


def figures(held: HeldOut, rng: np.random.Generator, draws: int = agreement.DRAWS) -> Figures:
    """All figures, intervals by drawing groups with replacement, those of the AUC by DeLong."""
    passed, passes, labels = held.passed, held.passes, held.labels

    def drawn(statistic: agreement.Statistic) -> Interval | None:
        return agreement.bootstrap(statistic, held.groups, rng, draws=draws)

    rate = np.full(labels.size, labels.mean())
    return Figures(
        n=int(labels.size),
        positives=int(passed.sum()),
        auc=agreement.auc_interval(held.order, passed, held.groups),
        kappa=drawn(lambda weights: agreement.kappa(passes, passed, weights)),
        agreement=drawn(lambda weights: agreement.share(passes == passed, weights)),
        ece_before=drawn(lambda weights: agreement.ece(held.before, labels, weights)),
        ece_after=drawn(lambda weights: agreement.ece(held.after, labels, weights)),
        sensitivity=drawn(lambda weights: agreement.share(passes[passed], weights[passed])),
        specificity=drawn(lambda weights: agreement.share(~passes[~passed], weights[~passed])),
        log_loss=agreement.log_loss(held.after, labels),
        log_loss_of_base_rate=agreement.log_loss(rate, labels),
    )
