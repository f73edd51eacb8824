"""Maps a judge's raw score to the probability that a person passes the answer, honestly when labels are few. Pure.

Owns the two mappings of one score (isotonic, Platt) and their choice. Combining several scores is ``core.stacking``;
what the figures mean is ``core.agreement``. Learns nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from podium.core.agreement import log_losses
from podium.core.folding import folds
from podium.core.held_out import HeldOut, cut_at, filled
from podium.core.logistic import regress, sigmoid
from podium.domain.judgment import Calibration
from podium.errors import InvalidRequest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["isotonic", "platt", "auto"]
Knots = tuple[tuple[float, float], ...]
LEAST = 20
"""Labels below which nothing is fitted."""
LEAST_OF_A_KIND = 5
"""Labels that pass, and labels that fail, below which nothing is fitted."""
OUTER, INNER = 10, 5
"""Folds for the figures, and inside of each for the choice of a mapping."""
_EDGE = 0.01
"""Raw scores are kept this far off 0 and 1 before their logit is taken."""
_RIDGE = 1.0
_PULL = 30.0
"""The isotonic mapping leans on Platt's as on so many further labels."""
_MOST_STEPS = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration with what it did on rows it was not fitted on."""

    calibration: Calibration
    held: HeldOut


def fit(
    raw: Sequence[float],
    labels: Sequence[float],
    *,
    kind: Kind = "auto",
    seed: int = 0,
    weights: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    judge: str = "",
    criterion: str = "",
) -> Calibration:
    """The mapping of one judge on one criterion, figures included. See ``calibrate``."""
    return calibrate(
        raw, labels, kind=kind, seed=seed, weights=weights, groups=groups, judge=judge, criterion=criterion
    ).calibration


def calibrate(
    raw: Sequence[float],
    labels: Sequence[float],
    *,
    kind: Kind = "auto",
    seed: int = 0,
    weights: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    judge: str = "",
    criterion: str = "",
) -> Fitted:
    """Fit on raw scores and labels in [0, 1] (n of each; a label of at least one half has passed).

    ``auto`` takes the mapping with the lower cross-validated log loss, Platt's unless the other is clearly better. Rows of one group (one prompt, one pair) are
    never on both sides of a split. All figures are of held-out rows. Raises ``InvalidRequest`` when there are too few
    labels, of one class, or numbers outside of [0, 1]; the message says which.
    """
    scores, truth = np.asarray(raw, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    check(truth)
    if scores.shape != truth.shape or not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise InvalidRequest("a raw score in [0, 1] is needed for each label", param="raw")
    mass = np.ones(truth.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if mass.shape != truth.shape or not np.isfinite(mass).all() or mass.min() < 0 or mass.sum() <= 0:
        raise InvalidRequest("a weight of at least 0 is needed for each label, not all of them 0", param="weights")
    together = np.arange(truth.size) if groups is None else np.asarray(groups, dtype=np.int64)
    rng = np.random.default_rng(seed)
    fold = folds(truth >= 0.5, together, OUTER, rng)
    after, passes = np.empty(truth.size), np.zeros(truth.size, dtype=np.bool_)
    for index in np.unique(fold):
        inside, outside = fold != index, fold == index
        _, knots, mapping = _best(kind, scores[inside], truth[inside], mass[inside], together[inside], rng)
        after[outside] = mapping(knots, scores[outside])
        cut = cut_at(mapping(knots, scores[inside]), truth[inside])
        passes[outside] = after[outside] >= cut
    held = HeldOut(scores, scores, after, passes, truth, together)
    name, knots, mapping = _best(kind, scores, truth, mass, together, rng)
    cut = cut_at(mapping(knots, scores), truth)
    return Fitted(filled(Calibration(judge=judge, criterion=criterion, kind=name, knots=knots, cut=cut), held), held)


def apply(calibration: Calibration, raw: float) -> float:
    """The probability that a person passes it, for a raw score in [0, 1]; never falls as ``raw`` rises."""
    return float(_MAPPINGS[calibration.kind](calibration.knots, np.array([raw]))[0])


def apply_all(calibration: Calibration, raw: Sequence[float]) -> tuple[float, ...]:
    """``apply`` on many."""
    return tuple(_MAPPINGS[calibration.kind](calibration.knots, np.asarray(raw, dtype=np.float64)).tolist())


def check(labels: Floats) -> None:
    """Raises ``InvalidRequest`` when nothing can be fitted on them, with the reason."""
    if labels.ndim != 1 or (labels.size and not (np.isfinite(labels).all() and 0 <= labels.min() <= labels.max() <= 1)):
        raise InvalidRequest("labels must be numbers in [0, 1]", param="labels")
    if labels.size < LEAST:
        raise InvalidRequest(
            f"{labels.size} labels are too few to calibrate on: {LEAST} are the least, 200 are good", param="labels"
        )
    passed = int((labels >= 0.5).sum())
    for count, what in ((passed, "pass"), (labels.size - passed, "fail")):
        if count < LEAST_OF_A_KIND:
            raise InvalidRequest(
                f"{count} of {labels.size} labels {what}: at least {LEAST_OF_A_KIND} are needed, "
                "else nothing shows whether the judge tells good from bad",
                param="labels",
            )


def pool(values: Floats, weights: Floats) -> Floats:
    """The closest non-decreasing sequence by weighted squares (pool adjacent violators; Ayer et al. 1955)."""
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, length = value, weight, 1
        while means and means[-1] >= mean:
            mean = (means[-1] * masses[-1] + mean * mass) / (masses[-1] + mass)
            mass += masses[-1]
            length += lengths[-1]
            del means[-1], masses[-1], lengths[-1]
        means.append(mean)
        masses.append(mass)
        lengths.append(length)
    return np.repeat(means, lengths)


def _best(
    kind: Kind, raw: Floats, labels: Floats, weights: Floats, groups: Ints, rng: np.random.Generator
) -> tuple[str, Knots, _Mapping]:
    chosen = _choose(raw, labels, weights, groups, rng) if kind == "auto" else kind
    return chosen, _FITS[chosen](raw, labels, weights), _MAPPINGS[chosen]


def _choose(raw: Floats, labels: Floats, weights: Floats, groups: Ints, rng: np.random.Generator) -> str:
    """Steps where their log loss on held-out folds is lower by more than its standard error, else the simpler curve."""
    fold = folds(labels >= 0.5, groups, INNER, rng)
    guesses = {name: np.empty(raw.size) for name in _FITS}
    for index in np.unique(fold):
        inside, outside = fold != index, fold == index
        for name, fitting in _FITS.items():
            knots = fitting(raw[inside], labels[inside], weights[inside])
            guesses[name][outside] = _MAPPINGS[name](knots, raw[outside])
    gain = log_losses(guesses["platt"], labels) - log_losses(guesses["isotonic"], labels)
    mean = float(np.average(gain, weights=weights))
    error = float(np.sqrt(np.average((gain - mean) ** 2, weights=weights) / raw.size))
    return "isotonic" if mean > error else "platt"


def _fit_platt(raw: Floats, labels: Floats, weights: Floats) -> Knots:
    """Slope and offset on the logit by Platt (1999), labels moved off 0 and 1 as there, with a ridge of one unit on the
    standardised logit. A slope below 0 becomes 0: then every score maps to the share of passed labels.
    """
    passes, fails = float(weights @ labels), float(weights @ (1.0 - labels))
    labels = labels * (passes + 1.0) / (passes + 2.0) + (1.0 - labels) / (fails + 2.0)
    logits = _logit(raw)
    middle = float(np.average(logits, weights=weights))
    scale = float(np.sqrt(np.average((logits - middle) ** 2, weights=weights)))
    rows = ((logits - middle) / scale if scale > 1e-9 else np.zeros_like(logits))[:, None]
    line = regress(rows, labels, _RIDGE, weights=weights)
    slope = float(line.slopes[0]) / scale if scale > 1e-9 else 0.0
    if slope <= 0:
        line = regress(np.zeros((labels.size, 1)), labels, _RIDGE, weights=weights)
        return ((0.0, line.offset),)
    return ((slope, line.offset - slope * middle),)


def _map_platt(knots: Knots, raw: Floats) -> Floats:
    slope, offset = knots[0]
    return sigmoid(slope * _logit(raw) + offset)


def _fit_isotonic(raw: Floats, labels: Floats, weights: Floats) -> Knots:
    """Steps through at most 64 groups of rows, each label moved a little towards Platt's mapping: with few labels the
    steps alone would claim shares of 0 and 1.
    """
    lean = _PULL / (_PULL + float(weights.sum()) ** 2 / float(weights @ weights))
    wanted = (1.0 - lean) * labels + lean * _map_platt(_fit_platt(raw, labels, weights), raw)
    values, place = np.unique(raw, return_inverse=True)
    mass = np.bincount(place, weights)
    if values.size > _MOST_STEPS:
        middle = (np.cumsum(mass) - mass / 2) / mass.sum()
        place = np.minimum(np.floor(middle * _MOST_STEPS), _MOST_STEPS - 1).astype(np.int64)[place]
        place = np.unique(place, return_inverse=True)[1]
    total = np.bincount(place, weights).astype(np.float64)
    heavy = total > 0
    with np.errstate(invalid="ignore"):
        centres = (np.bincount(place, weights * raw) / total)[heavy]
        means = (np.bincount(place, weights * wanted) / total)[heavy]
    steps = pool(means, total[heavy])
    edges = np.flatnonzero(np.diff(steps) > 0)
    ends = np.unique(np.concatenate([[0], edges, edges + 1, [steps.size - 1]]))
    return tuple(zip(centres[ends].tolist(), steps[ends].tolist(), strict=True))


def _map_isotonic(knots: Knots, raw: Floats) -> Floats:
    places, values = zip(*knots, strict=True)
    return np.asarray(np.interp(raw, places, values), dtype=np.float64)


def _logit(raw: Floats) -> Floats:
    safe = np.clip(raw, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(safe / (1.0 - safe)), dtype=np.float64)


_Mapping = Callable[[Knots, Floats], Floats]
_FITS: dict[str, Callable[[Floats, Floats, Floats], Knots]] = {"platt": _fit_platt, "isotonic": _fit_isotonic}
_MAPPINGS: dict[str, _Mapping] = {"platt": _map_platt, "isotonic": _map_isotonic}
