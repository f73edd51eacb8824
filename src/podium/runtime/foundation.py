"""What is known and recorded: registry, tasks, policy, learner, recorder, events. Nothing here answers a request."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from podium.config import Config
from podium.core.belief_file import UnreadableBeliefs
from podium.core.prices import Quote
from podium.host import Host, HostPower
from podium.ports import Clock, Recorded
from podium.price_list import price_list
from podium.providers.catalogue import Catalogue, ProviderContext
from podium.runtime.clock import SystemClock
from podium.runtime.declaring import check_strategies
from podium.sealing.master_keys import master_keys
from podium.sealing.sealer import AesSealer
from podium.services.events import EventBus
from podium.services.hosted import HostedGate
from podium.services.learner import STATE, Learner
from podium.services.policy import Policy
from podium.services.pricing import Pricing
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.tasks import Tasks
from podium.services.vault import Vault
from podium.services.webhooks import Webhooks
from podium.transport.addresses import Reach
from podium.transport.webhook import WebhookPoster
from podium.tuning import hooks


class Hearers(list[Callable[..., None]]):
    """One callback that tells each of them, in order; who is built later is added later."""

    def __call__(self, *facts: object) -> None:
        for hear in self:
            hear(*facts)


@dataclass(slots=True, kw_only=True)
class Foundation:
    """``budget`` tells the pool's memory budget in bytes; the pool sets it when it is there. The ``on_`` lists hear of
    what was recorded: outcomes, pairs of decision and outcome, scores, scores that replace others.
    """

    config: Config
    store: Any
    recorded: Recorded
    clock: Clock
    host: Host
    power: HostPower
    pricing: Pricing
    catalogue: Catalogue
    registry: Registry
    tasks: Tasks
    policy: Policy
    learner: Learner
    recorder: Recorder
    bus: EventBus
    webhooks: Webhooks
    forgotten: tuple[str, ...]
    """What of an earlier run could not be taken over."""
    on_outcomes: Hearers
    on_pairs: Hearers
    on_feedback: Hearers
    on_revision: Hearers
    budget: list[Callable[[], int]]
    hosted: HostedGate
    vault: Vault

    def measured(self, ref: str) -> int | None:
        """Bytes that a version took when it was loaded; ``None`` for one nobody loaded."""
        profile = self.registry.profile(ref)
        return profile.memory_bytes if profile is not None else None


async def lay(config: Config, store: Any, stack: AsyncExitStack) -> Foundation:
    """Read what is on record and build on it."""
    clock = SystemClock()
    recorded = await store.load()
    host = Host()
    own = {name: Quote(one.input, one.output, one.cached) for name, one in config.prices.items()}
    pricing = Pricing(own, price_list(), clock.now)
    await store.keep_price_table(pricing.version, pricing.content(), clock.now())
    power = HostPower(watts_per_core=config.energy.watts_per_core, idle_watts=config.energy.idle_watts)
    vault = Vault(store, AesSealer(master_keys(config.home, os.environ)), clock)
    await vault.load()
    reach = Reach(allow_link_local=config.network.allow_link_local, offline=config.network.offline)
    catalogue = Catalogue(ProviderContext(home=config.home, environ=os.environ, reach=reach, secrets=vault))
    hosted = HostedGate(catalogue.get, offline=config.network.offline)
    registry = Registry(store, recorded, clock, keep_warm_s=config.pool.keep_warm_days * 86400)
    tasks = _tasks(config, store, recorded)
    budget: list[Callable[[], int]] = []

    def footprint(version: Any) -> int | None:
        profile = registry.profile(version.ref)
        known = profile.memory_bytes if profile is not None else None
        return known or catalogue.footprint(version)

    def memory_bytes() -> int:
        return budget[0]()

    policy = Policy(
        registry=registry,
        tasks=tasks,
        recorded=recorded,
        weights=config.selection.weights,
        footprint=footprint,
        context_length=catalogue.context_length,
        unavailable=lambda version: catalogue.unavailable(version) or hosted.refusal(version),
        hardware=host.kinds,
        memory_bytes=memory_bytes,
        clock=clock,
    )
    check_strategies(policy, config)
    learner, forgotten = _learner(policy, registry, recorded.learned)
    on_outcomes, on_pairs = Hearers([learner.outcomes]), Hearers()
    on_feedback, on_revision = Hearers([learner.feedback]), Hearers([learner.revised])
    recorder = Recorder(
        store,
        clock,
        evidence=recorded.evidence,
        knowledge=recorded.knowledge,
        spending=recorded.spending,
        on_evidence=policy.learn,
        on_outcomes=on_outcomes,
        on_pairs=on_pairs,
        on_feedback=on_feedback,
        on_revision=on_revision,
        flush_interval_s=config.recording.flush_ms / 1000,
        capacity=config.recording.buffer,
    )
    recorder.knowledge.enhance = config.selection.enhance
    bus = EventBus(recorder.event)
    return Foundation(
        config=config,
        store=store,
        recorded=recorded,
        clock=clock,
        host=host,
        power=power,
        pricing=pricing,
        catalogue=catalogue,
        registry=registry,
        tasks=tasks,
        policy=policy,
        learner=learner,
        recorder=recorder,
        bus=bus,
        webhooks=await _webhooks(config, store, clock, bus, stack, vault),
        forgotten=forgotten,
        on_outcomes=on_outcomes,
        on_pairs=on_pairs,
        on_feedback=on_feedback,
        on_revision=on_revision,
        budget=budget,
        hosted=hosted,
        vault=vault,
    )


def _tasks(config: Config, store: Any, recorded: Recorded) -> Tasks:
    """Declared, recorded and bound tasks; what the file says of one wins."""
    strategy = config.selection.strategy
    configured = tuple(entry.spec(name, strategy) for name, entry in config.tasks.items())
    named = {spec.name for spec in configured}
    tasks = Tasks(store, (*(s for s in recorded.tasks if s.name not in named), *configured), strategy)
    for seen in {binding.task for binding in recorded.bindings} | {task for task, _ in recorded.evidence}:
        tasks.ensure(seen)
    return tasks


def _learner(policy: Policy, registry: Registry, kept: Mapping[str, bytes]) -> tuple[Learner, tuple[str, ...]]:
    """The learner as it was when the last run ended, and what could not be taken over."""
    learner = Learner(policy.believe, registry.active_refs)
    if STATE not in kept:
        return learner, ()
    try:
        learner.resume(kept[STATE])
    except UnreadableBeliefs as error:
        return learner, (f"learning starts anew: {error}",)
    return learner, ()


async def _webhooks(
    config: Config, store: Any, clock: Clock, bus: EventBus, stack: AsyncExitStack, vault: Vault
) -> Webhooks:
    """Webhooks whose outbox fills from now on, and everybody who is told when an event is on record."""
    poster = WebhookPoster(offline=config.network.offline)
    stack.push_async_callback(poster.close)
    webhooks = Webhooks(store=store, poster=poster, clock=clock, publish=bus.publish, draw=random.random)
    stack.push_async_callback(webhooks.close)
    await webhooks.configure(hooks(config, os.environ, vault))
    loop = asyncio.get_running_loop()

    def stored() -> None:
        bus.stored()
        webhooks.wake()

    store.notify(lambda: loop.call_soon_threadsafe(stored))
    return webhooks
