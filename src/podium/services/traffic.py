"""Counts live traffic for curves: the last ten minutes by the second, the last day by the minute.

Owns both rings, and that the day survives a restart: each hour is one small row of the store, written a minute after it
changed. A process that is killed loses that minute of the curve; the record of decisions has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from podium.core.spending import hour_of
from podium.core.traffic import CLIENTS, Curve, Level, Ring, Step, counted
from podium.domain.decision import Outcome
from podium.errors import StoreError
from podium.ports import Clock, Store
from podium.services.spending import Spending

DAY_S = 86_400
MINUTE_S = 60
SHORT_S = 600
CURVES = 16
"""Curves that are kept until their next span is complete, for everybody who looks."""
NAME = "traffic."
"""The rows of the store: this and the hour of the day, so that there are 24 for ever."""
FORMAT = 1
_HOUR = 3600 // MINUTE_S


class Traffic:
    """One per gateway, used from its event loop only."""

    def __init__(self, store: Store, clock: Clock, spending: Spending, kept: Mapping[str, bytes]) -> None:
        self._store = store
        self._clock = clock
        self._spending = spending
        self._seconds = Ring(1, SHORT_S)
        self._minutes = Ring(MINUTE_S, DAY_S // MINUTE_S)
        self._curves: dict[tuple[float, int], tuple[float, Curve]] = {}
        self._saved_at = clock.now()
        self._changed: float | None = None
        """When the first outcome came that is not on record."""
        steps: list[Step] = []
        for name, content in kept.items():
            if name.startswith(NAME):
                steps += _read(content)
        newest = int(clock.now() // MINUTE_S)
        self._minutes.restore(step for step in steps if step.number <= newest)

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Attempts ended; about three microseconds each, off the request path."""
        counts = counted(outcomes)
        self._seconds.fold(counts)
        self._minutes.fold(counts)
        if counts and self._changed is None:
            self._changed = self._clock.now()

    def curve(self, seconds: float, points: int) -> Curve:
        """The last ``seconds`` (at most a day) in about ``points`` spans."""
        ring = self._seconds if seconds <= SHORT_S else self._minutes
        now = self._clock.now()
        width = max(1, round(seconds / ring.step_s / max(1, points))) * ring.step_s
        key = (seconds, points)
        made, curve = self._curves.get(key, (-1, None))
        if curve is None or made != now // width:  # spans are complete: they change when the next one is
            curve = ring.curve(now, min(seconds, DAY_S), points)
            if len(self._curves) >= CURVES:
                self._curves.clear()
            self._curves[key] = (now // width, curve)
        return curve

    def level(self, seconds: int) -> Level:
        """The last ``seconds``, at most ten minutes."""
        return self._seconds.level(self._clock.now(), seconds)

    def shares(self, hours: int = 24) -> Mapping[str, Mapping[str, int]]:
        """Requests of clients in the last hours by task, then by version. The hour that is now counts as one."""
        first = hour_of(self._clock.now()) - hours + 1
        found: dict[str, dict[str, int]] = {}
        for key, row in self._spending.recent().items():
            if key.hour >= first and key.cause in CLIENTS:
                refs = found.setdefault(key.task, {})
                refs[key.ref] = refs.get(key.ref, 0) + row.operations
        return found

    async def keep(self, *, at_once: bool = False) -> None:
        """Write down the hours that changed, about once a minute. Raises ``StoreError``; then it is tried again."""
        now = self._clock.now()
        if self._changed is None or (now - self._changed < MINUTE_S and not at_once):
            return
        first = int(min(self._saved_at, self._changed, now) // 3600)
        changed, self._changed = self._changed, None
        try:
            for hour in range(max(first, int(now // 3600) - 23), int(now // 3600) + 1):
                steps = [step for step in self._minutes.steps(hour * _HOUR) if step.number < (hour + 1) * _HOUR]
                if steps:
                    await self._store.save_learned(f"{NAME}{hour % 24:02d}", _written(steps), now)
        except StoreError:
            self._changed = changed
            raise
        self._saved_at = now


def _written(steps: Iterable[Step]) -> bytes:
    rows = [[s.number, s.requests, s.failed, s.tokens, sorted(s.latencies.items())] for s in steps]
    return msgspec.msgpack.encode([FORMAT, rows])


def _read(content: bytes) -> list[Step]:
    """Steps of one row; none of one that cannot be read, for a curve with a gap is better than no start."""
    try:
        version, rows = msgspec.msgpack.decode(content)
        if version != FORMAT:
            return []
        return [
            Step(number, requests, failed, tokens, Counter({int(index): int(count) for index, count in pairs}))
            for number, requests, failed, tokens, pairs in rows
        ]
    except (msgspec.DecodeError, TypeError, ValueError):
        return []
