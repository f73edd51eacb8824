"""Pairwise judging and panels of judges: two orders become one vote, many votes one probability. Pure; asks nobody.

A vote is a number in [-1, 1]: 1 for the first answer, -1 for the second, 0 for a tie; a judge without a vote is absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from podium.core.folding import folds
from podium.core.logistic import regress, sigmoid
from podium.domain.judgment import Preference
from podium.errors import InvalidRequest

Floats = npt.NDArray[np.float64]
Vote = float
_VOTES: Mapping[str, Vote] = MappingProxyType({"a": 1.0, "b": -1.0, "tie": 0.0})
_DOUBT = 2.0
"""A judge's accuracy is taken as if it had judged so many pairs more, half of them right."""
_RIDGE = 10.0
"""How strongly stacked weights are held to the weights by accuracy alone."""
_FOLDS = 5
LEAST = 10
"""Labelled pairs below which a panel has no weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Weights of its members on the log-odds that the first answer is better; a negative one is of a judge that is
    wrong more often than right. ``accuracy``: of each member alone on the labelled pairs, ties half.
    """

    weights: Mapping[str, float]
    accuracy: Mapping[str, float]
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """What several judges say of one pair, counted alike."""

    winner: str | None
    """``a``, ``b``, ``tie``; ``None`` when nobody has a vote."""
    votes: Mapping[str, Vote]
    """By judge, of those that have one."""
    agreement: float | None
    """Share of the votes that are the winner's; ``None`` without votes."""
    probability: float | None
    """That ``a`` is better, the mean of the judges'."""


def together(preferences: Sequence[Preference]) -> Together:
    """The vote of a panel that nobody weighed; what is no verdict has no vote."""
    heard = [one for one in preferences if one.winner is not None]
    votes = {one.judge: _VOTES[one.winner] for one in heard if one.winner is not None}
    if not votes:
        return Together(winner=None, votes={}, agreement=None, probability=None)
    total = plain(votes)
    said = 0.0 if total == 0 else math.copysign(1.0, total)
    chances = {one.judge: one.probability for one in heard if one.probability is not None}
    return Together(
        winner={vote: name for name, vote in _VOTES.items()}[said],
        votes=votes,
        agreement=sum(vote == said for vote in votes.values()) / len(votes),
        probability=sum(chances.values()) / len(chances) if chances else None,
    )


def settle(given: Vote | None, swapped: Vote | None) -> Vote | None:
    """One vote of the votes in both orders, the second already mapped back: what both say, a tie where they differ.

    ``None`` where the judge gave no verdict in either order; one order alone is half a vote, for it may be the place
    that was preferred.
    """
    if given is None or swapped is None:
        one = swapped if given is None else given
        return None if one is None else one / 2
    return (given + swapped) / 2 if given * swapped > 0 else 0.0


def plain(votes: Mapping[str, Vote]) -> float:
    """Votes counted alike: above 0 for the first answer, 0 for a tie."""
    return float(sum(votes.values()))


def fit_panel(votes: Sequence[Mapping[str, Vote]], labels: Sequence[float], *, seed: int = 0) -> Panel:
    """Weights from n labelled pairs; ``labels``: 1 where the first answer is better, 0 the second, 0.5 a tie.

    Each member starts at the log-odds of its accuracy (Nitzan & Paroush 1982), shared with those that vote as it does:
    divided by its sum of squared similarities to all members. A logistic regression with a ridge around a common multiple
    of these weights then learns from the labels how members go together: with few it stays at the start, with many it is
    stacking. There is no offset: swapping the answers mirrors the verdict. Last, the scale is set on held-out pairs, so
    that the probability can be believed.
    Raises ``InvalidRequest`` for fewer than 10 pairs, or without any vote.
    """
    if len(votes) != len(labels):
        raise InvalidRequest("a set of votes is needed for each labelled pair", param="votes")
    if len(labels) < LEAST:
        raise InvalidRequest(
            f"{len(labels)} labelled pairs are too few to weigh judges: {LEAST} are the least, 50 are good",
            param="labels",
        )
    names = sorted({name for row in votes for name in row})
    if not names:
        raise InvalidRequest("no judge voted on any of the labelled pairs", param="votes")
    table, truth = _table(votes, names), np.asarray(labels, dtype=np.float64)
    if not (np.isfinite(truth).all() and truth.min() >= 0 and truth.max() <= 1):
        raise InvalidRequest("a label must be 1 (the first is better), 0 (the second) or 0.5 (a tie)", param="labels")
    rng = np.random.default_rng(seed)
    fold = folds(truth >= 0.5, np.arange(truth.size), _FOLDS, rng)
    sums = np.empty(truth.size)
    for index in np.unique(fold):
        sums[fold == index] = table[fold == index] @ _weigh(table[fold != index], truth[fold != index])
    scale = _slope(sums, truth, towards=1.0)
    weights = scale * _weigh(table, truth)
    return Panel(
        weights=dict(zip(names, weights.tolist(), strict=True)),
        accuracy=dict(zip(names, _accuracy(table, truth)[0].tolist(), strict=True)),
        n=truth.size,
    )


def prefer(panel: Panel, votes: Mapping[str, Vote]) -> float:
    """The probability that the first answer is better; 0.5 where no known member votes."""
    total = sum(weight * votes.get(name, 0.0) for name, weight in panel.weights.items())
    return float(sigmoid(np.array([total]))[0])


def held_out(votes: Sequence[Mapping[str, Vote]], labels: Sequence[float], *, seed: int = 0) -> tuple[float, ...]:
    """For each labelled pair the probability by a panel that was fitted on other pairs; see ``fit_panel``.

    Raises ``InvalidRequest`` when four of five parts of the pairs are too few to fit one.
    """
    truth = np.asarray(labels, dtype=np.float64)
    fold = folds(truth >= 0.5, np.arange(truth.size), _FOLDS, np.random.default_rng(seed))
    found = np.full(truth.size, 0.5)
    for index in np.unique(fold):
        learned = [at for at in range(truth.size) if fold[at] != index]
        panel = fit_panel([votes[at] for at in learned], [labels[at] for at in learned], seed=seed)
        for at in np.flatnonzero(fold == index).tolist():
            found[at] = prefer(panel, votes[at])
    return tuple(found.tolist())


def unity(panel: Panel, votes: Mapping[str, Vote]) -> float | None:
    """How far the members agree on this pair: |sum of weighted votes| / sum of |weighted votes|; 1 is one voice."""
    parts = [weight * votes.get(name, 0.0) for name, weight in panel.weights.items()]
    cast = sum(map(abs, parts))
    return abs(sum(parts)) / cast if cast > 0 else None


def alpha(votes: Sequence[Mapping[str, Vote]]) -> float | None:
    """Krippendorff's alpha (interval) of all members over all pairs: 1 they agree, 0 as by chance, below 0 they oppose.

    Pairs with fewer than two votes do not count. ``None`` where nothing varies.
    """
    rows = [np.array(list(row.values()), dtype=np.float64) for row in votes if len(row) > 1]
    if not rows:
        return None
    everything = np.concatenate(rows)
    within = sum(2 * row.size * float(((row - row.mean()) ** 2).sum()) / (row.size - 1) for row in rows)
    n = everything.size
    between = 2 * n * float(((everything - everything.mean()) ** 2).sum()) / (n - 1)
    return None if between <= 0 else 1.0 - within / between


def _table(votes: Sequence[Mapping[str, Vote]], names: Sequence[str]) -> Floats:
    """(n, members); an absent vote weighs on neither side."""
    table = np.array([[row.get(name, 0.0) for name in names] for row in votes], dtype=np.float64)
    if not (np.isfinite(table).all() and np.abs(table).max() <= 1):
        raise InvalidRequest("votes must be numbers in [-1, 1]", param="votes")
    return table


def _accuracy(table: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Of each member where it voted, ties of its own half: as it is, and moved towards one half."""
    right = ((table * (2 * truth - 1)[:, None] + 1) / 2).sum(axis=0)
    return right / truth.size, (right + _DOUBT / 2) / (truth.size + _DOUBT)


def _weigh(table: Floats, truth: Floats) -> Floats:
    careful = _accuracy(table, truth)[1]
    start = np.log(careful / (1 - careful)) / _company(table)
    start = start * max(0.0, _slope(table @ start, truth, towards=0.0))
    return regress(table, truth, _RIDGE, centre=start, offset=False).slopes


def _company(table: Floats) -> Floats:
    """How many members, about, vote as each one does: itself, plus the squared cosine of its votes with those of others."""
    sizes = np.sqrt((table**2).sum(axis=0))
    unit = table / np.where(sizes > 0, sizes, 1.0)
    return np.asarray(np.maximum(1.0, ((unit.T @ unit) ** 2).sum(axis=0)), dtype=np.float64)


def _slope(sums: Floats, truth: Floats, *, towards: float) -> float:
    """By what the sums must be multiplied to be log-odds."""
    size = math.sqrt(float(np.mean(sums**2)))
    if size < 1e-12:
        return towards
    line = regress((sums / size)[:, None], truth, 1.0, centre=np.array([towards * size]), offset=False)
    return max(0.0, float(line.slopes[0]) / size)
