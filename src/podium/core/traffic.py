"""How much was asked lately, how much of it failed and how long it took: rings of equal steps of time. Pure.

Owns the folding of outcomes into steps and the reading of curves. A ring is bounded whatever happens: what is older than
its first step is left out, a clock that jumps ahead begins anew, one that goes back counts in the newest step there is.
Latencies are kept in the histogram of ``core/history``, so a percentile of any span is within 4 %.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from podium.core.history import CLIENT_LEFT, bucket, bucket_ms
from podium.domain.cost import Cause
from podium.domain.decision import Outcome

CLIENTS = frozenset({Cause.REQUEST, Cause.CANARY, Cause.RETRY})
"""Causes of what clients asked for; judges and benchmarks are no traffic."""
QUANTILES = (0.5, 0.95)


@dataclass(slots=True)
class Step:
    """One step of a ring. ``number``: steps since 1970."""

    number: int
    requests: int = 0
    """Answers that clients waited for; a retry is no request of its own."""
    failed: int = 0
    """Attempts that failed, but for those whose client left."""
    tokens: int = 0
    """Written by models, where they are known."""
    latencies: Counter[int] = field(default_factory=Counter)
    """Answered requests by bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Traffic of one span. Rates are per second, latencies are milliseconds, ``None`` without an answer."""

    requests_per_s: float
    failed_per_s: float
    tokens_per_s: float
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Equal spans of time, oldest first. ``at``: Unix seconds at which each begins."""

    step_s: float
    at: tuple[float, ...]
    levels: tuple[Level, ...]


Count: TypeAlias = tuple[float, int, int, int, int | None]
"""(Unix seconds, requests, failures, tokens, bucket of its latency) of one attempt."""


def counted(outcomes: Iterable[Outcome]) -> list[Count]:
    """What of attempts counts as traffic."""
    found: list[Count] = []
    for outcome in outcomes:
        cost = outcome.cost
        cause = cost.cause
        if cause not in CLIENTS:
            continue
        requests = 0 if cause is Cause.RETRY else 1
        if outcome.success:
            found.append((outcome.at, requests, 0, cost.output_tokens or 0, bucket(outcome.latency_ms)))
        else:
            found.append((outcome.at, requests, 0 if outcome.error == CLIENT_LEFT else 1, 0, None))
    return found


class Ring:
    """The newest ``length`` steps of ``step_s`` seconds each."""

    def __init__(self, step_s: int, length: int) -> None:
        self.step_s = step_s
        self._length = length
        self._steps: deque[Step] = deque()

    def fold(self, counts: Iterable[Count]) -> None:
        """Attempts ended; ``counted`` says what of them counts."""
        step = None
        for at, requests, failed, tokens, index in counts:
            number = int(at // self.step_s)
            if step is None or step.number != number:
                step = self._at(number)
                if step is None:
                    continue
            step.requests += requests
            step.failed += failed
            step.tokens += tokens
            if index is not None:
                step.latencies[index] += 1

    def _at(self, number: int) -> Step | None:
        steps = self._steps
        if not steps or number > steps[-1].number:
            steps.append(Step(number))
            while steps[0].number <= number - self._length:
                steps.popleft()
            return steps[-1]
        for step in reversed(steps):  # outcomes are folded within moments: it is one of the last
            if step.number == number:
                return step
            if step.number < number or step.number <= steps[-1].number - self._length:
                break
        return steps[-1] if number > steps[-1].number - 3 else None

    def steps(self, first: int = 0) -> tuple[Step, ...]:
        """Those from a step on; without any traffic there is none."""
        return tuple(step for step in self._steps if step.number >= first)

    def restore(self, steps: Iterable[Step]) -> None:
        """What an earlier run counted, before anything else is folded."""
        kept = {step.number: step for step in (*self._steps, *steps)}
        newest = max(kept, default=0)
        self._steps = deque(kept[number] for number in sorted(kept) if number > newest - self._length)

    def level(self, now: float, seconds: int) -> Level:
        """The last ``seconds``, up to the step before the one that ``now`` is in."""
        last = int(now // self.step_s)
        count = max(1, seconds // self.step_s)
        return self._level([step for step in self._steps if last - count <= step.number < last], count * self.step_s)

    def curve(self, now: float, seconds: float, points: int) -> Curve:
        """The last ``seconds`` in about ``points`` equal spans, of which the newest is complete."""
        width = max(1, round(seconds / self.step_s / max(1, points)))
        spans = max(1, round(seconds / self.step_s / width))
        first = int(now // self.step_s) // width - spans
        found: list[list[Step]] = [[] for _ in range(spans)]
        for step in self._steps:
            place = step.number // width - first
            if 0 <= place < spans:
                found[place].append(step)
        length = width * self.step_s
        return Curve(
            step_s=length,
            at=tuple(float((first + place) * length) for place in range(spans)),
            levels=tuple(self._level(span, length) for span in found),
        )

    @staticmethod
    def _level(steps: Sequence[Step], seconds: float) -> Level:
        p50, p95 = _percentiles(steps)
        return Level(
            requests_per_s=sum(step.requests for step in steps) / seconds,
            failed_per_s=sum(step.failed for step in steps) / seconds,
            tokens_per_s=sum(step.tokens for step in steps) / seconds,
            p50_ms=p50,
            p95_ms=p95,
        )


def _percentiles(steps: Sequence[Step]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile over some steps."""
    total: Counter[int] = Counter()
    for step in steps:
        total.update(step.latencies)
    count = sum(total.values())
    if not count:
        return None, None
    found: list[float] = []
    seen = 0
    for index in sorted(total):
        seen += total[index]
        while len(found) < len(QUANTILES) and seen >= QUANTILES[len(found)] * count:
            found.append(bucket_ms(index))
    return found[0], found[1]
