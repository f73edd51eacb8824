"""Detecting that a (task, arm) cell no longer earns what it used to: a two-sided CUSUM of standardised surprises.

Owns the statistic, what it remembers and when it rings. Must not know the model that predicts, nor what an alarm
leads to.

    up = max(0, up + z - SLACK)      down = max(0, down - z - SLACK)

(Page 1954; for bandits: Liu, Lee and Shroff 2018.) ``z`` is the surprise of one score over its predictive standard
deviation, cut at ``Z_MOST``. A sum above its level names the moment of the change, the last time it was 0, and the
scores since then. The alarm rings only when their mean is also ``APART`` standard errors from the mean of the scores
before, so that a prediction that was wrong from the start is not taken for a change. A rise has the higher level: that
the arm in use got better changes no choice.
"""

from __future__ import annotations

import math

SLACK = 0.25
DOWN_LEVEL, UP_LEVEL = 12.0, 24.0
Z_MOST = 3.0
APART = 4.5
LEAST = 5.0
"""Observations a cell needs before it is watched, and at least 3 from before the change."""

SLOTS = 8
"""What a cell remembers: (sum, weight, score sum, sum of squared scores) of a rise, then of a fall."""
NOISE_FLOOR = 0.01


def watch(
    memory: list[float], z: float, score: float, weight: float, n: float, total: float, phi: float
) -> tuple[float, float, float] | None:
    """Take in one more score; the weight, score sum and squares since the change when the alarm rings.

    ``memory`` (``SLOTS`` numbers, all 0 at first) is updated in place and cleared by an alarm. ``n`` and ``total`` are
    the cell's weight and score sum with this score in them, ``phi`` its noise ratio.
    """
    z = min(Z_MOST, max(-Z_MOST, z))
    for at, step, level in ((0, z, UP_LEVEL), (4, -z, DOWN_LEVEL)):
        height = memory[at] + weight * (step - SLACK)
        if height <= 0.0:
            memory[at : at + 4] = (0.0, 0.0, 0.0, 0.0)
            continue
        since, gained, squares = memory[at + 1] + weight, memory[at + 2] + weight * score, memory[at + 3]
        squares += weight * score * score
        memory[at : at + 4] = (min(height, level), since, gained, squares)
        if height > level and _apart(since, gained, n - since, total - gained, phi):
            memory[:] = [0.0] * SLOTS
            return since, gained, squares
    return None


def _apart(since: float, gained: float, before: float, earlier: float, phi: float) -> bool:
    """Whether the mean since the change is far from the mean before it."""
    if before < 3.0:
        return False
    p = (earlier + 1.0) / (before + 2.0)
    variance = phi * p * (1.0 - p) + NOISE_FLOOR
    return abs(gained / since - earlier / before) > APART * math.sqrt(variance * (1.0 / since + 1.0 / before))
