"""What decides which version serves a task beside the learner: swaps, rollouts, schedules, standing orders."""

from __future__ import annotations

import random
from dataclasses import dataclass

from podium.config.automation import standing_orders
from podium.runtime.declaring import declared_names
from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.services.automation import Automation
from podium.services.batch_rollouts import BatchRollouts
from podium.services.batches import Batches
from podium.services.rollouts.foresight import foresight
from podium.services.rollouts.service import Rollouts
from podium.services.rollouts.shadow import Score, Shadow
from podium.services.rollouts.validation import Validator
from podium.services.schedules import Schedules
from podium.services.swap import Swapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """Everything that moves traffic."""

    swapper: Swapper
    rollouts: Rollouts
    shadow: Shadow
    schedules: Schedules
    automation: Automation


def steer(base: Foundation, serving: Serving, score: Score) -> Steering:
    """Build it, and let it hear of what is recorded. ``score`` tells how good an answer is."""
    swapper = Swapper(
        registry=base.registry,
        selector=base.policy,
        tasks=base.tasks,
        pool=serving.pool,
        onboarding=serving.onboarding,
        store=base.store,
        clock=base.clock,
        new_id=serving.gateway.new_id,
        publish=base.bus.publish,
        bindings={binding.task: binding for binding in base.recorded.bindings},
        load_timeout_s=base.config.pool.load_timeout_s,
        rollouts=lambda: rollouts.by_task,
    )
    rollouts = Rollouts(
        store=base.store,
        ledger=base.store,
        registry=base.registry,
        tasks=base.tasks,
        policy=base.policy,
        swapper=swapper,
        onboarding=serving.onboarding,
        pool=serving.pool,
        clock=base.clock,
        new_id=serving.gateway.new_id,
        publish=base.bus.publish,
        load_timeout_s=base.config.pool.load_timeout_s,
        validator=Validator(serving.benchmarks, base.store),
        detects=foresight(base.policy, base.recorder.knowledge.of),
        alone=True,  # this process holds the lock of the home
    )
    schedules = Schedules(
        store=base.store,
        at_once=Batches(
            swapper=swapper,
            registry=base.registry,
            pool=serving.pool,
            onboarding=serving.onboarding,
            store=base.store,
            clock=base.clock,
            publish=base.bus.publish,
            load_timeout_s=base.config.pool.load_timeout_s,
        ),
        gradually=BatchRollouts(swapper, rollouts),
        clock=base.clock,
        new_id=serving.gateway.new_id,
        publish=base.bus.publish,
        windows={name: entry.window(name) for name, entry in base.config.windows.items()},
        known=base.tasks.ensure,
    )
    automation = Automation(
        swapper=swapper,
        rollouts=rollouts,
        policy=base.policy,
        registry=base.registry,
        tasks=base.tasks,
        knowledge=base.recorder.knowledge,
        host=base.host,
        pool=serving.pool,
        store=base.store,
        clock=base.clock,
        emit=base.bus.emit,
        bindings=base.recorded.bindings,
        orders=standing_orders(base.config),
        declared=declared_names(base.config),
    )

    shadow = Shadow(rollouts, base.registry, serving.background, score, random.random)
    serving.gateway.observers = (*serving.gateway.observers, shadow)
    base.on_outcomes.append(automation.outcomes)
    base.on_pairs.append(rollouts.observed)
    base.on_feedback += [rollouts.scored, automation.scored]
    base.on_revision += [rollouts.scored, automation.scored]
    return Steering(swapper=swapper, rollouts=rollouts, shadow=shadow, schedules=schedules, automation=automation)
