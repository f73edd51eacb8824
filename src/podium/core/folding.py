"""Splits labelled rows into folds: rows of one group stay together, classes are spread evenly. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def folds(passed: npt.NDArray[np.bool_], groups: Ints, count: int, rng: np.random.Generator) -> Ints:
    """The fold (from 0) of each row. With fewer groups than folds they cannot be kept together, and each row is its own.

    Groups are shuffled, ordered by their share of passed rows and dealt out one by one, so that every fold has about
    the same mix.
    """
    names, place = np.unique(groups, return_inverse=True)
    if names.size < count:
        names, place = np.arange(groups.size), np.arange(groups.size)
    sizes = np.bincount(place)
    rates = np.bincount(place, passed) / sizes
    order = rng.permutation(names.size)
    order = order[np.argsort(rates[order], kind="stable")]
    fold_of = np.empty(names.size, dtype=np.int64)
    fold_of[order] = np.arange(names.size) % max(1, min(count, names.size))
    return np.asarray(fold_of[place], dtype=np.int64)
