"""Takes what ended from the request path and turns it into telemetry in the background."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from podium.domain.decision import Feedback
from podium.domain.judgment import Judgment
from podium.domain.model import ModelVersion
from podium.domain.trace import Trace
from podium.services.tracing import Traced
from podium.telemetry.content import Content
from podium.telemetry.evaluations import Evaluations
from podium.telemetry.exporting import Providers
from podium.telemetry.measuring import Instruments
from podium.telemetry.spans import SpanMaker

INTERVAL_S = 0.25
AT_ONCE = 8
"""Requests whose spans are made before others get their turn: a millisecond or two."""
CAPACITY = 20_000
PATIENCE_S = 6.0
_log = structlog.get_logger("podium.telemetry")


class Telemetry:
    """One per gateway that has it switched on. ``find`` knows versions by name."""

    def __init__(
        self, providers: Providers, find: Callable[[str], ModelVersion | None], *, content: bool = False
    ) -> None:
        self._providers = providers
        self.content = Content() if content else None
        """Shows this object answers; ``None`` when nobody may see them."""
        self._spans = SpanMaker(providers.traces, providers.ids, find, self._said)
        self._instruments = Instruments(providers.metrics, find)
        self._evaluations = Evaluations(providers.logs, self._spans, find, content=content)
        self._waiting: deque[Callable[[], None]] = deque()
        self._wake = asyncio.Event()
        self.dropped = 0
        """Since the start, because too much waited."""

    # ------------------------------------------------------------ told by others, at once

    def sample(self, trace: Trace) -> bool:
        """See ``Tracing``."""
        return self._spans.sample(trace)

    def keep(self, traced: Traced) -> None:
        """See ``Tracing``."""
        self._later(lambda: self._request(traced))

    def judged(self, judgments: Sequence[Judgment]) -> None:
        """Judges said something of an answer."""
        self._later(lambda: self._evaluations.judged(judgments))

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """Somebody gave a score."""
        self._later(lambda: self._evaluations.scored(given))

    def _later(self, work: Callable[[], None]) -> None:
        if len(self._waiting) >= CAPACITY:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(work)
        self._wake.set()

    # ------------------------------------------------------------ the background

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(INTERVAL_S)
            self._wake.clear()
            while self._waiting:
                self._some(AT_ONCE)
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Make what is left and send it, for a few seconds at most; idempotent."""
        self._some(CAPACITY)
        await asyncio.to_thread(self._providers.shut, PATIENCE_S)

    def _some(self, number: int) -> None:
        for _ in range(min(number, len(self._waiting))):
            work = self._waiting.popleft()
            try:
                work()
            except Exception:  # noqa: BLE001 - telemetry of one request must not end that of all others
                _log.exception("telemetry of a request could not be made")

    def _request(self, traced: Traced) -> None:
        self._instruments.request(traced)
        if traced.trace.sampled:
            self._evaluations.remember(self._spans.request(traced))

    def _said(self, decision_id: str) -> Mapping[str, str]:
        return {} if self.content is None else self.content.of(decision_id)
