"""The bridge from executions to the history of models: what a completed execution says becomes feedback.

Owns nothing that lasts: what has not been said yet is said again after a restart, because an execution is recorded as
completed only after its feedback is (see services/tracker). The other direction, model history to a tracker, is the
record of executions itself, read on behind the last change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from podium.core.executions import votes
from podium.domain.execution import Execution
from podium.errors import NotFound
from podium.services.recorder import Recorder

SOURCE = "agent"
AT_ONCE = 25
"""Scores joined before others get their turn on the event loop."""


@dataclass(slots=True)
class BridgeStats:
    """Counts since the start."""

    said: int = 0
    """Scores that joined an answer, or wait for one that has not ended."""
    unjoined: int = 0
    """Scores about requests that are not on record any more."""


class Bridge:
    """One per gateway."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.stats = BridgeStats()

    async def tell(self, done: Iterable[Execution]) -> None:
        """Give the scores of completed executions; durable when it returns. Saying it again changes nothing.

        Raises ``StoreError``.
        """
        said = 0
        for execution in done:
            for request_id, score in votes(execution):
                try:
                    await self._recorder.feedback(request_id, score, source=SOURCE)
                    self.stats.said += 1
                except NotFound:
                    self.stats.unjoined += 1
                said += 1
                if said % AT_ONCE == 0:
                    await asyncio.sleep(0)
        if said:
            await self._recorder.flush()
