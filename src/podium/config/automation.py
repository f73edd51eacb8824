"""Reads the standing orders out of a configuration: auto-swap, rules, and tasks that follow a model."""

from __future__ import annotations

from podium.config.autoswap import TaskAutoSwap
from podium.config.values import Settings
from podium.core.standing_orders import StandingOrders


def standing_orders(settings: Settings) -> StandingOrders:
    """What may be done with tasks without a person asking."""
    nothing = TaskAutoSwap()
    return StandingOrders(
        autoswap=settings.autoswap.rules(),
        by_task={
            name: settings.autoswap.rules(task.autoswap)
            for name, task in settings.tasks.items()
            if task.autoswap != nothing
        },
        plan=settings.autoswap.plan(),
        rules=tuple(entry.rule(name) for name, entry in settings.rules.items()),
        followed={name: task.follow for name, task in settings.tasks.items() if task.follow is not None},
    )
