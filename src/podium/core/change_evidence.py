"""How sure it is that values in [0, 1] do not have the mean they had: e-values, valid whenever one looks.

Owns the formulas. Must not remember anything or know what is measured.

Of right-or-wrong values with one mean ``p``, whatever it is, ``mixture(before) * mixture(after) / (p^good (1-p)^bad)`` is
a martingale that starts at 1, where ``mixture`` is the mean likelihood over Jeffreys' prior (Krichevsky and Trofimov
1981). With the ``p`` that fits best in the denominator it is smaller still, so it exceeds ``1 / level`` ever with
probability at most ``level`` (Ville 1939; universal inference: Wasserman, Ramdas and Balakrishnan 2020). Other values in
[0, 1] only make it smaller: the likelihood ratio is convex in the value.

Values that vary less than right-or-wrong ones tell more: they count as the right-or-wrong values that would tell as much
(``worth``; see sequential/means). That step is an approximation, which is checked by simulation.
"""

from __future__ import annotations

import math

from podium.core.sequential.means import PRIOR

_LOG_PI = math.log(math.pi)


def changed(good_before: float, bad_before: float, good_after: float, bad_after: float) -> float:
    """Logarithm of the e-value against "both have one mean". Counts may be fractions; both need some."""
    good, bad = good_before + good_after, bad_before + bad_after
    whole = good + bad
    same = (good * math.log(good / whole) if good > 0 else 0.0) + (bad * math.log(bad / whole) if bad > 0 else 0.0)
    return _mixture(good_before, bad_before) + _mixture(good_after, bad_after) - same


def differs(good: float, bad: float, share: float) -> float:
    """Logarithm of the e-value against "the share of bad ones is ``share``", which is in (0, 1)."""
    return _mixture(good, bad) - good * math.log1p(-share) - bad * math.log(share)


def worth(weight: float, total: float, squares: float, weights_squared: float) -> tuple[float, float]:
    """(good, bad) right-or-wrong values that tell as much as scores with these sums of ``w``, ``wx``, ``wxx``, ``ww``."""
    n = weight * weight / weights_squared
    mean = total / weight
    around = max(0.0, squares / weight - mean * mean) * n * n / max(1.0, n - 1.0)
    p = (mean * n + 0.5) / (n + 1.0)
    prior = PRIOR * p * (1.0 - p)
    # against right-or-wrong values of this mean: eight perfect scores are eight right answers, and no more
    counts = n / min(1.0, (around + prior) / (n * mean * (1.0 - mean) + prior))
    return counts * mean, counts * (1.0 - mean)


def _mixture(good: float, bad: float) -> float:
    return math.lgamma(good + 0.5) + math.lgamma(bad + 0.5) - math.lgamma(good + bad + 1.0) - _LOG_PI
