"""Splitting what a shared instance spends over the requests that ran in it. Pure.

Owns the arithmetic. Must not read a counter or a clock; whoever does feeds the readings in.

The stated rule: what was spent between two readings is split over the requests active between them by the tokens that
each had processed in that time: prompt tokens, spread evenly from the request's start to its first token, and the pieces
that were streamed. Where that is not known of every one of them, or no token was processed, they get equal parts.

A piece of time is split once, when the first of those active in it ends, with what is known then. Whatever is wrong in
the guess of a prompt moves cost from one request to another and never changes the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from podium.domain.record import record

MOST_PIECES = 256
"""Pieces of time that wait to be split; older ones are split with what is known by then."""


@record
@dataclass(frozen=True, slots=True)
class Counters:
    """Readings that only grow: CPU seconds, GPU seconds, joules. What has no counter stays 0."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    joules: float = 0.0

    def since(self, before: Counters) -> Counters:
        """What was spent since ``before``; a counter that went back counts as nothing spent."""
        return Counters(
            max(0.0, self.cpu_s - before.cpu_s),
            max(0.0, self.gpu_s - before.gpu_s),
            max(0.0, self.joules - before.joules),
        )

    def plus(self, other: Counters, factor: float = 1.0) -> Counters:
        """The sum with a part of another."""
        return Counters(
            self.cpu_s + factor * other.cpu_s,
            self.gpu_s + factor * other.gpu_s,
            self.joules + factor * other.joules,
        )

    def highest(self, other: Counters) -> Counters:
        """The larger of each."""
        return Counters(max(self.cpu_s, other.cpu_s), max(self.gpu_s, other.gpu_s), max(self.joules, other.joules))


@dataclass(slots=True, eq=False)
class Sharer:
    """One active request. The caller sets what it learns: ``prompt`` tokens, ``first_at``, ``pieces`` streamed so far
    (``None`` for a request whose answer comes whole), and for such a one ``total`` tokens once it has ended.
    """

    begun_at: float
    prompt: float | None = None
    first_at: float | None = None
    pieces: Callable[[], int] | None = None
    total: float | None = None
    spent: Counters = Counters()
    _seen: int = 0

    def streamed(self) -> int:
        """Pieces since the last call."""
        if self.pieces is None:
            return 0
        now = self.pieces()
        new, self._seen = max(0, now - self._seen), max(now, self._seen)
        return new

    def tokens(self, begin: float, end: float, streamed: int, now: float) -> float | None:
        """Tokens processed in a piece of time, as far as is known at ``now``."""
        if self.pieces is None:
            return None if self.total is None else self.total * _part(begin, end, self.begun_at, now)
        if self.prompt is None:
            return None
        until = now if self.first_at is None else self.first_at
        return streamed + self.prompt * _part(begin, end, self.begun_at, until)


@dataclass(slots=True)
class _Piece:
    begin: float
    end: float
    spent: Counters
    shares: list[tuple[Sharer, int]] = field(default_factory=list)
    """Who was active, and pieces streamed meanwhile."""


class SharedWork:
    """The ledger of one instance. Feed it a reading at every start and stop, and now and then between.

    The parts of all requests plus ``idle`` always equal ``total`` up to rounding. A counter that went backwards (a
    process ended) counts as nothing spent until it is past its highest reading; a time that did is taken as no time.
    """

    def __init__(self) -> None:
        self._active: dict[str, Sharer] = {}
        self._pieces: list[_Piece] = []
        self._at: float | None = None
        self._counters: Counters | None = None
        self.idle = Counters()
        """Spent while no request was active."""
        self.total = Counters()
        """Spent since the first reading."""

    @property
    def active(self) -> int:
        """Requests started and not stopped."""
        return len(self._active)

    def start(self, request_id: str, at: float, counters: Counters) -> Sharer:
        """A request begins. Starting one that is active already changes nothing but the reading."""
        at = self.observe(at, counters)
        return self._active.setdefault(request_id, Sharer(at))

    def stop(self, request_id: str, at: float, counters: Counters | None) -> Counters | None:
        """A request ends; its part, exactly once: ``None`` for one that is not active. Without ``counters`` (the process
        is gone) it gets its part of what was read before.
        """
        if counters is not None:
            at = self.observe(at, counters)
        ended = self._active.get(request_id)
        if ended is None:
            return None
        left = []
        for piece in self._pieces:
            if any(sharer is ended for sharer, _ in piece.shares):
                _settle(piece, at)
            else:
                left.append(piece)
        self._pieces = left
        del self._active[request_id]
        return ended.spent

    def observe(self, at: float, counters: Counters) -> float:
        """Account for the time since the last reading; returns the time taken as now, which never goes back."""
        begin = self._at if self._at is not None else at
        at = max(at, begin)
        before = self._counters if self._counters is not None else counters
        spent = counters.since(before)
        self._at, self._counters = at, counters.highest(before)
        self.total = self.total.plus(spent)
        if not self._active:
            self.idle = self.idle.plus(spent)
            return at
        shares = [(sharer, sharer.streamed()) for sharer in self._active.values()]
        if spent == Counters() and not any(new for _, new in shares):
            return at
        self._pieces.append(_Piece(begin, at, spent, shares))
        if len(self._pieces) > MOST_PIECES:
            _settle(self._pieces.pop(0), at)
        return at


def _settle(piece: _Piece, now: float) -> None:
    """Split a piece of time."""
    known = [sharer.tokens(piece.begin, piece.end, new, now) for sharer, new in piece.shares]
    weights = [0.0 if tokens is None else tokens for tokens in known]
    whole = sum(weights)
    if None in known or whole <= 0:
        weights, whole = [1.0] * len(weights), float(len(weights))
    for (sharer, _), weight in zip(piece.shares, weights, strict=True):
        if weight:
            sharer.spent = sharer.spent.plus(piece.spent, weight / whole)


def _part(begin: float, end: float, low: float, high: float) -> float:
    """Which part of [low, high] lies in [begin, end]."""
    if high <= low:
        return 1.0 if begin <= low <= end else 0.0
    return max(0.0, min(end, high) - max(begin, low)) / (high - low)
