"""How well scores of single outputs, or their measures, tell the better of two: held-out predictions on labelled pairs. Pure.

There is never an offset: turning a pair around turns the verdict. Nothing here is stored; live answers come alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from podium.core.agreement import log_loss
from podium.core.calibration import INNER, OUTER, check
from podium.core.folding import folds
from podium.core.held_out import HeldOut
from podium.core.logistic import regress, sigmoid
from podium.core.stacking import FAR, PENALTIES, table_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def compare_scores(
    first: Sequence[float], second: Sequence[float], labels: Sequence[float], *, groups: Sequence[int], seed: int = 0
) -> HeldOut:
    """From the raw scores of both outputs of n pairs, in [0, 1]; ``labels``: 1 where the first is better, else 0.

    Before: half of 1 plus the difference; after: a logistic curve of the difference, of which only the slope is fitted
    and which never turns the judge around. Raises ``InvalidRequest`` with too few labels.
    """
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    truth, rng = np.asarray(labels, dtype=np.float64), np.random.default_rng(seed)
    check(truth)

    def fitted(rows: Floats, wanted: Floats) -> Callable[[Floats], Floats]:
        size = float(np.sqrt(np.mean(rows**2))) or 1.0
        slope = max(0.0, float(regress((rows / size)[:, None], wanted, 1.0, offset=False).slopes[0])) / size
        return lambda others: slope * others

    logits = _held_out(gaps, truth, np.asarray(groups, dtype=np.int64), OUTER, rng, fitted)
    return _told(gaps, (1.0 + gaps) / 2.0, logits, truth, np.asarray(groups, dtype=np.int64))


def compare_features(
    first: Sequence[Mapping[str, float]],
    second: Sequence[Mapping[str, float]],
    labels: Sequence[float],
    *,
    groups: Sequence[int],
    seed: int = 0,
) -> HeldOut:
    """From the features of both outputs: a ridge regression of their differences, its penalty by cross-validation.

    A feature that one of the two lacks counts as equal. Raises ``InvalidRequest`` with too few labels.
    """
    _, table = table_of([*first, *second])
    rows = np.nan_to_num(table[: len(first)] - table[len(first) :])
    truth, together = np.asarray(labels, dtype=np.float64), np.asarray(groups, dtype=np.int64)
    check(truth)
    rng = np.random.default_rng(seed)

    def with_penalty(penalty: float) -> Callable[[Floats, Floats], Callable[[Floats], Floats]]:
        def fitted(some: Floats, wanted: Floats) -> Callable[[Floats], Floats]:
            size = np.sqrt(np.mean(some**2, axis=0))
            size = np.where(size > 1e-9, size, np.inf)
            slopes = regress(np.clip(some / size, -FAR, FAR), wanted, penalty, offset=False).slopes
            return lambda others: np.asarray(np.clip(others / size, -FAR, FAR) @ slopes, dtype=np.float64)

        return fitted

    logits = np.empty(truth.size)
    fold = folds(truth >= 0.5, together, OUTER, rng)
    for index in np.unique(fold):
        inside, outside = fold != index, fold == index
        inner = int(rng.integers(1 << 31))
        losses = {
            penalty: log_loss(
                sigmoid(
                    _held_out(
                        rows[inside], truth[inside], together[inside], INNER, np.random.default_rng(inner),
                        with_penalty(penalty),
                    )
                ),
                truth[inside],
            )
            for penalty in PENALTIES
        }  # fmt: skip
        penalty = min(losses, key=lambda tried: losses[tried])
        logits[outside] = with_penalty(penalty)(rows[inside], truth[inside])(rows[outside])
    return _told(logits, sigmoid(logits), logits, truth, together)


def _held_out(
    rows: Floats,
    truth: Floats,
    groups: Ints,
    count: int,
    rng: np.random.Generator,
    fitted: Callable[[Floats, Floats], Callable[[Floats], Floats]],
) -> Floats:
    fold, found = folds(truth >= 0.5, groups, count, rng), np.empty(truth.size)
    for index in np.unique(fold):
        found[fold == index] = fitted(rows[fold != index], truth[fold != index])(rows[fold == index])
    return found


def _told(order: Floats, before: Floats, logits: Floats, truth: Floats, groups: Ints) -> HeldOut:
    return HeldOut(order, before, sigmoid(logits), np.asarray(logits > 0), truth, groups)
