"""Tracks executions: a call notes what happened in memory, a background task writes it. No I/O while somebody waits.

Owns the open executions, whole and bounded in number, and the newest that are over. What changed is written in the order
of the changes; a kill loses at most one flush interval. When the store fails, changes wait and are tried again. An
execution is recorded as completed only after what it says of models is on record, so that a kill between the two leaves it
open and nothing is learned twice or never.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from podium.core import executions as rules
from podium.domain.decision import Decision, Outcome
from podium.domain.execution import Execution, ExecutionFilter, ExecutionState, Standing
from podium.domain.swap import Event
from podium.errors import Conflict, NotFound, Overloaded, PodiumError, StoreError
from podium.ports import Clock, ExecutionStore, Page
from podium.services.tracking_bridge import Bridge, BridgeStats
from podium.services.tracking_early import EarlyRequests

MOST_OPEN = 100_000
REMEMBERED = 10_000
"""Executions that are over and still known without asking the store."""
ROWS_PER_WRITE = 1_000
SWEEP_S = 1.0
RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0
SHOWN = 10
_log = structlog.get_logger("podium.tracker")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerStats:
    """Counts are since the start; ``open`` and ``pending`` (changes that are not durable) are now."""

    open: int
    most_open: int
    pending: int
    started: int
    completed: int
    abandoned: int
    refused: int
    """Starts refused because too many are open."""
    requests: int
    """Routing decisions that named an execution."""
    unjoined: int
    """Of them those whose execution is not known, was over long ago, or has not been heard of yet."""
    last_unjoined: tuple[tuple[str, str], ...]
    """(execution id, request id), newest first."""
    dropped: int
    """Changes the store refused for their content."""
    last_error: str | None
    feedback: BridgeStats


class Tracker:
    """One per gateway, used from its event loop only. ``emit`` is told of executions that were given up."""

    def __init__(
        self,
        store: ExecutionStore,
        bridge: Bridge,
        clock: Clock,
        new_id: Callable[[], str],
        emit: Callable[[Event], None],
        *,
        flush_interval_s: float = 0.05,
        most_open: int = MOST_OPEN,
    ) -> None:
        self._store = store
        self._bridge = bridge
        self._clock = clock
        self._new_id = new_id
        self._emit = emit
        self._interval_s = flush_interval_s
        self._most_open = most_open
        self._open: dict[str, Execution] = {}
        self._over: OrderedDict[str, Execution] = OrderedDict()
        self._changed: dict[str, Execution] = {}
        """Not durable yet, in the order of the last changes."""
        self._in_hand: Mapping[str, Execution] = {}
        """Being written right now."""
        self._untold: set[str] = set()
        """Completed, and what they say of models is not on record."""
        self._due: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._last = 0.0
        self._early = EarlyRequests(clock.monotonic)
        self._started = self._completed = self._abandoned = self._refused = 0
        self._requests = self._dropped = 0
        self._error: str | None = None

    # ------------------------------------------------------------ the agent's calls

    def start(self, kind: object, agent: object = None, timeout_s: object = None) -> Execution:
        """Begin one. Microseconds; no I/O. Raises ``InvalidRequest``, and ``Overloaded`` when too many are open."""
        return self._begin(rules.begun(self._new_id(), kind, agent, timeout_s, self._now()))

    async def start_as(
        self, execution_id: str, kind: object, agent: object, timeout_s: object, *, again: bool = True
    ) -> Execution:
        """As ``start``, under an id the caller made. The same start twice changes nothing. ``again``: it may have been
        started before, so that the store is asked. Raises ``Conflict`` when something else has the id.
        """
        rules.check_id(execution_id, "id")
        made = rules.begun(execution_id, kind, agent, timeout_s, self._now())
        found = self._known(execution_id)
        if found is None and again:
            found = await self._store.find_execution(execution_id)
            found = self._known(execution_id) or found
        if found is None:
            return self._begin(self._early.joined(made))
        if (found.type, found.agent, found.timeout_s) != (made.type, made.agent, made.timeout_s):
            raise Conflict(f"execution {execution_id} was started before as something else; make another id")
        return found

    async def complete(
        self,
        execution_id: str,
        *,
        success: object,
        quality: object = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Execution:
        """Say what came of it; the store is asked only for one that was over long ago. The same said twice changes
        nothing. Raises ``InvalidRequest``, ``NotFound``, and ``Conflict`` when something else was said before.
        """
        before = self._known(execution_id) or await self._recorded(execution_id)
        before = self._known(execution_id) or before  # somebody may have completed it while the store was read
        after = rules.completed(before, success=success, quality=quality, metadata=metadata, now=self._now())
        if after is not before:
            self._completed += 1
            self._untold.add(after.id)
            self._keep(after)
        return after

    # ------------------------------------------------------------ the request path

    def began(self, execution_id: str, decision: Decision) -> None:
        """A request that named an execution goes to a version. Microseconds; never raises."""
        self._requests += 1
        execution = self._known(execution_id)
        if execution is None:
            self._early.began(execution_id, decision)
            return
        if execution.state is ExecutionState.COMPLETED:
            self._untold.add(execution_id)
        self._keep(rules.joined(execution, decision))

    def ended(self, execution_id: str, outcome: Outcome) -> None:
        """The attempt ended. Microseconds; never raises."""
        execution = self._known(execution_id)
        if execution is None:
            self._early.ended(execution_id, outcome)
        else:
            self._keep(rules.ended(execution, outcome))

    # ------------------------------------------------------------ reading

    async def find(self, execution_id: str) -> Execution:
        """One, as it is now. Raises ``NotFound``."""
        return self._known(execution_id) or await self._recorded(execution_id)

    async def listed(self, which: ExecutionFilter, page: Page) -> tuple[Execution, ...]:
        """From the record, everything said so far included as far as it can be written."""
        with contextlib.suppress(StoreError):  # on a full disk, what is on it can be read all the same
            await self.flush()
        return await self._store.executions(which, page)

    async def standings(self, agent: str | None) -> tuple[Standing, ...]:
        """How executions went, by agent, type and version, everything said so far included as ``listed`` does."""
        with contextlib.suppress(StoreError):
            await self.flush()
        return await self._store.standings(agent)

    async def prune(self, most: int, older_than: float) -> None:
        """Forget those that are over and beyond the newest ``most`` changes, or over before the Unix time."""
        await self._store.prune_executions(most, older_than)

    def stats(self) -> TrackerStats:
        """How tracking goes."""
        return TrackerStats(
            open=len(self._open),
            most_open=self._most_open,
            pending=len(self._changed),
            started=self._started,
            completed=self._completed,
            abandoned=self._abandoned,
            refused=self._refused,
            requests=self._requests,
            unjoined=self._early.unjoined,
            last_unjoined=self._early.newest(),
            dropped=self._dropped,
            last_error=self._error,
            feedback=self._bridge.stats,
        )

    # ------------------------------------------------------------ the background

    async def resume(self) -> None:
        """Take up the executions that were open when the last run ended."""
        page = Page(limit=self._most_open)
        found = await self._store.executions(ExecutionFilter(state=ExecutionState.OPEN), page)
        for execution in reversed(found):
            if execution.id not in self._open:
                self._open[execution.id] = execution
                heapq.heappush(self._due, (rules.due_at(execution), execution.id))

    async def run(self) -> None:
        """Write what changed and give up what is due, until cancelled."""
        pause_s = RETRY_FIRST_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._wake.wait()
                    await asyncio.sleep(self._interval_s)
            self._wake.clear()
            self.sweep()
            try:
                await self.flush()
                pause_s = RETRY_FIRST_S
            except StoreError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                self._wake.set()
            except Exception:  # noqa: BLE001 - tracking goes on whatever went wrong with some executions
                _log.exception("executions could not be written")
                await asyncio.sleep(pause_s)

    def sweep(self) -> None:
        """Give up what nobody completed in time, and say so in one event."""
        now = self._clock.now()
        gone = []
        self._early.expire()
        while self._due and self._due[0][0] <= now:
            _, execution_id = heapq.heappop(self._due)
            execution = self._open.get(execution_id)
            if execution is not None and rules.due_at(execution) <= now:
                self._keep(rules.abandoned(execution, self._now()))
                gone.append(execution)
        if gone:
            self._abandoned += len(gone)
            shown = ", ".join(execution.id for execution in gone[:SHOWN])
            subject = gone[0].id if len(gone) == 1 else "executions"
            self._emit(
                Event(kind="execution.abandoned", at=now, subject=subject, data=(("count", len(gone)), ("ids", shown)))
            )

    async def flush(self) -> None:
        """Return when everything noted before the call is durable. Raises ``StoreError`` when it cannot be."""
        async with self._writing:
            remaining = len(self._changed)
            while remaining > 0 and self._changed:
                remaining -= await self._write()

    async def close(self, deadline_s: float = 5.0) -> None:
        """Write what is left, for at most ``deadline_s`` seconds; idempotent."""
        with contextlib.suppress(PodiumError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.flush()

    async def _write(self) -> int:
        """Write one batch and return its rows; on an error all that was not overtaken is back where it was."""
        batch = {key: self._changed.pop(key) for key in list(self._changed)[:ROWS_PER_WRITE]}
        telling = {key for key in batch if key in self._untold}
        self._untold -= telling
        written = False
        self._in_hand = batch
        try:
            await self._bridge.tell(batch[key] for key in telling)
            await self._save(batch)
            written = True
        except StoreError as error:
            self._error = error.message
            raise
        finally:
            self._in_hand = {}
            if not written:
                self._changed = {**batch, **self._changed}
                self._untold |= telling
        return len(batch)

    async def _save(self, batch: Mapping[str, Execution]) -> None:
        """Write a batch. One that the store refuses for its content is written row by row without the bad rows."""
        rows = tuple(batch.values())
        refusal = None
        try:
            await self._store.save_executions(rows)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a row did to the store, the others must not wait behind it
            if len(rows) == 1:
                self._dropped += 1
                refusal = f"an execution could not be stored and was left out: {error}"
            else:
                for key, row in batch.items():
                    await self._save({key: row})
                return
        self._error = refusal

    def _full(self) -> Overloaded:
        if len(self._open) >= self._most_open:
            return Overloaded(
                f"{self._most_open} executions are open, more are not tracked; complete those that are done, "
                "or start them with a shorter timeout_s",
                code="too_many_executions",
            )
        return Overloaded(
            f"{len(self._changed)} changes of executions wait to be written; the store says: {self._error or 'busy'}",
            code="tracker_behind",
            retry_after_s=RETRY_MOST_S,
        )

    # ------------------------------------------------------------ what is known

    def _begin(self, execution: Execution) -> Execution:
        if len(self._open) >= self._most_open or len(self._changed) >= 2 * self._most_open:
            self._refused += 1
            raise self._full()
        self._started += 1
        self._keep(execution)
        heapq.heappush(self._due, (rules.due_at(execution), execution.id))
        return execution

    def _keep(self, execution: Execution) -> None:
        """The newest state of it; it is to be written."""
        key = execution.id
        self._changed.pop(key, None)
        self._changed[key] = execution
        if execution.finished_at is None:
            self._open[key] = execution
        else:
            self._open.pop(key, None)
            self._over[key] = execution
            self._over.move_to_end(key)
            if len(self._over) > REMEMBERED:
                self._over.popitem(last=False)
        if not self._wake.is_set():
            self._wake.set()

    def _known(self, execution_id: str) -> Execution | None:
        places = (self._open, self._over, self._changed, self._in_hand)
        return next((place[execution_id] for place in places if execution_id in place), None)

    async def _recorded(self, execution_id: str) -> Execution:
        found = await self._store.find_execution(execution_id)
        if found is None:
            raise NotFound(
                f"there is no execution {execution_id[:64]!r}; its start returns the id, and it is forgotten "
                "with the record (recording.retention_days)",
                param="id",
                code="execution_not_found",
            )
        return found

    def _now(self) -> float:
        """Never the same twice and never back, so that the order of ends is their order in time."""
        self._last = max(self._clock.now(), self._last + 1e-6)
        return self._last
