"""Builds what keeps budgets, and puts it in the way of requests."""

from __future__ import annotations

from contextlib import AsyncExitStack

from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.services.budgeting import Budgeting


def budgeting(base: Foundation, serving: Serving, stack: AsyncExitStack) -> Budgeting:
    """Build it; it learns what requests use from what is recorded."""
    made = Budgeting(
        store=base.store,
        clock=base.clock,
        emit=base.bus.emit,
        new_id=lambda: serving.gateway.new_id("res"),
        flush_interval_s=base.config.recording.flush_ms / 1000,
    )
    stack.push_async_callback(made.close)
    base.on_outcomes.append(made.estimates.outcomes)
    serving.gateway.budgeting = made
    return made
