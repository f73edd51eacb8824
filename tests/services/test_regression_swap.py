"""A version that became worse than it was has itself replaced, where that is switched on, and never otherwise."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from automation_rig import Rig, rig
from ledger_samples import attempt
from podium.config import load
from podium.config.automation import standing_orders
from podium.core.autoswap import PRESETS, AutoSwapRules, Preset
from podium.core.standing_orders import StandingOrders
from podium.domain.alert import Aspect

pytestmark = pytest.mark.requirement("TRK-5", "SWP-6")
LENIENT = AutoSwapRules(enabled=True, min_success=0.3, hard_success=0.1, streak=50, regression=True)
"""Nothing but a regression has a version replaced."""
ON = StandingOrders(autoswap=LENIENT)
REFS = ("m@1", "m@2", "m@3")


class Watched:
    """Real alerts that hear of the same requests as auto-swap."""

    def __init__(self, made: Rig) -> None:
        self.made = made
        self.alerts = made.gateway.services.alerts
        self.rng = random.Random(7)
        self.pattern = attempt(0)[0]
        autoswap = made.automation.autoswap
        autoswap.regressed, self.alerts.on_regression = self.alerts.regressed, autoswap.worsened

    async def traffic(self, n: int, *, fails: float, ref: str = "m@1", served: bool = True) -> None:
        for _ in range(n):
            outcome = self.made.outcome(ref, self.rng.random() >= fails)
            if served:
                self.made.automation.outcomes([outcome])
            self.alerts.observed([(self.pattern, outcome)])
        await self.made.settled()


def test_it_is_off_unless_said_and_a_preset_of_a_task_does_not_switch_it_off(tmp_path: Path):
    assert not any(PRESETS[preset].regression for preset in Preset)
    (tmp_path / "podium.toml").write_text(
        "[autoswap]\nregression = true\n[tasks.a.autoswap]\npreset = 'aggressive'\n[tasks.b.autoswap]\nregression = false\n"
    )
    orders = standing_orders(load(home=tmp_path, environ={}))
    assert [orders.asked(task).regression for task in ("a", "b", "other")] == [True, False, True]


async def test_a_regression_orders_a_gradual_move_that_says_what_was_measured(tmp_path: Path):
    async with rig(tmp_path, ON, *REFS) as made:
        watched = Watched(made)
        await watched.traffic(300, fails=0.02)
        assert made.events == [], "it is as it always was"
        await watched.traffic(80, fails=0.4)
        (ordered,) = made.rollouts.all
        (alert,) = watched.alerts.regressed("jobs", "m@1")
        assert (ordered.by, ordered.reason) == ("autoswap", alert.says)
        told = made.last("autoswap.triggered")
        assert (told["cause"], told["mode"], told["before"]) == ("regression", "gradual", "m@1")
        assert (told["value"], told["limit"]) == (alert.now, alert.before)
        assert alert.aspect is Aspect.ERRORS
        assert made.serving == "m@1", "the rollout decides who serves"
        await watched.traffic(80, fails=0.4)
        assert len(made.rollouts.all) == 1, "it is ordered once"


async def test_without_the_switch_an_alert_moves_nothing(tmp_path: Path):
    orders = StandingOrders(autoswap=AutoSwapRules(enabled=True, min_success=0.3, hard_success=0.1, streak=50))
    async with rig(tmp_path, orders, *REFS) as made:
        watched = Watched(made)
        await watched.traffic(300, fails=0.02)
        await watched.traffic(80, fails=0.4)
        assert watched.alerts.regressed("jobs", "m@1")
        assert made.events == []


async def test_who_was_bound_in_spite_of_an_alert_is_not_taken_away_before_it_served(tmp_path: Path):
    async with rig(tmp_path, ON, *REFS) as made:
        watched = Watched(made)
        await watched.traffic(300, fails=0.02, ref="m@2", served=False)
        await watched.traffic(80, fails=0.4, ref="m@2", served=False)
        assert watched.alerts.regressed("jobs", "m@2")
        assert (await made.gateway.services.swapper.swap("jobs", "m@2", by="somebody")).ok
        await made.ends("m@2", "+" * 9)
        assert made.rollouts.all == []
        await made.ends("m@2", "+")
        assert made.rollouts.all[0].candidate != "m@2"


async def test_who_is_worse_than_it_was_takes_over_last(tmp_path: Path):
    async with rig(tmp_path, ON, *REFS) as made:
        watched = Watched(made)
        found = await made.automation.steering.alternatives("jobs", LENIENT, None)
        first = found.refs[0]
        await watched.traffic(300, fails=0.02, ref=first, served=False)
        await watched.traffic(80, fails=0.4, ref=first, served=False)
        await watched.traffic(300, fails=0.02)
        await watched.traffic(80, fails=0.4)
        assert {first, made.rollouts.all[0].candidate} == {"m@2", "m@3"}


async def test_a_gateway_lets_auto_swap_hear_of_its_alerts(tmp_path: Path):
    async with rig(tmp_path, ON, *REFS) as made:
        services = made.gateway.services
        assert services.automation.autoswap.regressed == services.alerts.regressed
        assert services.alerts.on_regression == services.automation.autoswap.worsened
