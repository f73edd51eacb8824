"""The light learned classifier of tasks: trains an immutable snapshot and judges prompts by it (SEL-8).

Owns the mathematics and the snapshot's format. Must not keep prompts, read a clock, or guess: below a threshold that
comes out of cross-validation it names nobody.

One-against-all regularised least squares on hashed n-grams (Rifkin and Klautau, JMLR 2004) is as accurate here as
logistic regression and has two things for free: the error on every example left out, in closed form (PRESS:
Allen, Technometrics 1974), and a solution by one call into LAPACK, which lets other threads run. With
``H = (K + RIDGE I)^-1`` and ``a = H Y``, the score of example ``i`` without itself is ``y_i - a_i / H_ii``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from podium.core.ngrams import BUCKETS, HASHING, Features
from podium.domain.task import DEFAULT_TASK

FORMAT = 1
MAX_CLASSES = 25
MAX_EXAMPLES = 2_200
"""Training takes memory with the square of the examples (4 bytes each, three times) and time with the cube."""
ERROR_RATE = 0.10
"""Share of wrong tasks among the left-out examples that are given one: the threshold is chosen for it."""
RIDGE = 0.3
NEVER = 1.01
"""A threshold that no confidence reaches."""
_MAGIC = b"PODC"
_LENGTH = struct.Struct("<4sI")
Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A prompt's features and its task; ``own``: labelled by a caller, not shipped."""

    task: str
    features: Features
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What leaving every example out once showed. Shares in [0, 1]; ``None`` where there was nothing to count."""

    accuracy: float | None = None
    answered: float | None = None
    """Share of the examples that get a task at all."""
    error: float | None = None
    """Share of wrong tasks among those that get one."""
    threshold: float = NEVER
    temperature: float = 1.0
    worst_pair: tuple[str, str, int] | None = None
    """(true task, taken for, how often)."""
    by_task: Mapping[str, float] = field(default_factory=dict)
    """Accuracy by true task."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``task`` is ``None`` when none reaches the threshold; ``ranked``: every task, the likeliest first."""

    task: str | None
    confidence: float
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot:
    """A trained classifier. ``steps``: int8 ``(BUCKETS, tasks)``, ``scales``: what one step is worth, by task."""

    tasks: tuple[str, ...]
    steps: NDArray[np.int8]
    scales: Floats
    quality: Quality
    digest: str
    """Of what it was trained from."""
    weights: Floats

    def judge(self, found: Features) -> Verdict:
        """The task of a prompt. Takes some tens of microseconds."""
        if found.empty or not self.tasks:
            return Verdict(None, 0.0, ())
        shares = _softmax(
            (found.values @ self.weights[found.indices])[None, :].astype(np.float64), self.quality.temperature
        )[0]
        order = np.argsort(-shares, kind="stable")
        ranked = tuple((self.tasks[at], float(shares[at])) for at in order)
        name, confidence = ranked[0]
        sure = confidence >= self.quality.threshold and name != DEFAULT_TASK
        return Verdict(name if sure else None, confidence, ranked)

    def pack(self) -> bytes:
        """At most about ``BUCKETS * MAX_CLASSES`` bytes (400 KB); 16 KB a task."""
        quality = self.quality
        head = {
            "format": FORMAT, "hashing": HASHING, "tasks": self.tasks, "digest": self.digest,
            "scales": [float(scale) for scale in self.scales],
            "quality": {
                "accuracy": quality.accuracy, "answered": quality.answered, "error": quality.error,
                "threshold": quality.threshold, "temperature": quality.temperature,
                "worst_pair": quality.worst_pair, "by_task": dict(quality.by_task),
                "seeds": dict(quality.seeds), "own": dict(quality.own),
            },
        }  # fmt: skip
        raw = json.dumps(head).encode()
        return _LENGTH.pack(_MAGIC, len(raw)) + raw + self.steps.tobytes()


def unpack(data: bytes) -> Snapshot:
    """What ``pack`` wrote. Raises ``ValueError`` for anything else, or for another version's."""
    try:
        magic, length = _LENGTH.unpack_from(data)
        head = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        if magic != _MAGIC or head["format"] != FORMAT or head["hashing"] != HASHING:
            raise ValueError("written by another version")
        tasks = tuple(str(name) for name in head["tasks"])
        steps = np.frombuffer(data, np.int8, offset=_LENGTH.size + length).reshape(BUCKETS, len(tasks))
        scales = np.array(head["scales"], np.float32)
        if scales.shape != (len(tasks),) or not np.all(np.isfinite(scales)):
            raise ValueError("one scale per task is wanted")
        fields = dict(head["quality"])
        pair = fields.pop("worst_pair")
        quality = Quality(worst_pair=(str(pair[0]), str(pair[1]), int(pair[2])) if pair else None, **fields)
        return _snapshot(tasks, steps, scales, quality, str(head["digest"]))
    except (KeyError, TypeError, IndexError, struct.error) as error:
        raise ValueError(f"not a classifier: {error}") from None


def train(examples: Sequence[Example], digest: str, pause: Callable[[], None] = lambda: None) -> Snapshot:
    """Fit all examples; at most ``MAX_EXAMPLES``, of at most ``MAX_CLASSES`` tasks. Deterministic.

    ``pause`` is called between small pieces of work, so that other threads get their turn. Raises ``ValueError`` for
    fewer than two tasks or too many of anything.
    """
    kept = [example for example in examples if not example.features.empty]
    tasks = tuple(sorted({example.task for example in kept}))
    if not 2 <= len(tasks) <= MAX_CLASSES or len(kept) > MAX_EXAMPLES:
        raise ValueError(f"cannot train on {len(kept)} examples of {len(tasks)} tasks")
    labels = np.array([tasks.index(example.task) for example in kept])
    gram = _gram([example.features for example in kept], pause)
    gram[np.diag_indices_from(gram)] += np.float32(RIDGE)
    inverse = np.linalg.inv(gram)
    pause()
    targets = np.full((len(kept), len(tasks)), -1.0 / (len(tasks) - 1), np.float32)
    targets[np.arange(len(kept)), labels] = 1.0
    dual = inverse @ targets
    left_out = targets - dual / np.diagonal(inverse)[:, None]
    pause()
    quality = _quality(left_out.astype(np.float64), labels, tasks, kept)
    weights = np.zeros((BUCKETS, len(tasks)), np.float32)
    for at, (example, row) in enumerate(zip(kept, dual, strict=True)):
        weights[example.features.indices] += np.outer(example.features.values, row)
        if at % 64 == 63:
            pause()
    scales = np.maximum(np.abs(weights).max(axis=0), 1e-12) / np.float32(127.0)
    steps = np.rint(weights / scales).astype(np.int8)
    return _snapshot(tasks, steps, scales, quality, digest)


def _snapshot(
    tasks: tuple[str, ...], steps: NDArray[np.int8], scales: Floats, quality: Quality, digest: str
) -> Snapshot:
    weights = steps.astype(np.float32) * scales
    weights.setflags(write=False)
    return Snapshot(tasks=tasks, steps=steps, scales=scales, quality=quality, digest=digest, weights=weights)


def _gram(rows: Sequence[Features], pause: Callable[[], None]) -> Floats:
    """Inner products of all pairs of rows, ``(n, n)``."""
    starts = np.concatenate([[0], np.cumsum([len(row.indices) for row in rows])[:-1]])
    indices = np.concatenate([row.indices for row in rows])
    values = np.concatenate([row.values for row in rows])
    found = np.empty((len(rows), len(rows)), np.float32)
    dense = np.zeros(BUCKETS, np.float32)
    for at, row in enumerate(rows):
        dense[row.indices] = row.values
        found[at] = np.add.reduceat(values * dense[indices], starts)
        dense[row.indices] = 0.0
        if at % 8 == 7:
            pause()
    return found


def _softmax(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    lifted = np.exp(temperature * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(lifted / lifted.sum(axis=1, keepdims=True))


def _quality(
    scores: NDArray[np.float64], labels: NDArray[np.int64], tasks: tuple[str, ...], kept: Sequence[Example]
) -> Quality:
    temperature = _temperature(scores, labels)
    shares = _softmax(scores, temperature)
    guesses = shares.argmax(axis=1)
    right = guesses == labels
    threshold = _threshold(shares.max(axis=1), right, np.array([name != DEFAULT_TASK for name in tasks])[guesses])
    given = (shares.max(axis=1) >= threshold) & np.array([name != DEFAULT_TASK for name in tasks])[guesses]
    mistakes = np.zeros((len(tasks), len(tasks)), np.int64)
    np.add.at(mistakes, (labels[~right], guesses[~right]), 1)
    true, taken = np.unravel_index(int(mistakes.argmax()), mistakes.shape)
    most = int(mistakes[true, taken])
    return Quality(
        accuracy=float(right.mean()),
        answered=float(given.mean()),
        error=float(1.0 - right[given].mean()) if given.any() else None,
        threshold=threshold,
        temperature=temperature,
        worst_pair=(tasks[int(true)], tasks[int(taken)], most) if most else None,
        by_task={name: float(right[labels == at].mean()) for at, name in enumerate(tasks)},
        seeds=_counts(tasks, kept, own=False),
        own=_counts(tasks, kept, own=True),
    )


def _counts(tasks: Sequence[str], kept: Sequence[Example], *, own: bool) -> dict[str, int]:
    return {name: sum(1 for one in kept if one.task == name and one.own is own) for name in tasks}


def _temperature(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The factor on the scores that makes their softmax likeliest (golden section on its logarithm, 1 to 100)."""
    rows = np.arange(len(labels))

    def loss(power: float) -> float:
        shares = _softmax(scores, float(np.exp(power)))
        return float(-np.log(np.maximum(shares[rows, labels], 1e-12)).mean())

    low, high, ratio = 0.0, float(np.log(100.0)), (5.0**0.5 - 1.0) / 2.0
    for _ in range(24):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2.0))


def _threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], named: NDArray[np.bool_]) -> float:
    """The lowest confidence down to which at most ``ERROR_RATE`` of the named tasks are wrong."""
    order = np.flatnonzero(named)[np.argsort(-confidence[named], kind="stable")]
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(wrong <= ERROR_RATE)
    return float(confidence[order[good[-1]]]) if len(good) else NEVER
