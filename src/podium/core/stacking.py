"""Combines what rules measured and what judges scored into one probability: a logistic regression with a ridge. Pure.

Missing values are allowed anywhere: a feature that is absent adds what its absence is worth. The weights are of the
features as they come, so that applying them needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from podium.core.agreement import log_loss
from podium.core.calibration import INNER, OUTER, Fitted, check
from podium.core.folding import folds
from podium.core.held_out import HeldOut, cut_at, filled
from podium.core.logistic import Line, regress, sigmoid
from podium.domain.judgment import RULES, STACK, Calibration, Verdict
from podium.errors import InvalidRequest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
OFFSET = "(offset)"
ABSENT = "(absent)"
"""Ends the name under which the worth of a missing feature is kept."""
PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
_EDGE = 0.01
"""Scores are kept this far off 0 and 1 before their log-odds are taken."""
FAR = 4.0
"""Values are cut this many standard deviations off their mean while fitting, so that a single one cannot lead."""


def stack(
    features: Sequence[Mapping[str, float]],
    labels: Sequence[float],
    *,
    seed: int = 0,
    groups: Sequence[int] | None = None,
    criterion: str = "",
) -> Calibration:
    """Weights, offset and final mapping from n rows of features; figures of held-out rows. See ``stack_up``."""
    return stack_up(features, labels, seed=seed, groups=groups, criterion=criterion).calibration


def stack_up(
    features: Sequence[Mapping[str, float]],
    labels: Sequence[float],
    *,
    seed: int = 0,
    groups: Sequence[int] | None = None,
    criterion: str = "",
) -> Fitted:
    """Standardised features, penalty by cross-validated log loss, then Platt's mapping of held-out log-odds.

    Labels in [0, 1]. Features that never vary are left out. Raises ``InvalidRequest`` with too few labels, of one
    class, or without any feature that varies.
    """
    truth = np.asarray(labels, dtype=np.float64)
    check(truth)
    if len(features) != truth.size:
        raise InvalidRequest("a row of features is needed for each label", param="features")
    names, table = table_of(features)
    together = np.arange(truth.size) if groups is None else np.asarray(groups, dtype=np.int64)
    rng = np.random.default_rng(seed)
    fold = folds(truth >= 0.5, together, OUTER, rng)
    before, after, order = np.empty(truth.size), np.empty(truth.size), np.empty(truth.size)
    passes = np.zeros(truth.size, dtype=np.bool_)
    for index in np.unique(fold):
        inside, outside = fold != index, fold == index
        weights, slope, offset = _fit(names, table[inside], truth[inside], together[inside], rng)
        order[outside] = _sums(names, weights, table[outside])
        before[outside] = sigmoid(order[outside])
        after[outside] = sigmoid(slope * order[outside] + offset)
        cut = cut_at(sigmoid(slope * _sums(names, weights, table[inside]) + offset), truth[inside])
        passes[outside] = after[outside] >= cut
    weights, slope, offset = _fit(names, table, truth, together, rng)
    cut = cut_at(sigmoid(slope * _sums(names, weights, table) + offset), truth)
    held = HeldOut(order, before, after, passes, truth, together)
    made = Calibration(judge=STACK, criterion=criterion, kind=STACK, knots=((slope, offset),), weights=weights, cut=cut)
    return Fitted(filled(made, held), held)


def features_of(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """What a stack sees of the verdicts on one answer: measures of rules by name, and of each judge its score, plain and
    as log-odds. A verdict without a score adds no score: it counts as absent.
    """
    found: dict[str, float] = {}
    for verdict in verdicts:
        if verdict.judge == RULES:
            found.update({f"{RULES}.{name}": float(value) for name, value in verdict.features.items()})
        if verdict.score is not None:
            safe = min(1.0 - _EDGE, max(_EDGE, verdict.score))
            found[f"score.{verdict.judge}"] = verdict.score
            found[f"logit.{verdict.judge}"] = math.log(safe / (1.0 - safe))
    return found


def table_of(features: Sequence[Mapping[str, float]]) -> tuple[list[str], Floats]:
    """Names in order, and values of shape (n, names) with NaN for what is absent or no number."""
    names = sorted({name for row in features for name in row})
    table = np.array([[row.get(name, math.nan) for name in names] for row in features], dtype=np.float64)
    table = table.reshape(len(features), len(names))
    return names, np.where(np.isfinite(table), table, math.nan)


def apply_stack(calibration: Calibration, features: Mapping[str, float]) -> float:
    """The probability that a person passes it. Unknown features are ignored, missing ones count as absent."""
    weights = calibration.weights
    total = weights.get(OFFSET, 0.0)
    for name, weight in weights.items():
        if name == OFFSET or name.endswith(ABSENT):
            continue
        value = features.get(name)
        if value is None or not math.isfinite(value):
            total += weights.get(name + ABSENT, 0.0)
        else:
            total += weight * value
    slope, offset = calibration.knots[0]
    return float(sigmoid(np.array([slope * total + offset]))[0])


def _fit(
    names: Sequence[str], table: Floats, labels: Floats, groups: Ints, rng: np.random.Generator
) -> tuple[dict[str, float], float, float]:
    """Weights by name, and slope and offset of the final mapping."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    filled_in = np.where(known, table, 0.0)
    means = filled_in.sum(axis=0) / np.maximum(counts, 1)
    spreads = np.sqrt(np.where(known, (filled_in - means) ** 2, 0.0).sum(axis=0) / np.maximum(counts, 1))
    varies = spreads > 1e-9 * (1.0 + np.abs(means))
    gaps = (counts > 0) & (counts < labels.size)
    scaled = np.where(known, np.clip((filled_in - means) / np.where(varies, spreads, 1.0), -FAR, FAR), 0.0)
    design = np.column_stack([scaled[:, varies], (~known[:, gaps]).astype(np.float64)])
    if not design.shape[1]:
        raise InvalidRequest("no feature varies between the rows: there is nothing to learn from", param="features")
    fold = folds(labels >= 0.5, groups, INNER, rng)
    guesses = {penalty: np.empty(labels.size) for penalty in PENALTIES}
    for index in np.unique(fold):
        inside, outside = fold != index, fold == index
        for penalty, guess in guesses.items():
            guess[outside] = regress(design[inside], labels[inside], penalty).logits(design[outside])
    penalty = min(PENALTIES, key=lambda tried: log_loss(sigmoid(guesses[tried]), labels))
    final = regress(guesses[penalty][:, None], labels, 1.0, centre=np.ones(1))
    line = regress(design, labels, penalty)
    slope = max(0.0, float(final.slopes[0]))
    return _unscaled(names, line, means, spreads, varies, gaps), slope, final.offset


def _unscaled(
    names: Sequence[str], line: Line, means: Floats, spreads: Floats, varies: npt.NDArray[np.bool_],
    gaps: npt.NDArray[np.bool_],
) -> dict[str, float]:  # fmt: skip
    """Weights of the features as they come; an absent one counts as its mean plus what absence is worth."""
    found, offset = {}, line.offset
    slopes, absences = np.zeros(len(names)), np.zeros(len(names))
    slopes[varies] = line.slopes[: int(varies.sum())] / spreads[varies]
    absences[gaps] = line.slopes[int(varies.sum()) :]
    for name, slope, mean, absence, kept in zip(names, slopes, means, absences, varies | gaps, strict=True):
        if kept:
            found[name] = float(slope)
            found[name + ABSENT] = float(slope * mean + absence)
    found[OFFSET] = float(offset - slopes @ means)
    return found


def _sums(names: Sequence[str], weights: Mapping[str, float], table: Floats) -> Floats:
    slopes = np.array([weights.get(name, 0.0) for name in names])
    absences = np.array([weights.get(name + ABSENT, 0.0) for name in names])
    known = ~np.isnan(table)
    summed = weights[OFFSET] + np.where(known, table, 0.0) @ slopes + (~known) @ absences
    return np.asarray(summed, dtype=np.float64)
