"""How many standard errors an estimate must be away before it counts, if one looks after every request.

Owns the boundary in time. Must not know what is estimated.

The sum of what arrived, in units of its standard deviation, moves like a Brownian motion ``B`` whose clock is the
amount of evidence. For every drift ``d`` the ratio ``exp(d B - d^2 t / 2)`` is a martingale that starts at 1, hence so
is a mixture over drifts, and it exceeds ``c`` ever with probability at most ``1 / c`` (Ville 1939; mixtures: Robbins
1970; for sequential tests: Johari, Pekelis and Walsh 2015, Howard et al. 2021). The boundary is where it equals ``c``:

    sum_i w_i exp(d_i z sqrt(t) - d_i^2 t / 2) = c

The weights are on the losses one wants to see early: with scores of right-or-wrong answers the drifts ``0.15`` to
``0.5`` are losses of a fifth to a half. The small drifts keep the interval shrinking for ever.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

START = 8.0
"""No verdict before this much evidence: answers per arm when the traffic is split in halves."""

_DRIFTS = np.concatenate([np.geomspace(0.005, 0.1, 6), np.geomspace(0.15, 0.5, 8)])
_WEIGHTS = np.concatenate([np.full(6, 0.12 / 6), np.full(8, 0.88 / 8)])
_SLACK = 0.85
"""Ville's bound is for a path that is watched without gaps and for ever."""
_STEPS = 12


def critical(level: float, clock: Array) -> Array:
    """The one-sided boundary in standard errors at each ``clock``; infinite before ``START``.

    ``level``: probability that the boundary is ever crossed where nothing differs, in (0, 0.5].
    """
    clock = np.asarray(clock, dtype=np.float64)
    time = np.maximum(clock, START)[..., None]
    goal = np.log(_SLACK / level)
    slope = _DRIFTS * np.sqrt(time)
    offset = np.log(_WEIGHTS) - _DRIFTS**2 * time / 2 - goal
    z = (-offset / slope).min(axis=-1)  # right of the root of a convex rising function: Newton's steps stay there
    for _ in range(_STEPS):
        terms = slope * z[..., None] + offset
        top = terms.max(axis=-1, keepdims=True)
        parts = np.exp(terms - top)
        total = parts.sum(axis=-1)
        z = z - (top[..., 0] + np.log(total)) * total / (parts * slope).sum(axis=-1)
    return np.where(clock < START, np.inf, z)


@lru_cache(maxsize=4096)
def critical_at(level: float, clock: float) -> float:
    """``critical`` for one moment."""
    return float(critical(level, np.array(clock)))
