"""Writes a log entry for every attempt at a request: which, by whom it was answered, how long it took, how it ended.

Entries are made where records are folded, off the request path. No word of what was asked or answered is among them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from podium.domain.decision import Decision, Outcome
from podium.errors import PodiumError

_log = logging.getLogger("podium.requests")


def log_requests(pairs: Sequence[tuple[Decision, Outcome]]) -> None:
    """Attempts that ended; those that failed at info, all others at debug."""
    if not _log.isEnabledFor(logging.INFO):
        return
    for decision, outcome in pairs:
        level = logging.INFO if outcome.error is not None else logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(level, "attempt", extra={"podium": fields(decision, outcome)})


class Refusals:
    """Requests that no model was asked for, or that nobody could answer: counted by reason, logged at debug, for anybody
    can cause a million of them.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """By the code of the kind of error: as many as there are kinds, whatever callers and servers send."""

    def note(self, request_id: str, error: PodiumError) -> None:
        """One was refused."""
        reason = type(error).code
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if _log.isEnabledFor(logging.DEBUG):
            said = {"request_id": request_id, "status": error.status, "code": error.code}
            _log.debug("refused", extra={"podium": said})


def fields(decision: Decision, outcome: Outcome) -> dict[str, object]:
    """What is logged of an attempt."""
    cost = outcome.cost
    return {
        "request_id": outcome.request_id,
        "decision_id": outcome.decision_id,
        "parent": decision.parent,
        "task": outcome.task,
        "model": outcome.ref,
        "error": outcome.error,
        "streamed": outcome.streamed,
        "latency_ms": round(outcome.latency_ms, 1),
        "first_token_ms": None if outcome.ttft_ms is None else round(outcome.ttft_ms, 1),
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "cause": cost.cause.value,
    }
