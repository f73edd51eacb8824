"""Builds what watches for regressions and error budgets, and lets it hear of what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from podium.config import Config
from podium.core.objectives import Objectives
from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.services.alerts import Alerts
from podium.services.autoswap import AutoSwap


def objectives(config: Config) -> Mapping[str, Objectives]:
    """What tasks promise, of those that promise anything."""
    found = {name: task.objectives.objectives() for name, task in config.tasks.items()}
    return {name: one for name, one in found.items() if one is not None}


def alerting(base: Foundation, serving: Serving, autoswap: AutoSwap, stack: AsyncExitStack) -> Alerts:
    """Build it; it hears of requests and scores from now on, and auto-swap hears of it."""
    made = Alerts(
        store=base.store,
        clock=base.clock,
        new_id=serving.gateway.new_id,
        publish=base.bus.publish,
        evidence=base.policy.evidence,
        objectives=objectives(base.config),
    )
    stack.push_async_callback(made.close)
    base.on_pairs.append(made.observed)
    base.on_feedback.append(made.scored)
    autoswap.regressed, made.on_regression = made.regressed, autoswap.worsened
    return made
