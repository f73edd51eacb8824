"""Rules on real services: facts as they are, orders only when they cross a line, and a dry run that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from automation_rig import rig
from podium.config import load
from podium.config.automation import standing_orders
from podium.core.autoswap import AutoSwapRules, Preset
from podium.core.rules import Rule
from podium.core.standing_orders import StandingOrders
from podium.domain.model import Lifecycle
from podium.domain.rollout import RolloutState
from podium.errors import ConfigError

TWO = ("big@1", "small@1")


def orders(*rules: Rule, **more: object) -> StandingOrders:
    return StandingOrders(rules=rules, **more)


TIGHT = Rule(name="tight", task="jobs", metric="memory_used", above=0.9, to="small@1", immediate=True)


@pytest.mark.requirement("SWP-9")
async def test_memory_pressure_moves_a_task_once_and_not_back(tmp_path: Path):
    async with rig(tmp_path, orders(TIGHT), *TWO) as made:
        await made.tick()
        assert made.serving == "big@1"
        made.host.free = 50
        await made.tick()
        assert made.serving == "small@1"
        told = made.last("rule.fired")
        assert (told["rule"], told["to"], told["mode"]) == ("tight", "small@1", "immediate")
        assert "memory_used is 0.95" in str(told["reason"])
        assert (await made.gateway.services.swapper.rollback("jobs", by="test")).ok
        for _ in range(5):
            await made.tick(1000.0)
        assert made.serving == "big@1", "it fired for this edge already"
        made.host.free = 900
        await made.tick()
        made.host.free = 50
        await made.tick()
        assert made.serving == "small@1"


@pytest.mark.requirement("SWP-9")
async def test_an_accelerator_that_disappears_and_comes_back_moves_a_task_there_and_back(tmp_path: Path):
    gone = Rule(name="gone", task="jobs", metric="accelerators", device="cuda", below=1, to="small", cooldown_s=60)
    back = Rule(name="back", task="jobs", metric="accelerators", device="cuda", above=0, to="big@1", cooldown_s=60)
    gone, back = replace(gone, immediate=True), replace(back, immediate=True)
    async with rig(tmp_path, orders(gone, back), *TWO) as made:
        await made.tick()
        assert made.serving == "big@1"
        assert made.events == [], "it serves already"
        made.host.gpus = 0
        await made.tick(20.0)
        assert made.serving == "small@1"
        made.host.gpus = 1
        await made.tick(20.0)
        assert made.serving == "small@1", "within the pause"
        await made.tick(50.0)
        assert made.serving == "big@1", "the order waited for the end of the pause"


@pytest.mark.requirement("SWP-9", "SWP-13")
async def test_the_judges_score_of_the_serving_version_orders_a_gradual_rollout_to_the_best_other(tmp_path: Path):
    rule = Rule(name="bad", task="jobs", metric="judge_score", below=0.6, min_samples=5)
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.scores("big@1", [0.1] * 20, source="user")
        await made.scores("big@1", [0.2] * 4)
        await made.tick()
        assert made.rollouts.all == [], "four scores by the judge are too few"
        await made.scores("big@1", [0.2])
        await made.tick()
        (ordered,) = made.rollouts.all
        assert (ordered.candidate, ordered.by) == ("small@1", "rule:bad")
        assert "judge_score is 0.2" in ordered.reason


@pytest.mark.requirement("SWP-9")
@pytest.mark.parametrize(
    ("metric", "line", "signs"), [("success", {"below": 0.7}, "+-" * 10), ("latency_ms", {"above": 90.0}, "+" * 10)]
)
async def test_success_and_latency_of_the_serving_version_are_facts(tmp_path: Path, metric, line, signs):
    async with rig(tmp_path, orders(Rule(name="r", task="jobs", metric=metric, to="small", **line)), *TWO) as made:
        await made.ends("small@1", signs)
        await made.tick()
        assert made.rollouts.all == []
        await made.ends("big@1", signs)
        await made.tick()
        assert len(made.rollouts.all) == 1


@pytest.mark.requirement("SWP-9")
async def test_an_energy_budget_counts_what_was_measured_and_fires_nothing_without_a_counter(tmp_path: Path):
    rule = Rule(name="watts", task="jobs", metric="energy_mwh", above=10.0, period="hour", to="small@1")
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.ends("big@1", "+" * 50)
        await made.tick()
        (looked,) = await made.automation.rules.look()
        assert looked.fact.value is None
        assert looked.verdict.why == "unavailable: no energy counter is readable on this machine"
        assert not looked.would_order
        await made.ends("big@1", "+" * 2, energy=4.0)
        await made.tick()
        assert made.rollouts.all == []
        await made.ends("big@1", "+", energy=4.0)
        (looked,) = await made.automation.rules.look()
        assert (looked.fact.value, looked.fact.source) == (12.0, "3 measured requests of 53")
        await made.tick()
        assert len(made.rollouts.all) == 1
        made.rollouts.end(RolloutState.ABORTED)
        made.clock.steady += 3700
        (looked,) = await made.automation.rules.look()
        assert looked.fact.value is None, "an hour later nothing of it is within the hour"


@pytest.mark.requirement("SWP-9")
async def test_a_cost_nobody_bills_is_unavailable(tmp_path: Path):
    rule = Rule(name="dear", task="jobs", metric="cost_usd", above=0.0, to="small@1")
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.ends("big@1", "+" * 20)
        await made.tick()
        (looked,) = await made.automation.rules.look()
        assert looked.fact.value is None
        assert "nobody bills" in looked.verdict.why
        assert made.events == []


@pytest.mark.requirement("SWP-9")
async def test_money_within_the_hour_moves_a_task_to_a_cheaper_version(tmp_path: Path):
    rule = Rule(name="dear", task="jobs", metric="cost_usd", above=0.5, period="hour", to="small@1", immediate=True)
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.ends("big@1", "+" * 5, price=100_000)
        await made.tick()
        assert made.serving == "big@1", "half a dollar is not above half a dollar"
        await made.ends("big@1", "+", price=1)
        await made.tick()
        assert made.serving == "small@1"


@pytest.mark.requirement("SWP-9")
async def test_energy_for_each_request_counts_only_those_that_were_measured(tmp_path: Path):
    rule = Rule(
        name="thirsty", task="jobs", metric="energy_mwh_per_request", above=2.0, period="hour", to="small@1",
        min_samples=4, immediate=True,
    )  # fmt: skip
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.ends("big@1", "+" * 20)
        await made.ends("big@1", "+" * 3, energy=3.0)
        await made.tick()
        (looked,) = await made.automation.rules.look()
        assert (looked.fact.value, looked.fact.samples, made.serving) == (3.0, 3, "big@1")
        assert looked.rule.condition == "energy_mwh_per_request over the last hour above 2"
        await made.ends("big@1", "+", energy=3.0)
        await made.tick()
        assert made.serving == "small@1"


@pytest.mark.requirement("SWP-9")
async def test_a_machine_that_waits_for_memory_moves_a_task_and_one_that_does_not_tell_moves_nothing(tmp_path: Path):
    rule = Rule(name="tight", task="jobs", metric="memory_pressure", above=0.2, to="small@1", immediate=True)
    async with rig(tmp_path, orders(rule), *TWO) as made:
        await made.tick()
        (looked,) = await made.automation.rules.look()
        assert "/proc/pressure/memory" in looked.verdict.why
        made.host.pressure = 0.1
        await made.tick()
        assert made.serving == "big@1"
        made.host.pressure = 0.6
        await made.tick()
        assert made.serving == "small@1"


@pytest.mark.requirement("SWP-9")
async def test_a_dry_run_says_what_would_be_ordered_and_changes_nothing(tmp_path: Path):
    async with rig(tmp_path, orders(TIGHT), *TWO) as made:
        made.host.free = 50
        for _ in range(3):
            (looked,) = await made.automation.rules.look()
            assert looked.would_order
            assert (looked.intent.to, looked.intent.mode) == ("small@1", "immediate")
            assert looked.fact.source == "0 of 0 MB free on ram"
        assert made.serving == "big@1"
        assert made.events == []
        await made.tick()
        (looked,) = await made.automation.rules.look()
        assert not looked.would_order
        assert "it fired already" in looked.verdict.why
        assert looked.intent.done == "small@1 serves jobs already"


async def test_an_order_waits_for_the_rollout_that_is_under_way(tmp_path: Path):
    async with rig(tmp_path, orders(replace(TIGHT, immediate=False)), *TWO) as made:
        await made.rollouts.order("jobs", "small@1", made.automation.steering.plan, by="somebody")
        made.host.free = 50
        await made.tick()
        assert len(made.rollouts.all) == 1
        (looked,) = await made.automation.rules.look()
        assert looked.intent.later == "rollout roll0 to small@1 is under way"
        made.rollouts.end(RolloutState.ABORTED)
        await made.tick()
        assert len(made.rollouts.all) == 2


async def test_a_rule_whose_version_was_retired_says_so_and_does_not_try_for_ever(tmp_path: Path):
    async with rig(tmp_path, orders(TIGHT), *TWO) as made:
        registry = made.gateway.services.registry
        for status in (Lifecycle.DEPRECATED, Lifecycle.RETIRED):
            await registry.transition("small@1", status, "test", "test")
        made.host.free = 50
        for _ in range(3):
            await made.tick()
        assert made.kinds() == ["rule.failed"]
        assert made.last("rule.failed")["error"] == "small@1 is retired"
        assert made.automation.problems() == ("rules.tight.to: small@1 is retired",)


async def test_one_broken_rule_does_not_keep_the_others_from_firing(tmp_path: Path, monkeypatch):
    broken = Rule(name="broken", task="jobs", metric="accelerators", above=0, to="small@1")
    async with rig(tmp_path, orders(broken, TIGHT), *TWO) as made:
        made.host.free = 50
        monkeypatch.setattr(made.host, "facts", lambda: 1 / 0)
        await made.tick()
        assert made.serving == "small@1"


async def test_unchanged_rules_remember_over_a_reload_and_changed_ones_begin_anew(tmp_path: Path):
    async with rig(tmp_path, orders(TIGHT), *TWO) as made:
        made.host.free = 50
        await made.tick()
        made.automation.configure(orders(TIGHT))
        (looked,) = await made.automation.rules.look()
        assert not looked.armed
        made.automation.configure(orders(replace(TIGHT, above=0.8)))
        (looked,) = await made.automation.rules.look()
        assert looked.armed


@pytest.mark.requirement("SWP-9")
@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(name="r", task="jbos", metric="success", below=0.5), "rules.r.task: there is no task 'jbos'; did you mean 'jobs'?"),
        (replace(TIGHT, to="smal@1"), "rules.tight.to: there is no version 'smal@1'; did you mean 'small@1'?"),
        (replace(TIGHT, to="smll"), "rules.tight.to: there is no model 'smll'; did you mean 'small'?"),
    ],
)  # fmt: skip
async def test_names_that_are_not_there_are_refused_with_the_nearest(tmp_path: Path, rule, words):
    async with rig(tmp_path, orders(), *TWO) as made:
        with pytest.raises(ConfigError) as refused:
            made.automation.check(orders(rule))
        assert refused.value.message == words
        made.automation.check(orders(TIGHT, replace(TIGHT, name="x", to="small"), replace(TIGHT, name="y", to=None)))
        made.automation.check(orders(replace(TIGHT, to="new@7", task="soon")), declared=["new@7", "task:soon"])
        made.automation.check(orders(replace(TIGHT, to="new@7")), declared=["new"])


@pytest.mark.requirement("SWP-9")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('metric = "memory_usd"\nabove = 0.9', "rules.r.metric: there is no metric 'memory_usd'; did you mean 'memory_used'?"),
        ('metric = "memory_used"', "rules.r: give exactly one of 'above' and 'below'"),
        ('metric = "memory_used"\nabove = 1\nbelow = 0', "rules.r: give exactly one of 'above' and 'below'"),
        ('metric = "memory_used"\nabove = 90', "rules.r.above: memory_used is between 0 and 1, 90 is not"),
        ('metric = "memory_used"\nabove = 0.5\nclear = 0.9', "rules.r.clear: must not be above 0.5, where the rule fires"),
        ('metric = "quality"\nbelow = 0.5\nclear = 0.4', "rules.r.clear: must not be below 0.5, where the rule fires"),
        ('metric = "quality"\nbelow = 0.5\ndevice = "ram"', "rules.r.device: quality is not about a device; leave it out"),
        ('metric = "energy_mwh"\nabove = 5\nperiod = "houre"', "rules.r.period: 'houre' is no period; did you mean 'hour'?"),
        ('metric = "quality"\nbelow = 0.5\nmode = "fast"', "rules.r.mode: "),
        ('metric = "quality"\nbelow = 0.5\nabov = 1', "rules.r.abov: unknown key 'abov'; did you mean 'above'?"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_meant_are_refused_with_their_line(tmp_path: Path, text, words):
    file = tmp_path / "podium.toml"
    file.write_text(f'[rules.r]\ntask = "jobs"\n{text}\n')
    with pytest.raises(ConfigError) as refused:
        load(file, home=tmp_path, environ={})
    assert words in refused.value.message
    assert refused.value.message.startswith(f"{file}:")


@pytest.mark.requirement("SWP-6")
def test_standing_orders_of_the_file_lay_tasks_over_the_whole_over_the_preset(tmp_path: Path):
    file = tmp_path / "podium.toml"
    file.write_text(
        """
        [autoswap]
        enabled = true
        min_success = 0.7
        step_s = 60
        [tasks.slow.autoswap]
        enabled = false
        [tasks.quick.autoswap]
        preset = "aggressive"
        window = 30
        [tasks.chat]
        follow = "smol"
        [rules.tight]
        task = "chat"
        metric = "memory_used"
        above = 0.9
        to = "small@1"
        mode = "immediate"
        """
    )
    found = standing_orders(load(file, home=tmp_path, environ={}))
    assert found.asked("other") == AutoSwapRules(enabled=True, min_success=0.7)
    assert not found.asked("slow").enabled
    quick = found.asked("quick")
    assert (quick.enabled, quick.min_success, quick.cooldown_s, quick.window) == (True, 0.9, 10.0, 30)
    assert found.plan.step_s == 60.0
    assert found.followed == {"chat": "smol"}
    assert found.rules == (replace(TIGHT, task="chat"),)
    assert not standing_orders(load(None, home=tmp_path / "empty", environ={})).asked("x").enabled


@pytest.mark.requirement("SWP-6")
def test_rules_that_could_never_act_are_refused(tmp_path: Path):
    file = tmp_path / "podium.toml"
    file.write_text(f'[autoswap]\npreset = "{Preset.AGGRESSIVE}"\nmin_samples = 60\n[tasks.t]\nfollow = "a@1"\n')
    with pytest.raises(ConfigError) as refused:
        load(file, home=tmp_path, environ={})
    assert "autoswap.min_samples: 60 is more than the window keeps (20)" in refused.value.message
    assert "tasks.t.follow: 'a@1' is no model's name" in refused.value.message


# ---------------------------------------------------------------- following


@pytest.mark.requirement("SWP-13")
async def test_a_new_version_goes_live_by_being_registered_and_is_offered_once(tmp_path: Path):
    async with rig(tmp_path, StandingOrders(followed={"jobs": "smol"}), "smol@1") as made:
        await made.tick()
        assert made.events == []
        await made.add("smol@2", activate=None)
        assert made.gateway.services.registry.get("smol@2").status is Lifecycle.READY
        await made.tick()
        (ordered,) = made.rollouts.all
        assert (ordered.task, ordered.candidate, ordered.by) == ("jobs", "smol@2", "follow")
        await made.tick()
        made.rollouts.end(RolloutState.ROLLED_BACK)
        for _ in range(3):
            await made.tick()
        made.automation.following._offered.clear()  # as after a restart
        await made.tick()
        assert len(made.rollouts.all) == 1
        (found,) = await made.automation.following.look()
        assert "was offered before" in found.why
        await made.add("smol@3", activate=None)
        await made.tick()
        assert [one.candidate for one in made.rollouts.all] == ["smol@2", "smol@3"]


@pytest.mark.requirement("SWP-13")
async def test_a_version_a_person_swapped_away_from_is_not_forced_on_the_task_again(tmp_path: Path):
    async with rig(tmp_path, StandingOrders(followed={"jobs": "smol"}), "smol@1", "smol@2") as made:
        swapper = made.gateway.services.swapper
        assert (await swapper.swap("jobs", "smol@2", by="person")).ok
        assert (await swapper.rollback("jobs", by="person")).ok
        for _ in range(3):
            await made.tick()
        assert made.serving == "smol@1"
        assert made.rollouts.all == []


@pytest.mark.requirement("SWP-13")
async def test_a_task_that_is_bound_to_nothing_is_bound_to_the_newest_version(tmp_path: Path):
    async with rig(tmp_path, StandingOrders(followed={"jobs": "smol"})) as made:
        await made.tick()
        assert made.automation.problems() == ("tasks.jobs.follow: there is no model 'smol' yet",)
        await made.add("smol@1")
        await made.tick()
        assert made.serving == "smol@1"
        assert made.automation.problems() == ()


async def test_a_version_that_is_only_registered_is_not_offered(tmp_path: Path):
    async with rig(tmp_path, StandingOrders(followed={"jobs": "smol"}), "smol@1") as made:
        await made.add("smol@2", activate=False)
        await made.tick()
        assert made.rollouts.all == []


async def test_a_refused_offer_is_told(tmp_path: Path):
    async with rig(tmp_path, StandingOrders(followed={"jobs": "smol"}), "smol@1", "smol@2") as made:
        made.rollouts.refuse = "not now"
        await made.tick()
        assert made.last("follow.failed")["error"] == "not now"
        made.rollouts.refuse = None
        await made.tick()
        assert made.rollouts.all == []
        await made.tick(60.0)
        assert [one.candidate for one in made.rollouts.all] == ["smol@2"], "it is offered again a minute later"
