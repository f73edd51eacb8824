"""Simulated rollouts: which prompts come, which arm answers them, and what they score. Recorded scores only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies import streams

Array = NDArray[np.float64]
PER_ARM = 400
HARDNESS = 3


@dataclass(frozen=True)
class Source:
    """One model's scores on all prompts, and what is known of a prompt before it is answered."""

    model: str
    quality: Array
    task: NDArray[np.int64]
    hardness: NDArray[np.int64]
    """Thirds of the mean score of the other models."""
    rival: Array
    """Scores of the second best model."""


@dataclass(frozen=True)
class Rollouts:
    """R rollouts side by side, arm by arm: (R, n) each; the arms' prompts are drawn apart unless ``paired``."""

    baseline: Array
    candidate: Array
    prompts: tuple[NDArray[np.int64], NDArray[np.int64]]


def load(path: Path) -> Source:
    """The best single model of the set."""
    data = streams.load(path)
    best = int(data.quality.mean(axis=0).argmax())
    others = np.delete(data.quality, best, axis=1).mean(axis=1)
    cuts = np.quantile(others, np.arange(1, HARDNESS) / HARDNESS)
    second = int(data.quality.mean(axis=0).argsort()[-2])
    hardness = np.searchsorted(cuts, others)
    return Source(data.models[best], data.quality[:, best], data.task, hardness, data.quality[:, second])


def draw(
    source: Source,
    keep: float,
    runs: int,
    seed: list[int],
    sizes: tuple[int, int] = (PER_ARM, PER_ARM),
    *,
    paired: bool = False,
) -> Rollouts:
    """Prompts drawn with replacement. The candidate's answers are the baseline model's, each one spoilt (score 0)
    with probability ``1 - keep``: its mean quality is ``keep`` times the old one's.
    An equal candidate on the same prompts would give the same answers; there the arms are the two best models with the
    sides drawn by lot for each prompt: equal on average, and different on most prompts where one fails.
    """
    rng = np.random.default_rng(seed)
    old = rng.integers(source.quality.size, size=(runs, sizes[0]))
    new = old if paired else rng.integers(source.quality.size, size=(runs, sizes[1]))
    good = rng.random(new.shape) < keep
    x, y = source.quality[old], source.quality[new] * good
    if paired and keep == 1.0:
        turned = rng.random(old.shape) < 0.5
        x, y = np.where(turned, source.rival[old], x), np.where(turned, x, source.rival[old])
    return Rollouts(x, y, (old, new))
