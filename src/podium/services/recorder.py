"""Write-behind recording: the request path appends to a buffer, a background task folds and writes.

Owns the evidence (the newest aggregates per task and version) and the rows that are not durable yet. Loses at most
one flush interval when the process is killed. When the store fails, rows wait and are tried again; when the buffer
is full, the oldest rows go and are counted, but what they said is in the evidence already. Never blocks a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from podium.core.feedback import Given, joined, read
from podium.core.history import fold_all, fold_feedback, revise_feedback
from podium.domain.cost import Operation, SpentKey, SpentRow
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.knowledge import TaskKnowledge
from podium.domain.model import Capability
from podium.domain.swap import Event
from podium.errors import StoreError
from podium.ports import Batch, Clock, Store
from podium.services.joining import FeedbackStats, Joining
from podium.services.knowledge import KnowledgeBase
from podium.services.spending import Spending

Key = tuple[str, str]
Pair = tuple[Decision, Outcome]
CAPACITY = 50_000
ROWS_PER_WRITE = 2_000
RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStats:
    """How recording keeps up. Counts are rows since the start."""

    written: int
    pending: int
    dropped: int
    last_error: str | None
    """Why the last write failed; ``None`` when it did not."""
    oldest_pending_age_s: float
    """0 when nothing waits."""


class Recorder:
    """One per gateway, used from its event loop only.

    ``on_evidence`` gets the changed rows, by (task, ref), after each fold, ``on_outcomes`` the outcomes that were folded,
    ``on_pairs`` the same with their decisions, ``on_feedback`` each new score, ``on_revision`` a score with the one it replaces; they must be quick and must not
    raise.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        evidence: Mapping[Key, Evidence] | None = None,
        knowledge: Mapping[str, TaskKnowledge] | None = None,
        spending: Mapping[SpentKey, SpentRow] | None = None,
        on_evidence: Callable[[Mapping[Key, Evidence]], None] | None = None,
        on_outcomes: Callable[[Iterable[Outcome]], None] | None = None,
        on_pairs: Callable[[Sequence[Pair]], None] | None = None,
        on_feedback: Callable[[Feedback], None] | None = None,
        on_revision: Callable[[Feedback, Feedback], None] | None = None,
        flush_interval_s: float = 0.05,
        capacity: int = CAPACITY,
    ) -> None:
        self._store = store
        self._clock = clock
        self._evidence = dict(evidence or {})
        self.knowledge = KnowledgeBase(knowledge)
        """What is known of tasks; stored together with the evidence."""
        self.spending = Spending(spending, capacity)
        """Sums of what was spent; stored together with the evidence."""
        self._on_evidence = on_evidence
        self._on_outcomes = on_outcomes
        self._on_pairs = on_pairs
        self._on_feedback = on_feedback
        self._on_revision = on_revision
        self._interval_s = flush_interval_s
        self._capacity = capacity
        self._new: deque[tuple[float, Decision, Outcome]] = deque()
        self._rows: deque[tuple[float, Decision, Outcome]] = deque()
        self._feedback: deque[Feedback] = deque()
        self._events: deque[Event] = deque()
        self._dirty: set[Key] = set()
        self._joining = Joining(store, clock)
        self._with_tools: set[str] = set()
        """Ids of decisions under way, or not folded yet, whose request offered tools."""
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._written = self._dropped = 0
        self._error: str | None = None
        self._refusal: str | None = None

    # ------------------------------------------------------------ the request path

    def record(self, decision: Decision, outcome: Outcome) -> None:
        """Note one attempt that ended. Microseconds; no I/O."""
        self._joining.end(outcome.request_id)
        if len(self._new) + len(self._rows) >= self._capacity:
            self._make_room()
        self._new.append((self._clock.monotonic(), decision, outcome))
        if not self._wake.is_set():
            self._wake.set()

    def begin(self, decision: Decision, needs: frozenset[str] = frozenset()) -> None:
        """Note that an attempt starts: ``record`` follows in any case, and feedback waits for it until then."""
        self._joining.begin(decision)
        if Capability.TOOLS in needs:
            self._with_tools.add(decision.id)

    def operation(self, done: Operation) -> None:
        """Note work that no decision was made for: what it cost is on record and in the sums. No I/O."""
        self.spending.operation(done, self._clock.now())
        self._wake.set()

    def event(self, event: Event) -> None:
        """Note an event. Microseconds; no I/O."""
        if len(self._events) >= self._capacity:
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self._wake.set()

    async def feedback(
        self,
        request_id: str,
        score: float | None = None,
        *,
        source: str = "user",
        comment: str | None = None,
        thumbs: str | None = None,
        label: str | None = None,
        correction: str | None = None,
        weight: float = 1.0,
        extra: bool = False,
    ) -> Feedback | None:
        """Join feedback to the answer of a request (its last attempt that succeeded, else its last); see core/feedback.

        A later word of the same source replaces its earlier one. ``weight`` and ``extra`` are those of ``Feedback``. ``None`` while the request is still under way: what
        was said is held then and joins when it ends. Raises ``InvalidRequest``, and ``NotFound`` for a request that
        is not on record.
        """
        given = read(
            request_id, score, thumbs=thumbs, label=label, correction=correction, comment=comment, source=source
        )
        if weight != 1.0 or extra:
            given = replace(given, weight=weight, extra=extra)
        self._fold()
        found = await self._joining.find(given)
        return None if found is None else self._accept(given, *found)

    def _accept(self, given: Given, answer: Outcome, earlier: Feedback | None = None) -> Feedback:
        said = joined(given, answer, self._clock.now(), earlier)
        self._joining.remember(said, earlier)
        if said is earlier:
            return said
        if len(self._feedback) >= self._capacity:
            self._feedback.popleft()
            self._dropped += 1
        self._feedback.append(said)
        self._score(said, earlier)
        if not said.extra:
            self.knowledge.feedback(answer, said, earlier)
        self._wake.set()
        return said

    def _score(self, said: Feedback, earlier: Feedback | None) -> None:
        """Teach the score, or its difference to the one it replaces."""
        before = None if earlier is None else earlier.score
        if said.score is None or said.score == before:
            return
        place = (said.task, said.ref)
        evidence = self._evidence.get(place, Evidence())
        if earlier is None or before is None:
            if not said.extra:
                self._learn({place: fold_feedback(evidence, said.score)})
            if self._on_feedback is not None:
                self._on_feedback(said)
        else:
            if not said.extra:
                self._learn({place: revise_feedback(evidence, before, said.score)})
            if self._on_revision is not None:
                self._on_revision(said, earlier)

    # ------------------------------------------------------------ reading

    def evidence(self) -> Mapping[Key, Evidence]:
        """The newest evidence, by (task, ref), everything recorded so far folded in."""
        self._fold()
        return dict(self._evidence)

    def catch_up(self) -> None:
        """Fold everything recorded so far, so that readers see it. No I/O."""
        self._fold()

    def newest_requests(self) -> Mapping[str, str]:
        """The newest request by task, as far as is remembered."""
        return self._joining.newest()

    def feedback_stats(self) -> FeedbackStats:
        """What became of feedback."""
        return self._joining.stats()

    def stats(self) -> RecorderStats:
        """How recording keeps up."""
        oldest = self._rows[0][0] if self._rows else self._new[0][0] if self._new else None
        return RecorderStats(
            written=self._written,
            pending=len(self._new) + len(self._rows) + len(self._feedback) + len(self._events),
            dropped=self._dropped,
            last_error=self._error,
            oldest_pending_age_s=0.0 if oldest is None else max(0.0, self._clock.monotonic() - oldest),
        )

    # ------------------------------------------------------------ the background

    def start(self) -> None:
        """Start the background task; call inside the event loop."""
        assert self._task is None, "a recorder starts once"
        self._task = asyncio.create_task(self._run(), name="podium-recorder")

    async def flush(self) -> None:
        """Return when everything recorded before the call is durable. Raises ``StoreError`` when it cannot be."""
        async with self._writing:
            self._fold()
            remaining = self._pending()
            while remaining > 0 and self._pending():
                remaining -= max(1, await self._write())
            if self._dirty or self.knowledge.unsaved or self.spending.unsaved:
                await self._write()

    async def close(self, deadline_s: float = 5.0) -> None:
        """Stop the background task and write what is left, for at most ``deadline_s`` seconds; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._drain()

    async def _drain(self) -> None:
        pause_s = RETRY_FIRST_S
        while self._new or self._pending() or self._dirty or self.knowledge.unsaved or self.spending.unsaved:
            try:
                await self.flush()
            except StoreError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._interval_s)
            self._wake.clear()
            try:
                await self.flush()
                pause_s = RETRY_FIRST_S
            except StoreError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                self._wake.set()

    async def _write(self) -> int:
        """Write one batch and return its rows. On ``StoreError`` everything is back where it was."""
        rows = [self._rows.popleft() for _ in range(min(len(self._rows), ROWS_PER_WRITE))]
        feedback = [self._feedback.popleft() for _ in range(min(len(self._feedback), ROWS_PER_WRITE))]
        events = [self._events.popleft() for _ in range(min(len(self._events), ROWS_PER_WRITE))]
        dirty, self._dirty = self._dirty, set()
        known = self.knowledge.take()
        operations, spent = self.spending.take()
        batch = Batch(
            decisions=[(decision, outcome) for _, decision, outcome in rows],
            feedback=feedback,
            events=events,
            evidence={key: self._evidence[key] for key in dirty},
            knowledge=known,
            operations=operations,
            spending=spent,
        )
        writing = asyncio.ensure_future(self._store_or_sort_out(batch))
        done = False
        try:
            done = await asyncio.shield(writing)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                done = await writing
            raise
        except StoreError as error:
            self._error = error.message
            raise
        finally:
            if not done:
                self._rows.extendleft(reversed(rows))
                self._feedback.extendleft(reversed(feedback))
                self._events.extendleft(reversed(events))
                self._dirty |= dirty
                self.knowledge.put_back(known)
                self.spending.put_back(operations, spent)
        return len(rows) + len(feedback) + len(events)

    async def _store_or_sort_out(self, batch: Batch) -> bool:
        """Write a batch. One that the store refuses for its content is written row by row without the bad rows."""
        total = len(batch.decisions) + len(batch.feedback) + len(batch.events)
        try:
            await self._store.write_batch(batch)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - whatever a row did to the store, the other rows must not wait behind it
            singles = [Batch(decisions=(pair,)) for pair in batch.decisions]
            singles += [Batch(feedback=(item,)) for item in batch.feedback]
            singles += [Batch(events=(item,)) for item in batch.events]
            singles += [Batch(evidence={key: row}) for key, row in (batch.evidence or {}).items()]
            singles += [Batch(knowledge={task: known}) for task, known in (batch.knowledge or {}).items()]
            singles += [Batch(operations=(one,)) for one in batch.operations]
            singles += [Batch(spending={key: row}) for key, row in (batch.spending or {}).items()]
            results = await asyncio.gather(*map(self._store.write_batch, singles), return_exceptions=True)
            refused = [error for error in results if isinstance(error, Exception)]
            for error in refused:
                if isinstance(error, StoreError):
                    raise error from None
            bad = len(refused)
            if refused:
                self._refusal = f"{bad} rows could not be stored and were left out: {refused[-1]}"
            self._dropped += bad
            total -= bad
        self._written += total
        self._error, self._refusal = self._refusal, None
        return True

    def _pending(self) -> int:
        return len(self._rows) + len(self._feedback) + len(self._events)

    # ------------------------------------------------------------ folding

    def _fold(self) -> None:
        """Move new outcomes into the evidence and queue their rows."""
        if not self._new:
            return
        groups: defaultdict[Key, list[Outcome]] = defaultdict(list)
        pairs: list[Pair] = []
        while self._new:
            row = self._new.popleft()
            outcome = row[2]
            if self._joining.knows(outcome.decision_id):
                continue
            self._joining.note(outcome)
            self._rows.append(row)
            groups[outcome.task, outcome.ref].append(outcome)
            pairs.append(row[1:])
        folded = [outcome for outcomes in groups.values() for outcome in outcomes]
        self.knowledge.outcomes(folded, self._with_tools)
        self.spending.outcomes(folded, self._clock.now())
        self._with_tools.difference_update([outcome.decision_id for outcome in folded])
        changed = {}
        if self._on_outcomes is not None and folded:
            self._on_outcomes(folded)
        if self._on_pairs is not None and pairs:
            self._on_pairs(pairs)
        for key, outcomes in groups.items():
            before = self._evidence.get(key, Evidence())
            after = fold_all(before, outcomes)
            if after is not before:
                changed[key] = after
        self._learn(changed)
        for outcome in folded:
            for given, answer in self._joining.released(outcome.request_id):
                self._accept(given, answer)

    def _learn(self, changed: Mapping[Key, Evidence]) -> None:
        if not changed:
            return
        self._evidence.update(changed)
        self._dirty.update(changed)
        if self._on_evidence is not None:
            self._on_evidence(changed)

    def _make_room(self) -> None:
        """Drop the oldest row; what is not folded yet is folded first, so that no evidence is lost."""
        if not self._rows:
            self._fold()
        if self._rows:
            self._rows.popleft()
            self._dropped += 1
