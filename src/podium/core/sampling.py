"""Which answers are judged, with which probability, and what the judged ones say of all. Pure.

Owns the arithmetic of the sample. Every decision has a place in [0, 1) that depends on its id alone; an answer is judged
when its place is below its probability. So one draw settles chance and signs together, the probability with which an answer
got in is known whatever picked it, and making room later ("thinning") only lowers a line:

- by chance with the task's ``sample``;
- when its answer was looked at for signs (those with a place below ``look``) and shows one, with ``extra``;
- all of it times ``thinning``, which is 1 until more comes than can be judged.

A mean over answers that were picked by different probabilities is the weighted one of Horvitz and Thompson (1952, JASA 47)
in the form of Hájek (1971): the sum of y/p over the sum of 1/p. Lowering the line for those that wait keeps it unbiased
because no answer that is in could have moved the line by lying lower (Ting 2017, "Adaptive threshold sampling").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist

from podium.domain.judging import Sums

SMALLEST = 1e-6
"""No answer is picked with less: its weight would drown all others."""
NOISE = 0.15
"""Variance of one score around what a version is worth on a task, as the learner begins with it."""
_NORMAL = NormalDist().inv_cdf(0.975)


def place(decision_id: str) -> float:
    """Where a decision lies in [0, 1), uniform over ids and always the same for one."""
    digest = blake2b(decision_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"judging").digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, slots=True)
class Odds:
    """The probabilities of one task while a request of it was answered, each in [0, 1]."""

    sample: float
    extra: float
    look: float = 1.0
    """Share of answers that are looked at for signs; at least ``sample``."""

    def inclusion(self, *, sign: bool) -> float:
        """With which probability an answer is judged that shows a sign, or none."""
        return max(self.sample, min(self.extra, self.look)) if sign else self.sample

    def interesting(self) -> float:
        """Answers with a place from here on are not judged whatever they show."""
        return max(self.sample, self.look if self.extra > 0.0 else 0.0)


class Thinning:
    """The line below which what was picked stays picked, halved when more waits than ``capacity`` and raised again when
    less than a quarter of it waits. ``share`` is in (0, 1].
    """

    def __init__(self, capacity: int, share: float = 1.0) -> None:
        self.capacity = capacity
        self.share = share

    def over(self, waiting: int) -> bool:
        """Halve the line if too much waits; whoever asks drops what lies above it and asks again."""
        if waiting <= self.capacity or self.share <= SMALLEST:
            return False
        self.share /= 2.0
        return True

    def relax(self, waiting: int) -> None:
        """Double the line when there is room again, for what comes from now on."""
        if self.share < 1.0 and waiting < self.capacity // 4:
            self.share = min(1.0, self.share * 2.0)


def looking(seen_per_s: float, most_per_s: float) -> float:
    """Share of answers to look at so that at most ``most_per_s`` are."""
    return 1.0 if seen_per_s <= most_per_s else max(SMALLEST, most_per_s / seen_per_s)


def teaching_weight(sample: float, probability: float) -> float:
    """What a judged answer is worth to a learner beside one that chance alone picked, in (0, 1].

    Signs pick answers that look bad; with this weight their mean is again that of all answers.
    """
    return min(1.0, sample / probability) if probability > 0.0 else 0.0


def sureness(sd: float | None) -> float:
    """What a score is worth whose judge may be off by ``sd``, in (0, 1]: the learner's own noise over both together."""
    return 1.0 if sd is None else NOISE / (NOISE + sd * sd)


def sums_of(scored: Iterable[tuple[float, float]]) -> Sums:
    """Of (score, probability) pairs."""
    n, w, ww, wy, wwy, wwyy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for score, probability in scored:
        one = 1.0 / max(probability, SMALLEST)
        n, w, ww, wy = n + 1, w + one, ww + one * one, wy + one * score
        wwy, wwyy = wwy + one * one * score, wwyy + one * one * score * score
    return Sums(n=n, w=w, ww=ww, wy=wy, wwy=wwy, wwyy=wwyy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean over all answers, judged or not. ``mean`` is ``None`` without a judged one, the limits (95 %) below two."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    effective: float
    """As many answers picked by equal chance would tell as much (Kish 1965)."""
    stands_for: float
    """Answers that the judged ones stand for: the sum of 1/probability."""


def hajek(sums: Sums) -> Estimate:
    """The weighted mean with its interval.

    The standard error is that of a ratio of sums, for what other answers of the same version would be worth (so without a
    correction for the share that was judged). With fewer than 30, or when all scores are the same, Wilson's interval at the
    effective number is used: a normal one would be too narrow.
    """
    if sums.n == 0 or sums.w <= 0.0:
        return Estimate(n=0, mean=None, low=None, high=None, effective=0.0, stands_for=0.0)
    mean = min(1.0, max(0.0, sums.wy / sums.w))
    effective = sums.w * sums.w / sums.ww
    low: float | None = None
    high: float | None = None
    if sums.n >= 2:
        squares = max(0.0, sums.wwyy - 2.0 * mean * sums.wwy + mean * mean * sums.ww)
        error = math.sqrt(squares * sums.n / (sums.n - 1)) / sums.w
        if sums.n < 30 or error < 1e-9:
            low, high = wilson(mean, effective)
        else:
            half = (_NORMAL + 2.4 / (sums.n - 1)) * error  # 2.4/df: Student's quantile within 1 % from 30 on
            low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Estimate(n=sums.n, mean=mean, low=low, high=high, effective=effective, stands_for=sums.w)


def wilson(mean: float, n: float, z: float = _NORMAL) -> tuple[float, float]:
    """Wilson's score interval (1927, JASA 22) of a mean of ``n`` > 0 values in [0, 1]; ``n`` need not be whole."""
    square = z * z / n
    middle = (mean + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(max(0.0, mean * (1 - mean)) / n + square / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)
