"""Everything that moves tasks without a person asking, put together: auto-swap, declarative rules, following a model.

Owns nothing of its own; hands observations and the passing of time to the parts, and new standing orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from podium.core.autoswap import AutoSwapRules
from podium.core.standing_orders import StandingOrders
from podium.domain.decision import Feedback, Outcome
from podium.domain.model import Lifecycle
from podium.domain.swap import Event
from podium.domain.task import Binding
from podium.ports import Clock, HostProbe, Store
from podium.services.autoswap import AutoSwap
from podium.services.following import Following
from podium.services.knowledge import KnowledgeBase
from podium.services.policy import Policy
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.rule_facts import RuleFacts
from podium.services.rules import RuleBook, check_names
from podium.services.steering import Rolling, Steering
from podium.services.swap import Swapper
from podium.services.tasks import Tasks


class Automation:
    """One per gateway, used from its event loop only. With ``declared``, ``orders`` are checked; see ``check``."""

    def __init__(
        self,
        *,
        swapper: Swapper,
        rollouts: Rolling,
        policy: Policy,
        registry: Registry,
        tasks: Tasks,
        knowledge: KnowledgeBase,
        host: HostProbe,
        pool: Pool,
        store: Store,
        clock: Clock,
        emit: Callable[[Event], None],
        bindings: Iterable[Binding],
        orders: StandingOrders,
        declared: Iterable[str] | None = None,
    ) -> None:
        self.orders = orders
        self._registry = registry
        self._tasks = tasks
        self.steering = Steering(
            swapper=swapper,
            rollouts=rollouts,
            policy=policy,
            registry=registry,
            clock=clock,
            emit=emit,
            plan=orders.plan,
            bindings=bindings,
        )
        self.autoswap = AutoSwap(
            steering=self.steering, tasks=tasks, knowledge=knowledge, clock=clock, rules=self.asked
        )
        facts = RuleFacts(host=host, pool=pool, autoswap=self.autoswap, clock=clock)
        self.rules = RuleBook(
            steering=self.steering,
            facts=facts,
            registry=registry,
            tasks=tasks,
            clock=clock,
            asked=lambda task: (self.asked(task), self.autoswap.wanted(task)),
            rules=orders.rules,
        )
        self.following = Following(
            steering=self.steering,
            registry=registry,
            store=store,
            rollouts=rollouts,
            clock=clock,
            followed=orders.followed,
        )
        if declared is not None:
            self.check(orders, declared)

    def asked(self, task: str) -> AutoSwapRules:
        """The rules of auto-swap in force for a task."""
        return self.orders.asked(task)

    def check(self, orders: StandingOrders, declared: Iterable[str] = ()) -> None:
        """Raise ``ConfigError`` when a rule names a task, model or version that is not there. ``declared`` are models
        (with or without a version) and tasks (as ``task:NAME``) that the configuration makes.
        """
        tasks = [spec.name for spec in self._tasks.specs()]
        versions = [version.ref for version in self._registry.versions()]
        models = [version.name for version in self._registry.versions()]
        for name in declared:
            if name.startswith("task:"):
                tasks.append(name.removeprefix("task:"))
            else:
                models.append(name.partition("@")[0])
                versions += [name] if "@" in name else []
        models += self._registry.aliases()
        check_names(orders.rules, sorted(set(tasks)), sorted(set(versions)), sorted(set(models)))

    def configure(self, orders: StandingOrders) -> None:
        """Put other standing orders in force."""
        self.orders = orders
        self.steering.plan = orders.plan
        self.rules.replace(orders.rules)
        self.following.followed = orders.followed

    def problems(self) -> tuple[str, ...]:
        """What keeps standing orders from working, in words."""
        retired = {version.ref for version in self._registry.versions() if version.status is Lifecycle.RETIRED}
        found = [f"rules.{rule.name}.to: {rule.to} is retired" for rule in self.rules.rules if rule.to in retired]
        known = {version.name for version in self._registry.versions()}
        found += [
            f"tasks.{task}.follow: there is no model {model!r} yet"
            for task, model in self.following.followed.items()
            if model not in known
        ]
        return tuple(found)

    # ------------------------------------------------------------ observations and time

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Quick; never raises."""
        ended = tuple(outcomes)
        self.autoswap.outcomes(ended)
        self.rules.facts.outcomes(ended)

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """An answer was scored, in the place of ``earlier``. Never raises."""
        self.autoswap.scored(given, earlier)

    async def tick(self) -> None:
        """Look at everything that has to be looked at; about once a second. Never raises."""
        await self.rules.tick()
        await self.following.tick()

    async def close(self) -> None:
        """Stop ordering; idempotent."""
        await self.autoswap.close()
        await self.rules.close()
        await self.following.close()
