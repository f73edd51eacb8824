"""Which of a task's best models suits one prompt: trained on scored prompts, silent unless it has shown that it helps.

Owns the model, its proof and its abstention. Must not keep text, know tasks, or choose against a limit.

Within one task, ``score[m] = mean[m] + w[m] . x`` for the ``CONTENDERS`` best models ``m``: ridge regression of what is
left when the model's mean is taken away, on the hashed words of the prompt and the counts its difficulty is made of
(``core/ngrams``, ``core/difficulty``). With ``H = (X X' + ridge I)^-1`` over the prompts the model was scored on, and
``a = H r``, the prediction of a prompt's residual without that prompt is ``r_i - a_i / H_ii`` (PRESS: Allen 1974).

Those predictions route every training prompt as if it were new, and the doubly robust estimate (Dudik, Langford and
Li 2011) of what that gains over always using the best model decides:

    g_i = p[c] - p[best] + seen[c] (y[c] - p[c]) / odds[c] - seen[best] (y[best] - p[best]) / odds[best]

Unless its mean is more than ``CERTAINTY`` standard errors above 0, and ``LEAST`` prompts went elsewhere, the router
abstains: every prompt goes to the best model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from podium.core.difficulty import CAPS
from podium.core.ngrams import BUCKETS, Features

CONTENDERS = 3
RIDGES = (10.0, 30.0)
COUNTS_WEIGHT = 0.2
"""Length of the vector of counts when each is one standard deviation off, beside the 1 of the words."""
CERTAINTY = 1.0
LEAST = 10
MAX_PROMPTS = 2_000
"""Training takes memory with the square and time with the cube of the prompts."""
Array: TypeAlias = NDArray[np.float64]
_COUNTS = len(CAPS)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What is read of a prompt: its hashed words and the counts of ``core/difficulty``."""

    words: Features
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PromptRouter:
    """Routes the prompts of one task. Columns are positions in the list of models it was trained for."""

    best: int
    contenders: tuple[int, ...]
    """The best first."""
    means: Array
    """Of the contenders."""
    weights: NDArray[np.float32] | None
    """``(BUCKETS + counts, contenders)``; ``None``: it abstains."""
    centre: Array
    scale: Array
    gain: float
    """What it is expected to gain over ``best``, in score; 0 when it abstains."""
    error: float
    """Standard error of the gain that the training prompts showed."""
    moved: float
    """Share of them that went elsewhere."""

    def route(self, prompt: Prompt) -> int:
        """The column of the model to use."""
        if self.weights is None:
            return self.best
        extra = _scaled(np.array([prompt.counts], np.float64), self.centre, self.scale)[0]
        found = self.means + prompt.words.values @ self.weights[prompt.words.indices] + extra @ self.weights[BUCKETS:]
        return self.contenders[int(found.argmax())]


def train(prompts: Sequence[Prompt], scores: Array, odds: Array | None = None) -> PromptRouter:
    """Fit the router of one task.

    ``scores``: ``(prompts, models)`` in [0, 1], ``nan`` where a model did not answer a prompt. ``odds``, of the same
    shape: the probability that it would be asked; ``None`` where that does not depend on chance. Of more than
    ``MAX_PROMPTS`` the last count. Raises ``ValueError`` without any score.
    """
    prompts, scores = prompts[-MAX_PROMPTS:], np.asarray(scores, np.float64)[-MAX_PROMPTS:]
    odds = np.ones_like(scores) if odds is None else np.asarray(odds, np.float64)[-MAX_PROMPTS:]
    seen = ~np.isnan(scores)
    if not seen.any():
        raise ValueError("there is no score to learn from")
    level = float(scores[seen].mean())
    means = (np.where(seen, scores, 0.0).sum(axis=0) + 2.0 * level) / (seen.sum(axis=0) + 2.0)
    order = np.argsort(-means, kind="stable")[:CONTENDERS]
    counts = np.array([prompt.counts for prompt in prompts], np.float64).reshape(-1, _COUNTS)
    centre, scale = counts.mean(axis=0), counts.std(axis=0) + 1e-9
    extra = _scaled(counts, centre, scale)
    gram = _gram([prompt.words for prompt in prompts]) + extra @ extra.T
    mine, asked, likely = scores[:, order], seen[:, order], odds[:, order]
    tried = [_fitted(gram, mine, asked, means[order], ridge) for ridge in RIDGES]
    shown = [_shown(predicted, mine, asked, likely) for _, predicted in tried]
    pick = max(range(len(RIDGES)), key=lambda at: shown[at][0] - CERTAINTY * shown[at][1])
    gain, error, moved = shown[pick]
    proven = gain > CERTAINTY * error and moved * len(prompts) >= LEAST
    return PromptRouter(
        best=int(order[0]),
        contenders=tuple(int(column) for column in order),
        means=means[order],
        weights=_primal(prompts, extra, tried[pick][0]) if proven else None,
        centre=centre,
        scale=scale,
        gain=gain if proven else 0.0,
        error=error,
        moved=moved if proven else 0.0,
    )


def _scaled(counts: Array, centre: Array, scale: Array) -> Array:
    off = np.clip((counts - centre) / scale, -3.0, 3.0)
    return np.asarray(off * (COUNTS_WEIGHT / math.sqrt(_COUNTS)))


def _gram(rows: Sequence[Features]) -> Array:
    """Inner products of all pairs of rows, ``(n, n)``."""
    if not any(len(row.indices) for row in rows):
        return np.zeros((len(rows), len(rows)))
    lengths = np.array([len(row.indices) for row in rows])
    indices = np.concatenate([row.indices for row in rows])
    values = np.concatenate([row.values for row in rows]).astype(np.float64)
    owner = np.repeat(np.arange(len(rows)), lengths)
    found = np.empty((len(rows), len(rows)))
    dense = np.zeros(BUCKETS)
    for at, row in enumerate(rows):
        dense[row.indices] = row.values
        found[at] = np.bincount(owner, values * dense[indices], len(rows))
        dense[row.indices] = 0.0
    return found


def _fitted(gram: Array, scores: Array, asked: NDArray[np.bool_], means: Array, ridge: float) -> tuple[Array, Array]:
    """(dual weights, predictions of every prompt by the others), both ``(prompts, contenders)``."""
    dual, predicted = np.zeros_like(scores), np.tile(means, (len(scores), 1))
    known: dict[bytes, tuple[NDArray[np.intp], Array]] = {}
    for column in range(scores.shape[1]):
        pattern = asked[:, column].tobytes()
        if pattern not in known:
            rows = np.flatnonzero(asked[:, column])
            inverse = np.linalg.inv(gram[np.ix_(rows, rows)] + ridge * np.eye(len(rows)))
            known[pattern] = (rows, np.asarray(inverse, np.float64))
        rows, inverse = known[pattern]
        if not len(rows):
            continue
        left = scores[rows, column] - means[column]
        dual[rows, column] = inverse @ left
        predicted[:, column] += gram[:, rows] @ dual[rows, column]
        predicted[rows, column] = scores[rows, column] - dual[rows, column] / np.diagonal(inverse)
    return dual, predicted


def _shown(predicted: Array, scores: Array, asked: NDArray[np.bool_], odds: Array) -> tuple[float, float, float]:
    """(mean gain over the first contender, its standard error, share of prompts that go elsewhere)."""
    chosen, rows = predicted.argmax(axis=1), np.arange(len(scores))
    worth = predicted + np.where(asked, (np.where(asked, scores, 0.0) - predicted) / odds, 0.0)
    gains = worth[rows, chosen] - worth[:, 0]
    return float(gains.mean()), float(gains.std() / math.sqrt(len(gains))), float((chosen != 0).mean())


def _primal(prompts: Sequence[Prompt], extra: Array, dual: Array) -> NDArray[np.float32]:
    weights = np.zeros((BUCKETS + _COUNTS, dual.shape[1]), np.float32)
    for prompt, row in zip(prompts, dual, strict=True):
        weights[prompt.words.indices] += np.outer(prompt.words.values, row)
    weights[BUCKETS:] = extra.T @ dual
    weights.setflags(write=False)
    return weights
