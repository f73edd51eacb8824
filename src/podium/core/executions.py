"""What happens to an execution: begun, joined by requests, completed, given up; and what it says of versions. Pure.

Owns the rules and limits. Must not keep executions nor look them up.

One execution says one thing of every version that answered in it: its quality (1 or 0 by its success when no quality was
given), about the version's newest answer on each task. A version that answered ten times in it does not count ten times.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from podium.domain.cost import Cost
from podium.domain.decision import Decision, Outcome
from podium.domain.execution import Execution, ExecutionState, Routed, Spent
from podium.errors import Conflict, InvalidRequest

TIMEOUT_S = 86_400.0
"""An execution that nobody completes is given up after a day, unless it was started with another time."""
LONGEST_S = 30 * 86_400.0
METADATA_BYTES = 65_536
NAME_CHARS = 128
ROUTED = 20
"""Routing decisions kept with an execution; the decision log has them all."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SUMMED = ("cpu_ms", "energy_mwh", "input_tokens", "output_tokens")


def begun(execution_id: str, kind: object, agent: object, timeout_s: object, now: float) -> Execution:
    """A new execution. Raises ``InvalidRequest`` naming the field."""
    return Execution(
        id=execution_id,
        type=_name(kind, "type"),
        agent=None if agent is None else _name(agent, "agent"),
        started_at=now,
        timeout_s=_timeout(timeout_s),
    )


def check_id(text: str, param: str) -> str:
    """The text, if it can be the id of an execution. Raises ``InvalidRequest``."""
    if not _ID.fullmatch(text):
        raise InvalidRequest(
            f"{text[:40]!r} is no id of an execution: 1 to 128 of A-Z a-z 0-9 . _ : -, as its start returned it",
            param=param,
        )
    return text


def completed(
    execution: Execution, *, success: object, quality: object, metadata: Mapping[str, object] | None, now: float
) -> Execution:
    """The execution with what came of it; itself when the same was said before. One that was given up may still be
    completed. Raises ``InvalidRequest``, and ``Conflict`` when something else was said before.
    """
    if not isinstance(success, bool):
        raise InvalidRequest(f"success is true or false, not {type(success).__name__}", param="success")
    score, said = _quality(quality), _metadata(metadata)
    if execution.state is ExecutionState.COMPLETED:
        differs = [
            name
            for name, value in (("success", success), ("quality", score), ("metadata", said))
            if getattr(execution, name) != value
        ]
        if differs:
            raise Conflict(
                f"execution {execution.id} was completed before with another {' and '.join(differs)}; "
                "what was said first stays. Start a new execution for new work"
            )
        return execution
    return replace(execution, finished_at=now, success=success, quality=score, metadata=said)


def abandoned(execution: Execution, now: float) -> Execution:
    """Given up: nobody completed it in time."""
    return replace(execution, finished_at=now)


def due_at(execution: Execution) -> float:
    """The Unix time from which on it is given up."""
    return execution.started_at + execution.timeout_s


def joined(execution: Execution, decision: Decision) -> Execution:
    """A request of it goes to a version."""
    step = Routed(
        request_id=decision.request_id,
        decision_id=decision.id,
        task=decision.choice.task,
        ref=decision.served,
        at=decision.at,
    )
    routed = (*execution.routed, step)
    if len(routed) > ROUTED:
        routed = _trimmed(routed)
    return replace(execution, routed=routed, requests=execution.requests + 1)


def ended(execution: Execution, outcome: Outcome) -> Execution:
    """One of its attempts ended, and cost what it cost."""
    routed = tuple(
        replace(step, success=outcome.success, latency_ms=outcome.latency_ms)
        if step.decision_id == outcome.decision_id
        else step
        for step in execution.routed
    )
    return replace(execution, routed=routed, spent=spend(execution.spent, outcome.cost, success=outcome.success))


def spend(spent: Spent, cost: Cost, *, success: bool) -> Spent:
    """The sums with one more attempt."""
    sums = {}
    measured = dict(spent.measured)
    for name in _SUMMED:
        value = getattr(cost, name)
        before = getattr(spent, name)
        sums[name] = before if value is None else value + (before or 0)
        if value is not None:
            measured[name] = measured.get(name, 0) + 1
    peaks = [peak for peak in (spent.peak_memory_mb, cost.peak_memory_mb) if peak is not None]
    return Spent(
        attempts=spent.attempts + 1,
        failed=spent.failed + (not success),
        wall_ms=spent.wall_ms + cost.wall_ms,
        peak_memory_mb=max(peaks) if peaks else None,
        measured=MappingProxyType(measured),
        **sums,
    )


def votes(execution: Execution) -> tuple[tuple[str, float], ...]:
    """(request id, score) of what a completed execution says: one answer of each version on each task, the newest one.

    Attempts that failed are left out: that they failed is on record, and there is no answer to be judged.
    """
    if execution.success is None:
        return ()
    score = float(execution.success) if execution.quality is None else execution.quality
    newest = {(step.task, step.ref): step.request_id for step in execution.routed if step.success is not False}
    return tuple((request_id, score) for request_id in dict.fromkeys(newest.values()))


def _trimmed(routed: tuple[Routed, ...]) -> tuple[Routed, ...]:
    """One less: the oldest that is not the newest of its version and task, else the oldest."""
    newest = {(step.task, step.ref): step.decision_id for step in routed}
    for place, step in enumerate(routed):
        if newest[step.task, step.ref] != step.decision_id:
            return (*routed[:place], *routed[place + 1 :])
    return routed[1:]


def _name(text: object, param: str) -> str:
    if (
        not isinstance(text, str)
        or not (1 <= len(text) <= NAME_CHARS)
        or not text.isprintable()
        or text != text.strip()
    ):
        raise InvalidRequest(
            f"{param} is a printable text of 1 to {NAME_CHARS} characters, without space around it", param=param
        )
    return text


def _timeout(value: object) -> float:
    if value is None:
        return TIMEOUT_S
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_S:
        raise InvalidRequest(
            f"timeout_s is a number of seconds above 0 and up to {LONGEST_S:.0f} (30 days)", param="timeout_s"
        )
    return float(value)


def _quality(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"quality is a number from 0 to 1, not {type(value).__name__}", param="quality")
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise InvalidRequest(f"quality is from 0 to 1, not {value}; leave it out if nobody knows", param="quality")
    return float(value)


def _metadata(value: Mapping[str, object] | None) -> Mapping[str, object]:
    """As it comes back from the record: what JSON makes of it."""
    if not value:
        return MappingProxyType({})
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"metadata must be an object of JSON values: {error}", param="metadata") from None
    if size > METADATA_BYTES:
        raise InvalidRequest(
            f"metadata has {size} bytes as JSON and may have {METADATA_BYTES}; keep the rest elsewhere and name it here",
            param="metadata",
        )
    return MappingProxyType(json.loads(text))
