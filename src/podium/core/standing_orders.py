"""What the configuration lets Podium do with tasks without a person asking. A value; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from podium.core.autoswap import AutoSwapRules
from podium.core.rules import Rule
from podium.domain.rollout import RolloutPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOrders:
    """``by_task`` holds the tasks whose rules of auto-swap differ from ``autoswap``."""

    autoswap: AutoSwapRules = field(default_factory=AutoSwapRules)
    by_task: Mapping[str, AutoSwapRules] = field(default_factory=lambda: MappingProxyType({}))
    plan: RolloutPlan = field(default_factory=RolloutPlan)
    """How gradual moves go."""
    rules: tuple[Rule, ...] = ()
    followed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Names of models by the task that follows them."""

    def asked(self, task: str) -> AutoSwapRules:
        """The rules of auto-swap for a task."""
        return self.by_task.get(task, self.autoswap)
