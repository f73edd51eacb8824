"""Regular background work of one gateway: sweeps of pool and meter, retirements, pruning."""

from __future__ import annotations

import asyncio

import structlog

from podium.config import Recording
from podium.domain.audit import PODIUM, Phase
from podium.domain.model import Lifecycle
from podium.errors import PodiumError
from podium.ports import Clock, Store
from podium.services.auditing import Ending, Order
from podium.services.cost_profiles import DAYS_KEPT_S
from podium.services.learner import STATE, Learner
from podium.services.meter import Meter
from podium.services.plane import Services
from podium.services.traffic import Traffic

SWEEP_S = 0.25
PAIRS_AT_ONCE = 1_000
"""Beliefs that one sweep may make anew, so that it holds the event loop up for some 20 ms at most."""
SAVE_S = 0.8
ROLLOUTS_S = 1.0
ORDERS_S = 1.0
ALERTS_S = 1.0
COSTS_S = 5.0
KEYS_S = 5.0
AUDIT_S = 5.0
HOUR_S = 3600.0
MOST_SUMS = 200_000
"""Rows of what was spent, by hour, task, version and cause: some 40 MB."""
_log = structlog.get_logger("podium.maintenance")


class Maintenance:
    """Two loops that run until they are cancelled; an error in one round is logged and does not end them."""

    def __init__(self, services: Services, meter: Meter, recording: Recording) -> None:
        self._services = services
        self._meter = meter
        self._recording = recording

    async def sweep(self) -> None:
        """Dead processes, idle instances, memory peaks, what was learned: four times a second."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._services.pool.sweep()
            self._meter.sweep()
            self._services.learner.publish(PAIRS_AT_ONCE)
            self._services.recorder.knowledge.publish(self._services.selector.teach)

    async def learned(self) -> None:
        """Keep what was learned, whole, within a second of learning it."""
        services = self._services
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                if services.learner.benchmarks_pending:
                    services.learner.benchmarked(await services.benchmarks.scores())
                await keep_learned(services.store, services.learner, services.clock)
            except PodiumError as error:
                _log.warning("what was learned could not be kept", error=error.message)

    async def rollouts(self) -> None:
        """Look at what the evidence of rollouts allows, about once a second."""
        while True:
            await asyncio.sleep(ROLLOUTS_S)
            try:
                await self._services.rollouts.tick()
            except Exception:  # noqa: BLE001 - no rollout may be left alone because a round went wrong
                _log.exception("a round over the rollouts failed")

    async def alerts(self) -> None:
        """Look at error budgets, and write down what became worse or well again, about once a second."""
        while True:
            await asyncio.sleep(ALERTS_S)
            await self._services.alerts.tick()

    async def costs(self) -> None:
        """Add up what was recorded lately, so that profiles of costs are read at once."""
        while True:
            await asyncio.sleep(COSTS_S)
            try:
                await self._services.cost_profiles.tick()
                await self._services.key_costs.write()
            except PodiumError as error:
                _log.warning("costs could not be added up", error=error.message)

    async def traffic(self) -> None:
        """Write down the curve of the last minutes."""
        while True:
            await asyncio.sleep(COSTS_S)
            await keep_traffic(self._services.traffic)

    async def keys(self) -> None:
        """Write down when keys were last used."""
        while True:
            await asyncio.sleep(KEYS_S)
            try:
                await self._services.keys.keep_used()
            except PodiumError as error:
                _log.warning("when keys were used could not be written down", error=error.message)

    async def audit(self) -> None:
        """Write into the audit log what waits for room, and how many refusals were only counted."""
        while True:
            await asyncio.sleep(AUDIT_S)
            await self._services.audit.tick()

    async def standing_orders(self) -> None:
        """Look at the facts that rules ask about, and at models that tasks follow, about once a second."""
        while True:
            await asyncio.sleep(ORDERS_S)
            await self._services.automation.tick()

    async def hourly(self) -> None:
        """Retire what has been kept warm long enough, and keep the log within its bounds."""
        while True:
            try:
                await self.tidy()
            except PodiumError as error:
                _log.warning("maintenance failed", error=error.message)
            await asyncio.sleep(HOUR_S)

    async def tidy(self) -> None:
        """One round of the hourly work."""
        services = self._services
        now = services.clock.now()
        for ref in services.registry.due_retirements(now):
            await services.registry.transition(ref, Lifecycle.RETIRED, "maintenance", "kept warm long enough")
            await services.pool.unload(ref, reason="retired")
            order = Order(author=PODIUM, what="model.retired", subject=f"model:{ref}", before={"status": "deprecated"})
            await services.audit.once(order, Ending(after={"status": "retired"}), Phase.EVENT)
        services.selector.refresh()
        oldest = now - self._recording.retention_days * 86400
        await services.cost_profiles.tidy()  # before rows go that are in no profile yet
        await services.store.prune(self._recording.max_decisions, oldest)
        await services.costs.prune_costs(self._recording.max_decisions, MOST_SUMS, oldest)
        await services.key_costs.tidy(now - DAYS_KEPT_S, MOST_SUMS)
        await services.event_log.prune_events(self._recording.max_events)
        await services.tracker.prune(self._recording.max_decisions, oldest)


async def keep_learned(store: Store, learner: Learner, clock: Clock) -> None:
    """Write the learner's state if it changed. Raises ``StoreError``; then it is written next time."""
    if learner.saved:
        return
    content = learner.state()
    try:
        await store.save_learned(STATE, content, clock.now())
    except BaseException:
        learner.unsaved()
        raise


async def keep_traffic(traffic: Traffic, *, at_once: bool = False) -> None:
    """Write what changed of the curves; a failure is logged, and tried again."""
    try:
        await traffic.keep(at_once=at_once)
    except PodiumError as error:
        _log.warning("the curve of traffic could not be kept", error=error.message)
