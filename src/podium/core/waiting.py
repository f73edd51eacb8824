"""How long a waiter will wait, said honestly. Pure.

Owns the arithmetic behind ``Retry-After`` and behind what a waiter is told. Must not know queues or instances: it
gets a position, a width and times. What is not known is ``None``, never a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RETRY_MIN_S = 1.0
RETRY_MAX_S = 120.0
RETRY_UNKNOWN_S = 5.0
"""Told when nothing was measured yet: long enough not to invite hammering, short enough to be tried."""
_LATEST_SHARE = 0.1
_LOAD_MARGIN = 0.1


@dataclass(slots=True)
class ServiceRate:
    """How long one place is held, in seconds: a mean in which recent requests count more.

    The first ten observations form a plain mean, after that each new one has a weight of a tenth (an exponentially
    weighted mean). ``held_s`` is ``None`` before the first.
    """

    held_s: float | None = None
    samples: int = 0

    def observe(self, held_s: float) -> None:
        """One place was given back after so many seconds. Negative and non-finite values are ignored."""
        if not 0.0 <= held_s < math.inf:
            return
        self.samples += 1
        if self.held_s is None:
            self.held_s = held_s
        else:
            self.held_s += max(1.0 / self.samples, _LATEST_SHARE) * (held_s - self.held_s)


def expected_wait_s(*, position: int, width: int, held_s: float | None, load_left_s: float | None) -> float | None:
    """Seconds until a waiter with ``position`` others before it gets a place; ``None`` when nothing is known.

    Ready instances (``load_left_s`` is ``None``): all ``width`` places are taken and one is given back every
    ``held_s / width`` on average, so the wait is ``(position + 1) * held_s / width`` (Little's law).

    Loading (``load_left_s`` given): the first ``width`` waiters start the moment the load is done, the others one
    round of ``held_s`` later each. While ``held_s`` is unknown only the load is counted: a lower bound.
    """
    position, width = max(0, position), max(1, width)
    if load_left_s is None:
        return None if held_s is None else (position + 1) * held_s / width
    return max(0.0, load_left_s) + (position // width) * (held_s or 0.0)


def load_left_s(elapsed_s: float, usual_s: float | None) -> float | None:
    """Seconds a load still needs after ``elapsed_s``, when it usually takes ``usual_s``; ``None`` if never measured.

    A load that takes longer than usual is not "done any moment": the longer it is overdue the longer it is likely
    to go on, so past the usual time the answer grows by half a second per second. It is never below a tenth of
    the usual time, and has no jump.
    """
    if usual_s is None:
        return None
    usual_s, overdue_s = max(0.0, usual_s), max(0.0, elapsed_s) - max(0.0, usual_s)
    return max(-overdue_s, _LOAD_MARGIN * usual_s + max(0.0, overdue_s) / 2.0)


def retry_after_s(expected: float | None) -> float:
    """The value of a ``Retry-After`` header: whole seconds, rounded up, between 1 and 120.

    Rounded up because coming back early costs another refusal; bounded because a client told an hour never
    returns. ``None`` (nothing known) and NaN become 5.
    """
    if expected is None or math.isnan(expected):
        return RETRY_UNKNOWN_S
    return float(math.ceil(min(max(expected, RETRY_MIN_S), RETRY_MAX_S)))
