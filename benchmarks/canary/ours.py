"""The product's own test (``podium.core.sequential``) on many simulated rollouts at once."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from canary.rollouts import Rollouts
from podium.core.sequential.boundary import START, critical
from podium.core.sequential.means import Contrast, contrast, score_bounds
from podium.core.sequential.pairs import Pairs, pair_bounds

Array = NDArray[np.float64]
LIMIT = 0.95
NEVER = np.iinfo(np.int64).max
CHUNK = 40
_GRID = np.concatenate([np.linspace(START, 64.0, 400), np.geomspace(64.0, 1e6, 2000)[1:]])


class Boundary:
    """``critical`` on a fine grid of clocks: 8 million looks are not solved for one by one."""

    def __init__(self, level: float) -> None:
        self._z = critical(level, _GRID)

    def __call__(self, clock: Array) -> Array:
        return np.where(clock < START, np.inf, np.interp(clock, _GRID, self._z))


def order(runs: int, share: float | Array, length: int, seed: list[int] | None) -> NDArray[np.bool_]:
    """(R, length): whether the candidate answers a request; in turns for ``seed`` None, else drawn with ``share``."""
    if seed is None:
        return np.broadcast_to(np.arange(length) % 2 == 1, (runs, length))
    return np.random.default_rng(seed).random((runs, length)) < share


def separate(
    runs: Rollouts,
    levels: tuple[float, ...],
    turns: NDArray[np.bool_],
    kinds: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    phase: NDArray[np.int64] | None = None,
) -> Array:
    """(levels, R): request at which the candidate is found worse, from 1; infinite for never.

    ``kinds``: number of the kind of each arm's prompts; ``phase``: (length,) phase of the rollout at each request.
    """
    found = np.full((len(levels), turns.shape[0]), np.inf)
    bounds = [Boundary(level) for level in levels]
    for length in (turns.shape[1] // 4, turns.shape[1]):
        # most large losses are found early: only the rest is followed to the end
        going = np.flatnonzero(np.isinf(found).any(axis=0))
        for at in range(0, going.size, CHUNK):
            part = going[at : at + CHUNK]
            found[:, part] = _follow(
                runs, bounds, turns[part, :length], part, kinds, None if phase is None else phase[:length]
            )
    return found


def _follow(
    runs: Rollouts,
    bounds: list[Boundary],
    turns: NDArray[np.bool_],
    part: NDArray[np.int64],
    kinds: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    phase: NDArray[np.int64] | None,
) -> Array:
    """(levels, rollouts of ``part``), up to the length of ``turns``."""
    found = np.full((len(bounds), part.size), np.inf)
    sums = _running(runs, turns, part, kinds, phase)
    ready = (sums[0][..., 0].sum(-1) > 0) & (sums[1][..., 0].sum(-1) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = contrast(*sums, bounded=True)
        below = ready & (seen.clock >= START) & (seen.candidate < LIMIT * seen.baseline)
        # bounds are only worked out where they can matter: not within 1.5 standard errors
        error = seen.baseline_spread / seen.baseline_n + seen.candidate_spread / seen.candidate_n
        below &= (seen.candidate - seen.baseline) ** 2 > 2.25 * error
        some = Contrast(*(getattr(seen, one.name)[below] for one in fields(Contrast)))
        for row, boundary in enumerate(bounds):
            worse = np.zeros(below.shape, np.bool_)
            worse[below] = score_bounds(some, boundary(some.clock))[1] < 0
            found[row] = _first(worse)
    return found


def _running(
    runs: Rollouts,
    turns: NDArray[np.bool_],
    part: NDArray[np.int64],
    kinds: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    phase: NDArray[np.int64] | None,
) -> tuple[Array, Array]:
    """Sums (R, T, C, 4) after every request, for both arms."""
    rows, length = turns.shape
    used = np.stack([np.cumsum(~turns, axis=1) - 1, np.cumsum(turns, axis=1) - 1])
    both = []
    cells = 1
    if kinds is not None:
        cells = int(max(kinds[0].max(), kinds[1].max())) + 1
    phases = 1 if phase is None else int(phase.max()) + 1
    for arm, scores in enumerate((runs.baseline[part], runs.candidate[part])):
        at = np.minimum(used[arm], scores.shape[1] - 1).clip(0)
        value = np.take_along_axis(scores, at, axis=1)
        mine = (turns if arm else ~turns).astype(np.float64)
        cell = np.zeros(turns.shape, np.int64)
        if kinds is not None:
            cell = np.take_along_axis(kinds[arm][part], at, axis=1)
        if phase is not None:
            cell = cell * phases + phase
        terms = np.stack([mine, mine * value, mine * value**2], axis=-1)
        spread = np.zeros((rows, length, cells * phases, 4))
        np.put_along_axis(spread, cell[:, :, None, None], terms[:, :, None, :1], axis=2)
        spread[..., :3] = (spread[..., :1] > 0) * terms[:, :, None, :]
        np.cumsum(spread, axis=1, out=spread)
        spread[..., 3] = spread[..., 0]
        both.append(spread)
    return both[0], both[1]


def together(runs: Rollouts, levels: tuple[float, ...]) -> Array:
    """(levels, R): pair of answers to the same prompt at which the candidate is found worse."""
    x, y = runs.baseline, runs.candidate
    terms = (np.ones_like(x), x, y, x * x, y * y, x * y)
    sums = Pairs(*(np.cumsum(term, axis=1) for term in terms))
    found = []
    for level in levels:
        z = Boundary(level)(np.asarray(sums.n))
        with np.errstate(divide="ignore", invalid="ignore"):
            upper = pair_bounds(sums, z)[2]
        found.append(_first((upper < 0) & (sums.y < LIMIT * sums.x)))
    return np.stack(found)


def _first(worse: NDArray[np.bool_]) -> Array:
    return np.where(worse.any(axis=1), worse.argmax(axis=1) + 1.0, np.inf)
