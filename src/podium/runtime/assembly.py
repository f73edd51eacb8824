"""Puts a gateway together, in order, and starts what runs behind it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from podium._version import __version__
from podium.config import Config, role_limits
from podium.config.export_key import export_key
from podium.host import Host
from podium.maintenance import Maintenance, keep_traffic
from podium.runtime.alerting import alerting
from podium.runtime.budgeting import budgeting
from podium.runtime.budgeting import resume as resume_budgets
from podium.runtime.config_keeping import ConfigKeeper
from podium.runtime.cost_profiles import cost_profiles
from podium.runtime.exposure import Exposure
from podium.runtime.foundation import Foundation, lay
from podium.runtime.judging import judging
from podium.runtime.serving import Serving, serve
from podium.runtime.steering import Steering, steer
from podium.runtime.telemetry import telemetry
from podium.server.browsers import Browsers
from podium.server.doorman import Doorman
from podium.server.metrics import Metrics
from podium.server.openai import DataPlane
from podium.services.alerts import Alerts
from podium.services.auditing import Audit
from podium.services.budgeting import Budgeting
from podium.services.conversations import Conversations
from podium.services.counting import TokenCounter
from podium.services.export import Exports
from podium.services.judging import Judging
from podium.services.key_costs import KeyCosts
from podium.services.keys import Keys
from podium.services.limiting import Limiter
from podium.services.plane import Services
from podium.services.request_log import log_requests
from podium.services.traffic import Traffic

if TYPE_CHECKING:
    from podium.telemetry.service import Telemetry

Reload = Callable[..., Awaitable[Mapping[str, object]]]


class Parts:
    """A gateway that is put together and not started yet."""

    def __init__(
        self,
        base: Foundation,
        serving: Serving,
        steering: Steering,
        judging: Judging,
        alerts: Alerts,
        budgeting: Budgeting,
    ) -> None:
        self._base = base
        self._serving = serving
        self._steering = steering
        self._judging = judging
        self._alerts = alerts
        self._budgeting = budgeting
        self._warnings: list[str] = [*base.store.warnings, *base.forgotten]
        self._reload: Reload | None = None
        self.telemetry: Telemetry | None = None
        self.host: Host = base.host
        counter = TokenCounter(base.registry, base.policy, base.tasks, serving.classifier, serving.pool)
        self.audit = Audit(base.store, base.clock)
        self.keeper = ConfigKeeper(base.store, base.clock, self.audit)
        self.exposure = Exposure(base.config)
        self.keys = Keys(base.store, base.clock)
        self._key_costs = KeyCosts(base.store, base.clock)
        serving.gateway.key_costs = self._key_costs
        settings = base.config.server
        self.doorman = Doorman(self.keys, Browsers(base.clock), settings.auth, frozenset(settings.allowed_hosts))
        self.doorman.limiter = self.limiter = Limiter(base.clock, role_limits(base.config.limits))
        kept = base.config.responses
        conversations = Conversations(
            base.clock.monotonic, kept_bytes=int(kept.memory_mb * 2**20), kept_s=kept.minutes * 60
        )
        self.data_plane = DataPlane(serving.gateway, base.registry, counter, self.doorman, conversations)
        self._metrics = Metrics()
        base.on_outcomes.append(self._metrics.heard)
        self._traffic = Traffic(base.store, base.clock, base.recorder.spending, base.recorded.learned)
        base.on_outcomes.append(self._traffic.outcomes)
        base.on_pairs.append(log_requests)
        base.on_feedback.append(self._metrics.scored)
        base.bus.hearers.append(self._metrics.event)
        budgeting.account = self.keys.account
        self.services = self._bundle()
        self._metrics.watch(self.services, self.data_plane.gate.refusals.counts)

    async def start(self, declare: Callable[[], Awaitable[list[str]]], reload: Reload, stack: AsyncExitStack) -> None:
        """Take up what the last run left unfinished, and run what runs in the background until ``stack`` closes.

        ``declare`` registers what the configuration holds and says what is wrong with it; ``reload`` reads it again.
        """
        self._reload = reload
        await self._go_on(stack)
        maintenance = Maintenance(self.services, self._serving.meter, self._base.config.recording)

        async def declared() -> None:
            self._warnings.extend(await declare())
            await maintenance.standing_orders()  # a declared binding comes before what a rule says

        background = [self.telemetry.run()] if self.telemetry is not None else []
        if self._base.config.server.watch_config:
            background.append(self.keeper.watch())
        await stack.enter_async_context(
            _background(
                *background,
                maintenance.sweep(),
                maintenance.learned(),
                maintenance.hourly(),
                maintenance.rollouts(),
                maintenance.alerts(),
                maintenance.costs(),
                maintenance.traffic(),
                maintenance.keys(),
                maintenance.audit(),
                self._steering.schedules.run(),
                self._steering.shadow.run(),
                declared(),
                self._serving.classifier.run(),
                self._judging.run(),
                self._budgeting.run(),
                self._serving.tracker.run(),
            )
        )

    async def _go_on(self, stack: AsyncExitStack) -> None:
        base, steering = self._base, self._steering
        await self.audit.resume()
        stack.push_async_callback(self.audit.close)
        await self.keys.load()
        await self._key_costs.resume()
        stack.push_async_callback(self._key_costs.close)
        await resume_budgets(base, self._budgeting)
        await steering.swapper.settle(base.recorded.unfinished_swaps)
        self._serving.directives.resume()
        await self._serving.tracker.resume()
        stack.push_async_callback(steering.rollouts.close)
        stack.push_async_callback(keep_traffic, self._traffic, at_once=True)
        stack.callback(base.recorder.catch_up)  # what was answered last is evidence too
        await steering.rollouts.resume()
        await self._judging.resume()
        await self._alerts.resume()
        stack.push_async_callback(steering.schedules.close)
        await steering.schedules.resume()
        stack.push_async_callback(steering.automation.close)
        base.webhooks.start()

    async def _reread(self, by: str = "owner") -> Mapping[str, object]:
        assert self._reload is not None, "nobody asks before it is started"
        return await self._reload(by=by)

    def _bundle(self) -> Services:
        base, serving, steering = self._base, self._serving, self._steering
        return Services(
            registry=base.registry,
            onboarding=serving.onboarding,
            selector=base.policy,
            tasks=base.tasks,
            pool=serving.pool,
            directives=serving.directives,
            swapper=steering.swapper,
            rollouts=steering.rollouts,
            schedules=steering.schedules,
            automation=steering.automation,
            gateway=serving.gateway,
            recorder=base.recorder,
            learner=base.learner,
            classifier=serving.classifier,
            benchmarks=serving.benchmarks,
            judging=self._judging,
            alerts=self._alerts,
            budgeting=self._budgeting,
            keys=self.keys,
            vault=base.vault,
            audit=self.audit,
            audit_log=base.store,
            configurations=self.keeper.history,
            limiter=self.limiter,
            tracker=serving.tracker,
            traffic=self._traffic,
            store=base.store,
            costs=base.store,
            host=base.host,
            power=base.power.cpu,
            clock=base.clock,
            events=base.bus,
            event_log=base.store,
            cost_profiles=cost_profiles(base, serving.pool),
            key_costs=self._key_costs,
            exports=Exports(base.store, lambda: export_key(base.config.home, os.environ)),
            webhooks=base.webhooks,
            providers=base.catalogue.get,
            provider_problems=lambda: base.catalogue.problems,
            reload=self._reread,
            metrics=self._metrics.page,
            version=__version__,
            started_at=base.clock.now(),
            warnings=lambda: (
                *self._warnings,
                *base.webhooks.problems(),
                *base.vault.problems(),
                *self.exposure.problems(),
                *self.keeper.problems(),
                *steering.automation.problems(),
                *self._alerts.problems(),
            ),
        )


async def assemble(config: Config, store: Any, stack: AsyncExitStack) -> Parts:
    """Build everything on an open store; ``stack`` closes it in the opposite order."""
    base = await lay(config, store, stack)
    serving = serve(base, stack)
    judge = judging(base, serving, stack)
    steering = steer(base, serving, judge.score)
    alerts = alerting(base, serving, steering.automation.autoswap, stack)
    parts = Parts(base, serving, steering, judge, alerts, budgeting(base, serving, stack))
    parts.telemetry = telemetry(base, serving, judge, stack)
    return parts


@asynccontextmanager
async def _background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Background work that ends with the gateway."""
    running = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
