"""When to try again, and when to give up: exponential backoff with jitter, ``Retry-After``, a last attempt. Pure.

Unix times may jump (a clock that is set): a wait can then look longer than any that was ever ordered, see ``due``, and
nothing is given up for its age alone before it was tried a few times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_REQUESTED_S = 86_400.0
"""A ``Retry-After`` beyond a day counts as a day."""
FEWEST_ATTEMPTS = 3
"""What is old is tried this often all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Waits double from ``first_s`` to ``most_s`` and lose up to ``jitter`` of themselves; it ends after ``give_up_s``
    seconds or ``most_attempts``.
    """

    first_s: float = 5.0
    most_s: float = 3600.0
    jitter: float = 0.25
    give_up_s: float = 86_400.0
    most_attempts: int = 100


def wait_s(retries: Retries, attempts: int, draw: float, retry_after_s: float | None = None) -> float:
    """Seconds until the next attempt after ``attempts`` failed ones (at least 1); ``draw`` is uniform in [0, 1).

    What the other side asked for by ``Retry-After`` is a lower bound. Source of the shape: "Exponential Backoff And
    Jitter", M. Brooker 2015; the jitter is only partial here, so that a first retry is never at once.
    """
    doubled = retries.first_s * 2.0 ** min(max(attempts, 1) - 1, 60)
    own = min(doubled, retries.most_s) * (1.0 - retries.jitter * draw)
    return own if retry_after_s is None else max(own, min(retry_after_s, LONGEST_REQUESTED_S))


def horizon_s(retries: Retries) -> float:
    """No wait is longer than this."""
    return max(retries.most_s, LONGEST_REQUESTED_S)


def due(next_at: float, now: float, horizon: float) -> bool:
    """Whether it is time. A time further away than any wait was set by a clock that has jumped back since."""
    return next_at <= now or next_at > now + horizon


def spent(retries: Retries, attempts: int, created_at: float, now: float) -> str | None:
    """Why there will be no further attempt after ``attempts`` failed ones; ``None`` when there will."""
    if attempts >= retries.most_attempts:
        return f"{attempts} attempts failed"
    if attempts >= FEWEST_ATTEMPTS and now - created_at >= retries.give_up_s:
        return f"{attempts} attempts within {(now - created_at) / 3600:.3g} h failed"
    return None


def read_retry_after(text: str | None, now: float) -> float | None:
    """Seconds asked for by a ``Retry-After`` header (RFC 9110, 10.2.3): a number or a date; ``None`` for neither."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    return max(0.0, seconds) if math.isfinite(seconds) else None
