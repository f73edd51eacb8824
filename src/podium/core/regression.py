"""Whether a version has become worse on a task than it was there itself: latency, quality, errors.

Owns the limits, when one is crossed with certainty, and when that is over. Must not know what an alert leads to, and
reads no clock.

For each possible beginning of a change (one per ``BLOCK`` observations) what came since is compared with everything
before. It is a regression when the estimate is beyond the limit and the e-value (see ``change_evidence``) exceeds
``1 / (BLOCK * false_alarm)``: of each beginning that happens with at most that probability without a change, whenever and
however often one looks, so false alarms come at most once in ``1 / false_alarm`` observations on average. It is over when
it is as certain as ``OVER`` that the limit is not reached any more, and the estimate is within half of it. Meanwhile the
past is not added to; afterwards a new alert needs new evidence. That keeps alerts from flapping.

Latency is compared by the share of answers above a cut, the 95th percentile of the past (Woodruff 1952): no assumption on
how latencies are distributed is needed. A doubled 95th percentile means that one answer in twenty is above twice the cut.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podium.core.change_evidence import changed, differs, worth
from podium.core.history import bucket, bucket_ms
from podium.core.own_past import BLOCK, OwnPast
from podium.domain.alert import Aspect
from podium.domain.evidence import Evidence

LEAST_OUTCOMES, LEAST_SCORES = 96, 48
"""Observations before anything can be worse than they were."""
RARE = 0.05
"""Share of answers above the 95th percentile."""
OVER = 1e-3
FLOOR_MS = 25.0
"""A smaller loss of time is none."""
SEED_MOST = 2048
"""Observations that an earlier record counts as at most."""
_SHOWN = 64
_CALM = 1.0

_N, _FAILED, _ANSWERED, _SLOW, _SLOWER, _SLOWEST = range(6)
_WEIGHT, _SUM, _SQUARES, _WEIGHTS = range(1, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on worse is a regression, and how often one may be seen where there is none."""

    latency_ratio: float = 2.0
    quality_loss: float = 0.15
    """Share of the earlier mean score."""
    errors: float = 0.10
    """Added share of failed requests."""
    false_alarm: float = 1e-6
    """Per observation and aspect."""

    @property
    def nats(self) -> float:
        """Logarithm of the e-value from which on a change is certain."""
        return -math.log(BLOCK * self.false_alarm)

    def of(self, aspect: Aspect) -> float:
        """The limit of one aspect."""
        match aspect:
            case Aspect.LATENCY:
                return self.latency_ratio
            case Aspect.QUALITY:
                return self.quality_loss
            case Aspect.ERRORS:
                return self.errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One aspect became worse (``worse``), or is well again. Units as in ``Aspect``."""

    aspect: Aspect
    worse: bool
    before: float
    now: float
    samples: int
    """Observations that ``now`` rests on."""
    nats: float
    """How certain it is: the logarithm of the e-value."""


Check = Callable[[list[float], list[float]], "tuple[float, float, float] | None"]


class Watched:
    """One version on one task. Not thread-safe; some six kilobytes at most."""

    __slots__ = ("_cut", "_histogram", "_latencies", "_limits", "_next_cut", "outcomes", "scores", "worse")

    def __init__(self, limits: Limits, earlier: Evidence | None = None) -> None:
        self._limits = limits
        self.outcomes = OwnPast(6, LEAST_OUTCOMES)
        self.scores: OwnPast | None = None
        self.worse: dict[Aspect, Change] = {}
        """What is worse now."""
        self._histogram: dict[int, float] = {}
        self._latencies: array[float] = array("f")
        self._cut: tuple[int, int, int] | None = None
        """Buckets of the 95th percentile of the past, of the middle, and of the limit."""
        self._next_cut = float(LEAST_OUTCOMES)
        if earlier is not None and earlier.samples:
            self._remember(earlier)

    # ------------------------------------------------------------ observing

    def outcome(self, success: bool, latency_ms: float) -> bool:
        """One answered or failed request; True when it is time to ``look``."""
        fresh = self.outcomes.fresh
        fresh[_N] += 1.0
        if success:
            at = bucket(latency_ms)
            self._latencies.append(latency_ms)
            self._histogram[at] = self._histogram.get(at, 0.0) + 1.0
            if self._cut is not None:
                fresh[_ANSWERED] += 1.0
                if at > self._cut[0]:
                    fresh[_SLOW] += 1.0
                    if at > self._cut[1]:
                        fresh[_SLOWER] += 1.0
                        if at > self._cut[2]:
                            fresh[_SLOWEST] += 1.0
        else:
            fresh[_FAILED] += 1.0
        return fresh[_N] >= BLOCK

    def score(self, value: float, weight: float = 1.0) -> bool:
        """One score in [0, 1]; True when it is time to ``look``. Raises ``ValueError`` for what is no score."""
        if not 0.0 <= value <= 1.0 or not weight > 0.0:
            raise ValueError(f"a score is between 0 and 1 and weighs something, not {value} with {weight}")
        if self.scores is None:
            self.scores = OwnPast(5, LEAST_SCORES)
        fresh = self.scores.fresh
        for place, term in enumerate((1.0, weight, weight * value, weight * value * value, weight * weight)):
            fresh[place] += term
        return fresh[_N] >= BLOCK

    # ------------------------------------------------------------ looking

    def look(self) -> tuple[Change, ...]:
        """What became worse or well again. Blocks that are full are closed."""
        found: list[Change] = []
        outcomes, scores = self.outcomes, self.scores
        if outcomes.fresh[_N]:
            # a block without anything bad makes nothing look worse than at the last look
            if outcomes.known and (self.worse or outcomes.fresh[_FAILED] or outcomes.fresh[_SLOW]):
                failing, slow = self._suspects()
                found += self._compare(outcomes, Aspect.ERRORS, failing, self._errors, self._fewer_errors)
                found += self._compare(outcomes, Aspect.LATENCY, slow, self._slower, self._fast_again)
            if outcomes.fresh[_N] >= BLOCK:
                self._settle()
        if scores is not None and scores.fresh[_N]:
            if scores.known:
                starts = range(len(scores.buckets) + 1)
                found += self._compare(scores, Aspect.QUALITY, starts, self._lower, self._good_again)
            if scores.fresh[_N] >= BLOCK:
                scores.settle(learn=Aspect.QUALITY not in self.worse)
        for change in found:
            self._turn(change)
        return tuple(found)

    def _suspects(self) -> tuple[Sequence[int], Sequence[int]]:
        """Beginnings whose estimates may be beyond the limits of errors and of latency, found in one cheap walk."""
        memory = self.outcomes
        buckets, fresh, past = memory.buckets, memory.fresh, memory.past
        failing, slow = [], []
        # at least this share failed before, wherever the change began
        line = self._limits.errors + past[_FAILED] / (past[_N] + memory.recent + BLOCK)
        n, failed, answered, slowest = fresh[_N], fresh[_FAILED], fresh[_ANSWERED], fresh[_SLOWEST]
        at = len(buckets)
        while True:
            if failed >= line * n:
                failing.append(at)
            if slowest and slowest >= RARE * answered:
                slow.append(at)
            at -= 1
            if at < 0:
                break
            older = buckets[at]
            n += older[_N]
            failed += older[_FAILED]
            answered += older[_ANSWERED]
            slowest += older[_SLOWEST]
        every = range(len(buckets) + 1)
        worse = self.worse
        return (
            every if Aspect.ERRORS in worse else failing,
            () if self._cut is None else every if Aspect.LATENCY in worse else slow,
        )

    def dismiss(self, aspect: Aspect, *, anew: bool = False) -> None:
        """It is not worse any more for a reason from outside; ``anew``: what it does now is its past from here on."""
        self.worse.pop(aspect, None)
        memory = self.scores if aspect is Aspect.QUALITY else self.outcomes
        if memory is None:
            return
        memory.forget_recent()
        if anew:
            memory.forget()
            if aspect is not Aspect.QUALITY:
                self._histogram, self._cut, self._next_cut = {}, None, float(LEAST_OUTCOMES)

    def _turn(self, change: Change) -> None:
        if change.worse:
            self.worse[change.aspect] = change
            memory = self.scores if change.aspect is Aspect.QUALITY else self.outcomes
            if memory is not None:
                memory.forget_recent()
        else:
            self.dismiss(change.aspect)

    def _compare(
        self, memory: OwnPast, aspect: Aspect, starts: Sequence[int], worse: Check, well: Check
    ) -> list[Change]:
        """The beginning since which it is most certain."""
        if not starts:
            return []
        is_worse = aspect in self.worse
        whole = None if is_worse else memory.whole()
        need = -math.log(OVER) if is_worse else self._limits.nats
        best: tuple[float, float, float] | None = None
        samples = 0.0
        for start in starts:
            since = memory.since(start)
            if since[_N] < BLOCK:
                continue
            before = memory.past if whole is None else list(map(float.__sub__, whole, since))
            found = well(before, since) if is_worse else worse(before, since)
            if found is not None and found[2] >= need and (best is None or found[2] > best[2]):
                best, samples = found, since[_N]
        if best is None:
            return []
        shown = self._shown(aspect, best[0], best[1], samples)
        return [
            Change(
                aspect=aspect,
                worse=not is_worse,
                before=shown[0],
                now=shown[1],
                samples=round(samples),
                nats=best[2],
            )
        ]

    def _shown(self, aspect: Aspect, before: float, now: float, samples: float) -> tuple[float, float]:
        if aspect is not Aspect.LATENCY or self._cut is None:
            return before, now
        newest = sorted(self._latencies[-max(1, min(_SHOWN, int(samples))) :])
        return bucket_ms(self._cut[0]), newest[math.ceil((1.0 - RARE) * len(newest)) - 1] if newest else 0.0

    # each returns (before, now, nats), or None where the estimate says no

    def _errors(self, before: list[float], since: list[float]) -> tuple[float, float, float] | None:
        share, now = before[_FAILED] / before[_N], since[_FAILED] / since[_N]
        if now - share < self._limits.errors:
            return None
        good = before[_N] - before[_FAILED]
        return share, now, changed(good, before[_FAILED], since[_N] - since[_FAILED], since[_FAILED])

    def _fewer_errors(self, before: list[float], since: list[float]) -> tuple[float, float, float] | None:
        share, now = before[_FAILED] / before[_N], since[_FAILED] / since[_N]
        if now - share > self._limits.errors / 2:
            return None
        line = min(share + self._limits.errors, 1.0 - 1e-9)
        return share, now, differs(since[_N] - since[_FAILED], since[_FAILED], line)

    def _slower(self, before: list[float], since: list[float]) -> tuple[float, float, float] | None:
        known, answered = before[_ANSWERED], since[_ANSWERED]
        if answered < BLOCK or known < BLOCK or since[_SLOWEST] < RARE * answered:
            return None
        share, now = before[_SLOW] / known, since[_SLOW] / answered
        if now <= share:
            return None
        return share, now, changed(known - before[_SLOW], before[_SLOW], answered - since[_SLOW], since[_SLOW])

    def _fast_again(self, _: list[float], since: list[float]) -> tuple[float, float, float] | None:
        answered = since[_ANSWERED]
        if answered < BLOCK or since[_SLOWER] > RARE * answered:
            return None
        return RARE, since[_SLOW] / answered, differs(answered - since[_SLOWEST], since[_SLOWEST], RARE)

    def _lower(self, before: list[float], since: list[float]) -> tuple[float, float, float] | None:
        mean, now = before[_SUM] / before[_WEIGHT], since[_SUM] / since[_WEIGHT]
        if mean <= 0.0 or now > (1.0 - self._limits.quality_loss) * mean:
            return None
        return mean, now, changed(*worth(*before[1:]), *worth(*since[1:]))

    def _good_again(self, before: list[float], since: list[float]) -> tuple[float, float, float] | None:
        mean, now = before[_SUM] / before[_WEIGHT], since[_SUM] / since[_WEIGHT]
        if now < (1.0 - self._limits.quality_loss / 2) * mean:
            return None
        line = 1.0 - (1.0 - self._limits.quality_loss) * mean
        return mean, now, differs(*worth(*since[1:]), line)

    # ------------------------------------------------------------ the past

    def _settle(self) -> None:
        learn = self.worse.keys() <= {Aspect.QUALITY}
        halved = self.outcomes.settle(learn=learn)
        del self._latencies[:-_SHOWN]
        if not learn:
            return
        if halved:
            self._histogram = {at: count / 2.0 for at, count in self._histogram.items() if count > 0.5}
        if halved or (self.outcomes.known and self.outcomes.past[_N] >= self._next_cut):
            self._recut()

    def _recut(self) -> None:
        """Find the 95th percentile of the past anew, unless latency looks as if it were changing."""
        memory = self.outcomes
        whole = memory.whole()
        for start in range(len(memory.buckets) + 1):
            since = memory.since(start)
            found = self._slower(list(map(float.__sub__, whole, since)), since)
            if found is not None and found[2] > _CALM:
                return
        total = sum(self._histogram.values())
        if total < LEAST_OUTCOMES / 2:
            return
        above, cut = 0.0, 0
        for at in sorted(self._histogram, reverse=True):
            if above + self._histogram[at] > RARE * total:
                cut = at
                break
            above += self._histogram[at]
        self._cut_at(cut)
        memory.past[_ANSWERED] = min(total, memory.past[_N] - memory.past[_FAILED])
        memory.past[_SLOW] = memory.past[_ANSWERED] * above / total
        for block in memory.buckets:
            block[_ANSWERED] = block[_SLOW] = block[_SLOWER] = block[_SLOWEST] = 0.0
        self._next_cut = max(4.0 * self._next_cut, memory.past[_N])

    def _cut_at(self, cut: int) -> None:
        usual, ratio = bucket_ms(cut), self._limits.latency_ratio
        most = max(usual * ratio, usual + FLOOR_MS)
        self._cut = (cut, bucket((usual + most) / 2), bucket(most))

    def _remember(self, earlier: Evidence) -> None:
        """Begin with what an earlier run recorded of the version."""
        past, scale = self.outcomes.past, min(1.0, SEED_MOST / earlier.samples)
        past[_N] = earlier.samples * scale
        past[_FAILED] = (earlier.samples - earlier.successes) * scale
        self._histogram = {at: count * scale for at, count in earlier.latency_buckets}
        if self.outcomes.known:
            self._recut()
        if earlier.quality_samples:
            n = float(min(SEED_MOST, earlier.quality_samples))
            total = n * min(1.0, max(0.0, earlier.quality_sum / earlier.quality_samples))
            self.scores = OwnPast(5, LEAST_SCORES)
            self.scores.past = [n, n, total, total, n]  # how much they varied is not on record: the most possible

    def kept(self) -> dict[str, float]:
        """The past, as ``resume`` takes it: what an open alert is compared with."""
        kept = {f"outcomes{at}": value for at, value in enumerate(self.outcomes.past)}
        if self.scores is not None:
            kept |= {f"scores{at}": value for at, value in enumerate(self.scores.past)}
        return kept | ({} if self._cut is None else {"cut": float(self._cut[0])})

    def resume(self, change: Change, kept: Mapping[str, float]) -> None:
        """It was worse when the last run ended. Raises ``KeyError`` for a past that ``kept`` did not make."""
        self.outcomes.past = [kept[f"outcomes{at}"] for at in range(6)]
        if "cut" in kept:
            self._cut_at(int(kept["cut"]))
        if change.aspect is Aspect.QUALITY:
            self.scores = OwnPast(5, LEAST_SCORES)
            self.scores.past = [kept[f"scores{at}"] for at in range(5)]
        self.worse[change.aspect] = change
