"""The training export: one row for each attempt at a request, as plain values, sealed into a chain of hashes.

Owns what a row holds (``docs/export.md`` lists the columns) and its schema version. Ids are pseudonyms, tasks and
versions keep their names; prompts, answers, comments and labels are not in it. Must not write files or know SQL.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podium.core.hash_chain import HASH, Sealer, canonical
from podium.core.offering import offered
from podium.core.pseudonyms import Pseudonyms
from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Choice, Feedback
from podium.domain.judgment import Judgment
from podium.errors import NotFound, Overloaded
from podium.ports import ExportStore, Extent, RecordedAttempt, Window

SCHEMA = "podium.execution/1"
"""Goes up by one when a column changes its meaning or goes away; columns may be added without."""
_MOST_PARTS = 256
MOST_AT_ONCE = 2
"""Exports a gateway streams at the same time."""
STEP = 200
"""Places of the record read at a time for a stream: about 10 ms of work."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row with the fields of the chain, and as it is written to JSON lines."""

    row: Row
    line: bytes
    """Without the end of the line."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What many rows in a line share, because they share a choice."""

    choice: Choice
    candidates: tuple[str, ...]
    considered: list[Row]
    text: str
    """``considered`` as JSON."""


class Exporter:
    """Makes rows of attempts, in order. ``push`` holds one back, because the last row says that it is."""

    def __init__(self, ids: Pseudonyms) -> None:
        self._ids = ids
        self._chain = Sealer()
        self._held: tuple[Row, str] | None = None
        self._parts: dict[int, _Parts] = {}

    @property
    def rows(self) -> int:
        """Rows handed out so far."""
        return self._chain.rows

    @property
    def last(self) -> str:
        """The hash of the newest of them."""
        return self._chain.last

    def push(self, attempts: Iterable[RecordedAttempt]) -> Iterator[Sealed]:
        """Take more attempts; the rows before the newest of them."""
        for attempt in attempts:
            parts = self._of_choice(attempt.decision.choice)
            row = self._row(attempt, parts)
            if self._held is not None:
                yield self._seal(*self._held, final=False)
            self._held = (row, parts.text)

    def end(self) -> Iterator[Sealed]:
        """The last row; none when no attempt came."""
        if self._held is not None:
            held, self._held = self._held, None
            yield self._seal(*held, final=True)

    def _seal(self, row: Row, considered: str, *, final: bool) -> Sealed:
        text = self._chain.seal(row, final=final, written=("considered", considered))
        return Sealed(row, f'{text[:-1]},"{HASH}":"{row[HASH]}"}}'.encode())

    def _row(self, attempt: RecordedAttempt, parts: _Parts) -> Row:
        decision, outcome = attempt.decision, attempt.outcome
        choice, expected = decision.choice, decision.choice.expected
        candidates = parts.candidates
        rewards = _rewards(attempt.feedback)
        return {
            "schema": SCHEMA,
            "key": self._ids.key_id,
            "id": self._ids.of("decision", decision.id),
            "request": self._ids.of("request", decision.request_id),
            "parent": None if decision.parent is None else self._ids.of("decision", decision.parent),
            "at": float(decision.at),
            "finished_at": float(outcome.at),
            "task": outcome.task,
            "classified_by": decision.classified_by,
            "task_confidence": float(decision.task_confidence),
            "strategy": choice.strategy,
            "confidence": float(choice.confidence),
            "reason": choice.reason,
            "expected_quality": _number(expected.quality),
            "expected_latency_ms": _number(expected.latency_ms),
            "expected_memory_mb": _number(expected.memory_mb),
            "expected_samples": int(expected.samples),
            "candidates": list(candidates),
            "considered": parts.considered,
            "fallbacks": list(choice.fallbacks),
            "chosen": decision.served,
            "propensity": float(decision.propensity),
            "exploration": float(choice.exploration),
            "evaluable": decision.parent is None and decision.served in candidates and 0.0 < decision.propensity <= 1.0,
            "success": bool(outcome.success),
            "error": outcome.error,
            "streamed": bool(outcome.streamed),
            "latency_ms": float(outcome.latency_ms),
            "ttft_ms": _number(outcome.ttft_ms),
            "reward": math.fsum(rewards.values()) / len(rewards) if rewards else None,
            "rewards": rewards,
            "judgments": [_judgment(item) for item in attempt.judgments],
            **_cost(outcome.cost),
        }

    def _of_choice(self, choice: Choice) -> _Parts:
        found = self._parts.get(id(choice))
        if found is None or found.choice is not choice:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            considered = [_candidate(item) for item in choice.candidates]
            found = _Parts(choice, offered(choice), considered, canonical(considered))
            self._parts[id(choice)] = found
        return found


class Exports:
    """Exports of a running gateway, a few at a time. ``key`` reads the key of the pseudonyms, made on first use."""

    def __init__(self, store: ExportStore, key: Callable[[], bytes]) -> None:
        self._store = store
        self._key = key
        self._open = 0

    async def stream(self, window: Window) -> AsyncGenerator[bytes, None]:
        """JSON lines, some at a time.

        Raises ``NotFound`` when there is nothing to export, ``Overloaded`` when ``MOST_AT_ONCE`` are under way.
        """
        if self._open >= MOST_AT_ONCE:
            raise Overloaded(f"{MOST_AT_ONCE} exports are under way; try again when one has ended", retry_after_s=30)
        exporter = Exporter(Pseudonyms(await asyncio.to_thread(self._key)))
        within = await self._store.export_extent(window)
        if within.attempts == 0:
            raise NotFound("there is nothing to export: no attempt at a request is on record for this choice")
        return self._lines(exporter, window, within)

    async def _lines(self, exporter: Exporter, window: Window, within: Extent) -> AsyncGenerator[bytes, None]:
        """Rows are made in a thread, so that requests are not held up; what is read is bounded by the reader's pace."""
        self._open += 1
        try:
            for after in range(within.first - 1, within.last, STEP):
                found = await self._store.export_piece(window, after, min(after + STEP, within.last))
                lines = await asyncio.to_thread(_joined, exporter.push(found))
                if lines:
                    yield lines
            yield _joined(exporter.end())
        finally:
            self._open -= 1


def _joined(rows: Iterable[Sealed]) -> bytes:
    return b"".join(one.line + b"\n" for one in rows)


def sealed(attempts: Iterable[RecordedAttempt], exporter: Exporter) -> Iterator[Sealed]:
    """All rows of an export."""
    yield from exporter.push(attempts)
    yield from exporter.end()


def _candidate(item: Candidate) -> Row:
    return {
        "ref": item.ref,
        "score": _number(item.score),
        "terms": {name: _number(value) for name, value in item.terms},
        "samples": int(item.samples),
        "dropped": item.dropped,
        "flags": list(item.flags),
    }


def _rewards(given: Sequence[Feedback]) -> dict[str, float]:
    """The score of each source that gave one."""
    return {one.source: float(one.score) for one in given if one.score is not None}


def _judgment(item: Judgment) -> Row:
    verdict = item.verdict
    return {
        "criterion": verdict.criterion,
        "judge": verdict.judge,
        "score": _number(item.score),
        "raw": _number(verdict.score),
        "sd": _number(verdict.sd),
        "calibrated": bool(item.calibrated),
        "method": verdict.method,
        "probability": float(item.probability),
        "signal": item.signal,
        "valid": verdict.invalid is None,
    }


def _cost(cost: Cost) -> Row:
    return {
        "wall_ms": float(cost.wall_ms),
        "cpu_ms": _number(cost.cpu_ms),
        "gpu_ms": _number(cost.gpu_ms),
        "peak_memory_mb": _number(cost.peak_memory_mb),
        "mean_memory_mb": _number(cost.mean_memory_mb),
        "mapped_memory_mb": _number(cost.mapped_memory_mb),
        "energy_mwh": _number(cost.energy_mwh),
        "energy_method": cost.energy_method.value,
        "input_tokens": cost.input_tokens,
        "cached_tokens": cost.cached_tokens,
        "output_tokens": cost.output_tokens,
        "tokens_per_s": _number(cost.tokens_per_s),
        "price_microusd": cost.price_microusd,
        "price_table": cost.price_table,
        "estimated": list(cost.estimated),
        "cause": cost.cause.value,
        "unmeasured": dict(cost.missing),
    }


def _number(value: float | None) -> float | None:
    """As a float; what is no number is none."""
    return None if value is None or not math.isfinite(value) else float(value)
