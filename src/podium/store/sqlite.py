"""The store: one writer thread, one reader thread, the repositories. See ``ports.Store`` for every verb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from podium.domain.alert import Alert
from podium.domain.benchmark import ItemResult, Run
from podium.domain.cost import Operation, SpentKey, SpentRow
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.directive import Directive
from podium.domain.execution import Execution, ExecutionFilter, Standing
from podium.domain.history import TaskHistory
from podium.domain.judging import Queued, Tally, Waiting
from podium.domain.judgment import Calibration, Judgment
from podium.domain.model import ModelVersion, Profile, Transition
from podium.domain.rollout import Bar, Rollout, RolloutStep
from podium.domain.schedule import Schedule
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding, TaskSpec
from podium.domain.webhook import Backlog, Delivery
from podium.errors import StoreError
from podium.ports import (
    Batch,
    CellKey,
    Extent,
    JudgmentFilter,
    KeptRollout,
    Page,
    Piece,
    Recorded,
    RecordedAttempt,
    RolloutChange,
    Sought,
    Window,
)
from podium.store import (
    alerts,
    benchmarks,
    calibrations,
    cost_cells,
    costs,
    deliveries,
    directives,
    engine,
    executions,
    exporting,
    history,
    judgments,
    knowledge,
    learned,
    ledger,
    rollouts,
    schedules,
    tasks,
    versions,
)
from podium.store.audit_head import HeadFile
from podium.store.audit_table import AuditTable
from podium.store.budget_tables import BudgetTables
from podium.store.key_costs import KeyCostTable
from podium.store.key_table import KeyTable
from podium.store.secret_table import SecretTable
from podium.store.writer import Writer

T = TypeVar("T")
_PRUNE_STEP = 2_000
_SPENDING_HOURS = 48


class SqliteStore(AuditTable, BudgetTables, KeyTable, KeyCostTable, SecretTable):
    """Implements ``ports.Store``. Built by ``open_store``."""

    def __init__(self, path: Path, warnings: tuple[str, ...] = ()) -> None:
        self.path = path
        self.warnings = warnings
        """What was wrong at opening and was repaired; worth showing to a person."""
        self._writer = Writer(engine.writing(path), path)
        self._writer.on_audit = HeadFile(path).write
        self._reading = engine.reading(path)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="podium-store-reader")
        self._closed = False
        self._writer.start()

    @property
    def commits(self) -> int:
        """Transactions committed so far; fewer than writes when they came together."""
        return self._writer.commits

    async def load(self) -> Recorded:
        return await self._read(_load)

    async def add_version(self, version: ModelVersion, by: str) -> None:
        await self._writer.run(lambda connection: versions.add(connection, version, by))

    async def remove_version(self, ref: str) -> None:
        await self._writer.run(lambda connection: versions.remove(connection, ref))

    async def set_status(self, transition: Transition, *, keep_until: float | None = None) -> None:
        await self._writer.run(lambda connection: versions.move(connection, transition, keep_until))

    async def set_profile(self, ref: str, profile: Profile) -> None:
        await self._writer.run(lambda connection: versions.put_profile(connection, ref, profile))

    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        await self._writer.run(lambda connection: learned.put_learned(connection, name, content, at))

    async def set_directive(self, ref: str, directive: Directive | None) -> None:
        await self._writer.run(lambda connection: directives.put_directive(connection, ref, directive))

    async def set_alias(self, alias: str, target: str | None) -> None:
        await self._writer.run(lambda connection: versions.put_alias(connection, alias, target))

    async def put_task(self, task: TaskSpec) -> None:
        await self._writer.run(lambda connection: tasks.put_task(connection, task))

    async def save_swap(self, swap: Swap, binding: Binding | None, event: Event) -> None:
        def work(connection: Connection) -> None:
            tasks.put_swap(connection, swap)
            if binding is not None:
                tasks.bind(connection, binding)
            tasks.add_events(connection, (event,))

        await self._writer.run(work)

    async def unbind(self, task: str, event: Event) -> None:
        def work(connection: Connection) -> None:
            tasks.unbind(connection, task)
            tasks.add_events(connection, (event,))

        await self._writer.run(work)

    async def write_batch(self, batch: Batch) -> None:
        await self._writer.run(lambda connection: ledger.write(connection, batch))

    async def transitions(self, ref: str) -> tuple[Transition, ...]:
        return await self._read(lambda connection: versions.transitions_of(connection, ref))

    async def swaps(self, task: str | None, page: Page) -> tuple[Swap, ...]:
        return await self._read(lambda connection: tasks.list_swaps(connection, task, page))

    async def events(self, after_id: int, page: Page) -> tuple[Event, ...]:
        return await self._read(lambda connection: tasks.list_events(connection, after_id, page))

    async def find_decisions(self, request_id: str) -> tuple[tuple[Decision, Outcome], ...]:
        return await self._read(lambda connection: ledger.decisions_of(connection, request_id))

    async def recent_decisions(self, page: Page, sought: Sought | None = None) -> tuple[tuple[Decision, Outcome], ...]:
        return await self._read(lambda connection: ledger.recent_decisions(connection, page, sought))

    async def find_feedback(self, request_id: str) -> tuple[Feedback, ...]:
        return await self._read(lambda connection: ledger.feedback_of(connection, request_id))

    async def counts(self) -> Mapping[str, int]:
        return await self._read(ledger.counts)

    async def prune(self, max_decisions: int, older_than: float) -> int:
        return await self._in_steps(lambda connection: ledger.prune(connection, max_decisions, older_than, _PRUNE_STEP))

    async def save_benchmark_run(self, run: Run) -> None:
        await self._writer.run(lambda connection: benchmarks.put_run(connection, run))

    async def benchmark_runs(self, page: Page) -> tuple[Run, ...]:
        return await self._read(lambda connection: benchmarks.list_runs(connection, page))

    async def find_benchmark_run(self, run_id: str) -> Run | None:
        return await self._read(lambda connection: benchmarks.find_run(connection, run_id))

    async def save_benchmark_results(self, results: Sequence[ItemResult]) -> None:
        await self._writer.run(lambda connection: benchmarks.put_results(connection, results))

    async def forget_benchmark_results(self, digest: str, refs: Sequence[str]) -> int:
        return await self._writer.run(lambda connection: benchmarks.forget_results(connection, digest, refs))

    async def benchmark_results(self, digest: str, refs: Sequence[str]) -> tuple[ItemResult, ...]:
        return await self._read(lambda connection: benchmarks.results_of(connection, digest, refs))

    async def current_benchmark_results(self, task: str | None) -> tuple[ItemResult, ...]:
        return await self._read(lambda connection: benchmarks.current_results(connection, task))

    async def benchmark_scores(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        return await self._read(benchmarks.current_scores)

    def notify(self, stored: Callable[[], None]) -> None:
        """``stored`` is called from the writer's thread after every commit that holds new events."""
        self._writer.on_events = stored

    async def events_like(
        self, after_id: int, kinds: Sequence[str], page: Page, *, newest: bool = False
    ) -> tuple[Event, ...]:
        return await self._read(lambda connection: history.events_like(connection, after_id, kinds, page, newest))

    async def event_bounds(self) -> tuple[int, int]:
        return await self._read(history.bounds)

    async def prune_events(self, most: int) -> int:
        return await self._in_steps(lambda connection: history.prune_events(connection, most, _PRUNE_STEP))

    async def task_history(self, task: str | None) -> tuple[TaskHistory, ...]:
        return await self._read(lambda connection: history.task_history(connection, task))

    async def subscribe_webhooks(self, subscriptions: Mapping[str, tuple[str, ...]]) -> None:
        await self._writer.run(lambda connection: deliveries.subscribe(connection, subscriptions))

    async def backlog(self, webhook: str, now: float, horizon: float, limit: int) -> Backlog:
        return await self._read(lambda connection: deliveries.backlog(connection, webhook, now, horizon, limit))

    async def delivered(self, done: Delivery) -> Delivery | None:
        def work(connection: Connection) -> Delivery | None:
            deliveries.remove(connection, (done.seq,))
            return deliveries.next_of(connection, done)

        return await self._writer.run(work)

    async def postpone_delivery(self, failed: Delivery) -> None:
        await self._writer.run(lambda connection: deliveries.postpone(connection, failed))

    async def give_up_delivery(self, lost: Delivery, event: Event) -> None:
        def work(connection: Connection) -> None:
            deliveries.remove(connection, (lost.seq,))
            tasks.add_events(connection, (event,))

        await self._writer.run(work)

    async def trim_deliveries(self, webhook: str, keep: int, told: Callable[[int], Event]) -> Event | None:
        def work(connection: Connection) -> Event | None:
            lost = deliveries.trim(connection, webhook, keep)
            event = told(lost) if lost else None
            tasks.add_events(connection, () if event is None else (event,))
            return event

        return await self._writer.run(work)

    async def waiting_deliveries(self) -> Mapping[str, tuple[int, float]]:
        return await self._read(deliveries.waiting)

    async def add_rollout(self, change: RolloutChange, owner: str, until: float) -> None:
        await self._writer.run(lambda connection: rollouts.add(connection, change, owner, until))

    async def save_rollout(self, change: RolloutChange, owner: str) -> None:
        await self._writer.run(lambda connection: rollouts.save(connection, change, owner))

    async def save_arms(self, rollout_id: str, owner: str, arms: bytes) -> bool:
        return await self._writer.run(lambda connection: rollouts.put_arms(connection, rollout_id, owner, arms))

    async def claim_rollouts(
        self, owner: str, now: float, until: float, *, only: str | None = None, alone: bool = False
    ) -> tuple[KeptRollout, ...]:
        return await self._writer.run(
            lambda connection: rollouts.claim(connection, owner, now, until, only=only, alone=alone)
        )

    async def renew_rollouts(self, owner: str, until: float) -> frozenset[str]:
        return await self._writer.run(lambda connection: rollouts.renew(connection, owner, until))

    async def find_rollout(self, rollout_id: str) -> KeptRollout | None:
        return await self._read(lambda connection: rollouts.find(connection, rollout_id))

    async def rollouts(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        return await self._read(lambda connection: rollouts.listed(connection, task, page))

    async def rollout_steps(self, rollout_id: str) -> tuple[RolloutStep, ...]:
        return await self._read(lambda connection: rollouts.steps_of(connection, rollout_id))

    async def add_rollout_step(self, step: RolloutStep) -> None:
        await self._writer.run(lambda connection: rollouts.add_step(connection, step))

    async def unreleased_rollouts(self) -> tuple[Rollout, ...]:
        return await self._read(rollouts.unreleased)

    async def bars(self) -> tuple[Bar, ...]:
        return await self._read(rollouts.all_bars)

    async def save_schedule(self, schedule: Schedule, events: Sequence[Event] = ()) -> None:
        await self._writer.run(lambda connection: schedules.put(connection, schedule, events))

    async def unfinished_schedules(self) -> tuple[Schedule, ...]:
        return await self._read(schedules.unfinished)

    async def schedules(self, page: Page) -> tuple[Schedule, ...]:
        return await self._read(lambda connection: schedules.listed(connection, page))

    async def find_schedule(self, schedule_id: str) -> Schedule | None:
        return await self._read(lambda connection: schedules.find(connection, schedule_id))

    async def requests_by_time(
        self, tasks: Sequence[str], since: float, until: float, piece_s: int
    ) -> Mapping[int, int]:
        return await self._read(lambda connection: schedules.requests_by_time(connection, tasks, since, until, piece_s))

    async def move_together(self, swaps: Sequence[Swap], bindings: Sequence[Binding], events: Sequence[Event]) -> None:
        await self._writer.run(lambda connection: schedules.move_together(connection, swaps, bindings, events))

    async def enqueue_judging(self, items: Sequence[Queued]) -> None:
        await self._writer.run(lambda connection: judgments.enqueue(connection, items))

    async def waiting_judging(self) -> tuple[Waiting, ...]:
        return await self._read(judgments.waiting)

    async def take_judging(self, decision_ids: Sequence[str]) -> tuple[Queued, ...]:
        return await self._read(lambda connection: judgments.take(connection, decision_ids))

    async def thin_judging(self, decision_ids: Sequence[str], share: float) -> None:
        await self._writer.run(lambda connection: judgments.thin(connection, decision_ids, share))

    async def save_judgments(self, made: Sequence[Judgment]) -> None:
        await self._writer.run(lambda connection: judgments.save(connection, made))

    async def raise_judged_probability(self, decision_id: str, probability: float, sign: str) -> int:
        return await self._writer.run(
            lambda connection: judgments.raise_probability(connection, decision_id, probability, sign)
        )

    async def judgments(self, wanted: JudgmentFilter, page: Page) -> tuple[Judgment, ...]:
        return await self._read(lambda connection: judgments.listed(connection, wanted, page))

    async def judgment_tallies(
        self, task: str | None, since: float, cuts: Mapping[tuple[str, str], float] | None = None
    ) -> tuple[Tally, ...]:
        return await self._read(lambda connection: judgments.tallies(connection, task, since, cuts or {}))

    async def prune_judgments(self, most: int) -> int:
        """In small steps, as ``prune``."""
        total = 0
        while True:
            gone = await self._writer.run(lambda connection: judgments.prune(connection, most, _PRUNE_STEP))
            total += gone
            if gone < _PRUNE_STEP:
                return total

    async def save_executions(self, changed: Sequence[Execution]) -> None:
        await self._writer.run(lambda connection: executions.put(connection, changed))

    async def find_execution(self, execution_id: str) -> Execution | None:
        return await self._read(lambda connection: executions.find(connection, execution_id))

    async def executions(self, which: ExecutionFilter, page: Page) -> tuple[Execution, ...]:
        return await self._read(lambda connection: executions.listed(connection, which, page))

    async def standings(self, agent: str | None) -> tuple[Standing, ...]:
        return await self._read(lambda connection: executions.standings(connection, agent))

    async def prune_executions(self, most: int, older_than: float) -> int:
        return await self._in_steps(lambda connection: executions.prune(connection, most, older_than, _PRUNE_STEP))

    async def export_extent(self, window: Window) -> Extent:
        return await self._read(lambda connection: exporting.extent(connection, window))

    async def export_piece(self, window: Window, after: int, upto: int) -> tuple[RecordedAttempt, ...]:
        return await self._read(lambda connection: exporting.piece(connection, window, after, upto))

    async def save_calibration(self, calibration: Calibration) -> None:
        await self._writer.run(lambda connection: calibrations.put_calibration(connection, calibration))

    async def calibrations(self) -> tuple[Calibration, ...]:
        return await self._read(calibrations.all_calibrations)

    async def remove_calibration(self, judge: str, criterion: str) -> bool:
        return await self._writer.run(lambda connection: calibrations.remove_calibration(connection, judge, criterion))

    async def save_alert(self, alert: Alert, event: Event) -> None:
        await self._writer.run(lambda connection: alerts.put(connection, alert, event))

    async def open_alerts(self) -> tuple[Alert, ...]:
        return await self._read(alerts.still_open)

    async def alerts(self, task: str | None, page: Page) -> tuple[Alert, ...]:
        return await self._read(lambda connection: alerts.listed(connection, task, page))

    async def recorded_pieces(
        self,
        limits: Mapping[str, float | None],
        since: float,
        piece_s: float,
        *,
        excused: Sequence[str],
        weights: Mapping[str, float],
    ) -> tuple[Piece, ...]:
        return await self._read(
            lambda connection: alerts.pieces(connection, limits, since, piece_s, excused=excused, weights=weights)
        )

    async def spending(
        self, since: int = 0, until: int | None = None, *, task: str | None = None, ref: str | None = None
    ) -> Mapping[SpentKey, SpentRow]:
        return await self._read(lambda connection: costs.spending(connection, since, until, task, ref))

    async def operations_about(self, request_id: str) -> tuple[Operation, ...]:
        return await self._read(lambda connection: costs.operations_about(connection, request_id))

    async def charged(self, to: str) -> tuple[tuple[Outcome, ...], tuple[Operation, ...]]:
        return await self._read(lambda connection: costs.charged(connection, to))

    async def keep_price_table(self, version: str, content: str, at: float) -> None:
        await self._writer.run(lambda connection: costs.keep_price_table(connection, version, content, at))

    async def price_table(self, version: str) -> str | None:
        return await self._read(lambda connection: costs.price_table(connection, version))

    async def prune_costs(self, most_operations: int, most_rows: int, older_than: float) -> int:
        return await self._in_steps(
            lambda connection: costs.prune(connection, most_operations, most_rows, older_than, _PRUNE_STEP)
        )

    async def fold_costs(self, limit: int) -> int:
        return await self._writer.run(lambda connection: cost_cells.fold(connection, limit))

    async def unfolded_costs(self) -> int:
        return await self._read(cost_cells.unfolded)

    async def read_cost_cells(
        self, take: Callable[[CellKey, bytes], None], *, since: float, until: float, task: str | None, ref: str | None
    ) -> None:
        await self._read(lambda connection: cost_cells.read(connection, take, since, until, task, ref))

    async def tidy_cost_cells(self, days_before: float, forget_before: float, most: int) -> None:
        while await self._writer.run(lambda connection: cost_cells.tidy(connection, days_before, forget_before, most)):
            pass

    async def close(self) -> None:
        """Finish what is queued, fold the write-ahead log into the file and let go of it; idempotent."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader.shutdown(wait=True)
        self._reading.dispose()
        self._writer.close()

    async def _in_steps(self, work: Callable[[Connection], int]) -> int:
        """Delete in small steps, so that other writes get their turn in between; returns how many rows went."""
        total = 0
        while (gone := await self._writer.run(work)) >= _PRUNE_STEP:
            total += gone
        return total + gone

    async def _read(self, work: Callable[[Connection], T]) -> T:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed; open it again")
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._work, work)

    def _work(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise engine.translate(error, self.path) from error


def _load(connection: Connection) -> Recorded:
    return Recorded(
        versions=versions.all_versions(connection),
        profiles=versions.all_profiles(connection),
        aliases=versions.all_aliases(connection),
        directives=directives.all_directives(connection),
        learned=learned.all_learned(connection),
        tasks=tasks.all_tasks(connection),
        bindings=tasks.all_bindings(connection),
        evidence=ledger.all_evidence(connection),
        knowledge=knowledge.all_knowledge(connection),
        unfinished_swaps=tasks.unfinished_swaps(connection),
        keep_until=versions.all_retention(connection),
        spending=costs.newest_spending(connection, _SPENDING_HOURS),
    )
