"""Detecting that a (task, arm) cell no longer earns what it used to: a two-sided CUSUM of standardised surprises.

Owns the statistic and its reset. Must not know the model that predicts, nor what an alarm leads to.

    up = max(0, up + z - SLACK)      down = max(0, down - z - SLACK)      alarm when either exceeds LEVEL

(Page 1954; for bandits: Liu, Lee and Shroff 2018.) ``z`` is the surprise of one score over its predictive standard
deviation, cut at ``Z_MOST`` so that one score alone can never raise an alarm.
"""

from __future__ import annotations

SLACK = 0.25
LEVEL = 10.0
Z_MOST = 3.0


def cusum(up: float, down: float, z: float) -> tuple[float, float, bool]:
    """The two sums after one more surprise, and whether it raises the alarm."""
    z = min(Z_MOST, max(-Z_MOST, z))
    up = max(0.0, up + z - SLACK)
    down = max(0.0, down - z - SLACK)
    return up, down, up > LEVEL or down > LEVEL
