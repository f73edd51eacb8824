"""When a task gets the fewest requests, learned from how many it got before. Pure.

Owns the estimate and the rules for too little history. Must not query anything: requests come counted per quarter of
an hour, which suits every time zone there is (their offsets are multiples of 15 minutes).

The week is cut into 168 local hours. The rate of one of them is its requests over the time it was watched, pulled
towards the rate of the same hour on all days as if that had been watched for one more hour (the mean of a
gamma posterior whose prior has that weight), so that one quiet Tuesday does not outweigh the habit of all nights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

PIECE_S = 900
"""Length of the pieces requests are counted by, in seconds; their number is Unix time over this, rounded down."""
WATCHED_S = 8 * 7 * 86400
"""How far back it looks at most."""
WEEKS_S = 14 * 86400
"""History from which hours of the week are told apart: each was seen twice."""
DAYS_S = 3 * 86400
"""History from which hours of the day are told apart: each was seen three times."""
MEAN_S = 3600
"""History from which a mean rate is known at all."""
LULL_S = 900
"""The last while, which is compared with the mean."""
LULL_SHARE = 0.25
"""A lull has at most this share of the mean rate."""
_AHEAD_S = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of some tasks together, up to Unix time ``until``."""

    until: float
    pieces: Mapping[int, int] = field(default_factory=dict)
    """Requests by number of the piece; pieces without any may be left out."""
    recent: int = 0
    """Requests in the last ``LULL_S`` seconds."""

    @property
    def since(self) -> float | None:
        """Begin of the piece with the first request; before it nobody knows. ``None`` without requests."""
        first = min((piece for piece, requests in self.pieces.items() if requests > 0), default=None)
        return None if first is None else float(first * PIECE_S)

    @property
    def watched_s(self) -> float:
        """Length of the history; 0 without requests."""
        return 0.0 if self.since is None else max(0.0, self.until - self.since)

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.pieces.values())

    @property
    def per_s(self) -> float:
        """Mean rate over the history, requests per second; 0 without history."""
        return self.requests / self.watched_s if self.watched_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A stretch in the coming week with the fewest requests to be expected."""

    opens_at: float
    closes_at: float
    expected: float
    """Requests that usually come in it."""
    usual: float
    """Requests that come in an average stretch of this length."""
    by: str
    """``hour of the week`` or ``hour of the day``."""
    watched_s: float
    requests: int

    @property
    def says(self) -> str:
        """The estimate and what stands behind it, in words."""
        return (
            f"about {self.expected:.3g} requests are expected in it, {self.usual:.3g} in an average stretch of this "
            f"length; learned by {self.by} from {self.requests} requests in {span(self.watched_s)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lull:
    """Whether there is little traffic right now, and why it is said."""

    calm: bool
    says: str


def quietest(traffic: Traffic, zone: tzinfo, after: float, length_s: float) -> Quiet | None:
    """The stretch of ``length_s`` that begins on a full local hour in the week after Unix time ``after`` and has the
    fewest requests to be expected; the first one of equals. ``None`` with less history than ``DAYS_S``.
    """
    if traffic.watched_s < DAYS_S:
        return None
    weekly = traffic.watched_s >= WEEKS_S
    rates = _rates(traffic, zone, weekly=weekly)
    best: tuple[float, int] | None = None
    first = int(after // PIECE_S) + 1
    for piece in range(first, first + _AHEAD_S // PIECE_S):
        if _local(piece, zone).minute >= PIECE_S // 60:
            continue  # not the first quarter of a local hour
        expected = _expected(rates, zone, piece * PIECE_S, length_s)
        if best is None or expected < best[0] * (1 - 1e-9):
            best = expected, piece
    assert best is not None, "a week has full hours"
    opens_at = float(best[1] * PIECE_S)
    return Quiet(
        opens_at=opens_at,
        closes_at=opens_at + length_s,
        expected=best[0],
        usual=traffic.per_s * length_s,
        by="hour of the week" if weekly else "hour of the day",
        watched_s=traffic.watched_s,
        requests=traffic.requests,
    )


def lull(traffic: Traffic) -> Lull:
    """Whether the present is a lull: at most a quarter of the mean rate in the last 15 minutes. What was never asked
    has nobody to disturb.
    """
    if traffic.since is None:
        return Lull(calm=True, says="no request is recorded, so there is nobody to disturb")
    if traffic.watched_s < MEAN_S:
        return Lull(calm=False, says=f"only {span(traffic.watched_s)} of history, an hour is needed to know a lull")
    usual = traffic.per_s * LULL_S
    calm = traffic.recent <= LULL_SHARE * usual
    return Lull(
        calm=calm,
        says=f"{traffic.recent} requests in the last {span(LULL_S)}, {usual:.3g} is the mean of {span(traffic.watched_s)};"
        f" a lull has at most {LULL_SHARE * usual:.3g}",
    )


def unusually_busy(traffic: Traffic) -> str | None:
    """Why a stretch that should be quiet is not: more requests in the last 15 minutes than on the mean."""
    usual = traffic.per_s * LULL_S
    if traffic.recent <= max(usual, 1.0):
        return None
    return f"{traffic.recent} requests in the last {span(LULL_S)} are more than the mean of {usual:.3g}"


def span(seconds: float) -> str:
    """A length of time in words."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 60:.3g} minutes"


def _local(piece: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(piece * PIECE_S, UTC).astimezone(zone)


def _rates(traffic: Traffic, zone: tzinfo, *, weekly: bool) -> list[float]:
    """Requests per second in each of the 168 hours of the local week, Monday first."""
    assert traffic.since is not None, "there is history"
    watched, asked = [0.0] * 168, [0] * 168
    first, last = int(traffic.since // PIECE_S), int(traffic.until // PIECE_S)
    for piece in range(first, last + 1):
        at = _local(piece, zone)
        cell = at.weekday() * 24 + at.hour
        watched[cell] += min(traffic.until - piece * PIECE_S, PIECE_S)
        asked[cell] += traffic.pieces.get(piece, 0)
    daily = [_over(sum(asked[hour::24]), sum(watched[hour::24])) for hour in range(24)]
    if not weekly:
        return daily * 7
    return [(asked[cell] + daily[cell % 24] * 3600) / (watched[cell] + 3600) for cell in range(168)]


def _over(requests: int, seconds: float) -> float:
    return requests / seconds if seconds else 0.0


def _expected(rates: list[float], zone: tzinfo, opens_at: float, length_s: float) -> float:
    total, at = 0.0, opens_at
    while at < opens_at + length_s:
        local = datetime.fromtimestamp(at, UTC).astimezone(zone)
        lasts = min(PIECE_S, opens_at + length_s - at)
        total += rates[local.weekday() * 24 + local.hour] * lasts
        at += lasts
    return total
