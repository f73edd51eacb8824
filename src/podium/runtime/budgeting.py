"""Builds what keeps budgets, and puts it in the way of requests."""

from __future__ import annotations

from contextlib import AsyncExitStack

from podium.config import declared_budgets
from podium.errors import PodiumError
from podium.ports import Page
from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.services.admission import Admission
from podium.services.budgeting import Budgeting

RECENT = 500
"""Requests on record that estimates begin with."""


def budgeting(base: Foundation, serving: Serving, stack: AsyncExitStack) -> Budgeting:
    """Build it; it learns what requests use from what is recorded."""

    def provider(ref: str) -> str | None:
        try:
            return base.registry.get(ref).source.provider
        except PodiumError:
            return None

    made = Budgeting(
        store=base.store,
        clock=base.clock,
        emit=base.bus.emit,
        new_id=lambda: serving.gateway.new_id("res"),
        provider=provider,
        flush_interval_s=base.config.recording.flush_ms / 1000,
    )
    stack.push_async_callback(made.close)
    base.on_outcomes.append(made.estimates.outcomes)
    made.estimates.price = base.hosted.price = base.pricing.price
    base.hosted.budgets = lambda: tuple(made.ledger.budgets.values())
    made.changed = base.policy.refresh
    serving.onboarding.gate, serving.onboarding.budgeting = base.hosted, made
    serving.gateway.admission = Admission(made)
    serving.background.budgeting = serving.answers.budgeting = made
    return made


async def resume(base: Foundation, made: Budgeting) -> None:
    """Go on where the last run ended, and learn from the newest requests what requests use. Raises ``StoreError``."""
    await made.resume(declared_budgets(base.config.budgets))
    if made.limited:
        recent = await base.store.recent_decisions(Page(limit=RECENT))
        made.estimates.outcomes(outcome for _, outcome in reversed(recent))
