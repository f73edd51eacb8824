"""Corrects reported means for the judge's errors, with intervals that know them. Pure.

Rogan-Gladen needs the judge's sensitivity and specificity; prediction-powered inference needs the labelled rows' moments.
Both hold only where the labelled rows are of the same kind as the rows that are reported on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from podium.domain.judgment import Calibration

Floats = npt.NDArray[np.float64]
_PPI = "prediction-powered"
_TOO_WEAK = 0.05
"""Sensitivity + specificity - 1 below which dividing by it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A share or mean as it would be by people. ``None`` with the reason in ``missing`` where it cannot be said."""

    value: float | None
    low: float | None
    high: float | None
    reported: float
    """By the judge alone."""
    method: str
    missing: str | None = None


def rogan_gladen(
    reported: float,
    n: float,
    *,
    sensitivity: float,
    positives: int,
    specificity: float,
    negatives: int,
    level: float = 0.95,
) -> Corrected:
    """The true share of passes from the share ``reported`` of ``n`` rows that the judge passed.

    (reported + specificity - 1) / (sensitivity + specificity - 1) (Rogan & Gladen 1978), the interval with the
    uncertainty of all three shares by Lang & Reiczigel (2014, Prev. Vet. Med. 113); both cut to [0, 1]. ``positives`` and
    ``negatives``: labelled rows behind sensitivity and specificity. A judge close to chance corrects nothing.
    """
    name = "Rogan-Gladen"
    power = sensitivity + specificity - 1.0
    if n <= 0 or positives <= 0 or negatives <= 0:
        return _without(reported, name, "it needs reported rows and labelled rows of both kinds")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    hits, rejects = (positives * sensitivity + 1) / (positives + 2), (negatives * specificity + 1) / (negatives + 2)
    if min(power, hits + rejects - 1.0) < _TOO_WEAK:
        missing = f"the judge passes good and bad answers nearly alike (sensitivity + specificity - 1 is {power:.2f})"
        return _without(reported, name, missing)
    seen = (n * reported + z * z / 2) / (n + z * z)
    share = (seen + rejects - 1.0) / (hits + rejects - 1.0)
    of_hits, of_rejects = hits * (1 - hits) / (positives + 2), rejects * (1 - rejects) / (negatives + 2)
    shift = 2 * z * z * (share * of_hits - (1 - share) * of_rejects)
    spread = seen * (1 - seen) / (n + z * z) + share**2 * of_hits + (1 - share) ** 2 * of_rejects
    half = z * math.sqrt(spread) / (hits + rejects - 1.0)
    value = _cut((reported + specificity - 1.0) / power)
    low, high = _cut(share + shift - half), _cut(share + shift + half)
    return Corrected(value=value, low=min(low, value), high=max(high, value), reported=reported, method=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Of ``n`` labelled rows: means, variances (n - 1) and covariance of label and calibrated score."""

    n: int
    label: float
    score: float
    label_variance: float
    score_variance: float
    covariance: float

    @classmethod
    def of(cls, labels: Sequence[float], scores: Sequence[float]) -> Moments:
        """From at least two rows."""
        spread = np.cov(np.asarray(labels, dtype=float), np.asarray(scores, dtype=float))
        return cls(
            n=len(labels),
            label=float(np.mean(labels)),
            score=float(np.mean(scores)),
            label_variance=float(spread[0, 0]),
            score_variance=float(spread[1, 1]),
            covariance=float(spread[0, 1]),
        )


def ppi_mean(
    labelled: Moments, scores: Sequence[float], *, weights: Sequence[float] | None = None, level: float = 0.95
) -> Corrected:
    """The mean label of the rows behind ``scores``, which nobody labelled. See ``ppi``.

    ``weights``: inverse probabilities with which rows were sampled (self-normalised mean).
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size < 2:
        reported = float(values.mean()) if values.size else math.nan
        return _without(reported, _PPI, "it needs at least two scores")
    mass = np.ones(values.size) if weights is None else np.asarray(weights, dtype=np.float64)
    mass = mass / mass.sum()
    reported = float(mass @ values)
    variance = float((mass**2) @ (values - reported) ** 2) * values.size / (values.size - 1)
    return ppi(labelled, reported, variance, level=level)


def ppi(labelled: Moments, reported: float, variance: float, *, level: float = 0.95) -> Corrected:
    """The mean label behind a mean score ``reported`` whose sampling variance is ``variance``.

    Prediction-powered inference with tuned strength (PPI++, Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453):
    strength · reported + mean(label - strength · score) over the labelled rows, where the strength minimises the variance
    and lies in [0, 1]: a useless judge gets none, and the labelled rows alone remain. The interval uses Student's quantile
    with the labelled rows' degrees of freedom.
    """
    if labelled.n < 2:
        return _without(reported, _PPI, "it needs at least two labelled rows")
    whole = labelled.score_variance + labelled.n * variance
    strength = min(1.0, max(0.0, labelled.covariance / whole)) if whole > 0 else 0.0
    value = strength * reported + labelled.label - strength * labelled.score
    rest = labelled.label_variance - 2 * strength * labelled.covariance + strength**2 * labelled.score_variance
    half = student(0.5 + level / 2, labelled.n - 1) * math.sqrt(strength**2 * variance + max(0.0, rest) / labelled.n)
    return Corrected(value=_cut(value), low=_cut(value - half), high=_cut(value + half), reported=reported, method=_PPI)


def moments_of(calibration: Calibration) -> Moments | None:
    """Of the rows a calibration was made from; ``None`` where it does not hold them."""
    if calibration.moments is None:
        return None
    label, score, label_variance, score_variance, covariance = calibration.moments
    return Moments(
        n=calibration.n, label=label, score=score, label_variance=label_variance, score_variance=score_variance,
        covariance=covariance,
    )  # fmt: skip


def _without(reported: float, method: str, missing: str) -> Corrected:
    return Corrected(value=None, low=None, high=None, reported=reported, method=method, missing=missing)


def student(probability: float, freedom: float) -> float:
    """Quantile of Student's t by Cornish-Fisher's expansion (Abramowitz & Stegun 26.7.5); within 1 % from 5 degrees on."""
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3 + g4 / freedom**4


def _cut(value: float) -> float:
    return min(1.0, max(0.0, value))
