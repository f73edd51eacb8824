"""Auto-swap on real services: who is replaced, by whom, when not, and that nothing of it reaches the requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automation_rig import MovedClock, NotedRollouts, Rig, rig
from podium.core.autoswap import PRESETS, AutoSwapRules, Preset
from podium.core.standing_orders import StandingOrders
from podium.domain.decision import Feedback
from podium.domain.evidence import Evidence
from podium.domain.rollout import Bar, RolloutMode, RolloutState
from podium.domain.task import Criteria, TaskSpec
from podium.errors import StoreError
from podium.services.automation import Automation
from podium.services.autoswap import AutoSwap

ON = StandingOrders(autoswap=AutoSwapRules(enabled=True))
THREE = ("m@1", "m@2", "m@3")


@pytest.mark.requirement("SWP-6")
async def test_a_version_that_falls_short_is_replaced_gradually_with_the_numbers_told(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "++++-+-+-")
        assert made.rollouts.all == [], "nine requests say nothing"
        await made.ends("m@1", "+")
        (ordered,) = made.rollouts.all
        assert (ordered.task, ordered.by) == ("jobs", "autoswap")
        assert ordered.candidate in {"m@2", "m@3"}
        assert "7 of its last 10" in ordered.reason
        told = made.last("autoswap.triggered")
        assert (told["cause"], told["value"], told["limit"], told["samples"]) == ("success", 0.7, 0.8, 10)
        assert (told["before"], told["to"], told["mode"]) == ("m@1", ordered.candidate, "gradual")
        assert made.serving == "m@1", "the rollout decides who serves"


@pytest.mark.requirement("SWP-6")
async def test_a_version_that_hardly_answers_is_replaced_at_once(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "-" * 10)
        assert made.rollouts.all == []
        assert made.serving in {"m@2", "m@3"}
        assert made.last("autoswap.triggered")["mode"] == "immediate"
        binding = made.gateway.services.swapper.binding("jobs")
        assert binding is not None
        assert binding.by == "autoswap"
        assert "failed 10 requests in a row" in binding.reason


@pytest.mark.requirement("SWP-6")
async def test_outcomes_of_other_versions_and_of_other_causes_count_for_nothing(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@2", "-" * 30)
        left = [replace(made.outcome("m@1", success=False), error="client_left") for _ in range(30)]
        made.automation.outcomes(left)
        await made.settled()
        assert made.events == []


@pytest.mark.requirement("SWP-6")
async def test_switched_off_nothing_is_ordered_and_a_task_may_say_otherwise(tmp_path: Path):
    off = StandingOrders(by_task={"jobs": AutoSwapRules(enabled=True)})
    async with rig(tmp_path, StandingOrders(), *THREE) as made:
        await made.ends("m@1", "-" * 30)
        assert made.events == []
        made.automation.configure(off)
        await made.ends("m@1", "-")
        assert made.serving != "m@1"


@pytest.mark.requirement("SWP-6")
async def test_a_task_that_is_bound_to_no_version_is_left_to_the_selection(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "-" * 30, task="free")
        assert made.events == []
        standing = made.automation.autoswap.standing("free")
        assert standing is not None
        assert standing.samples == 30


@pytest.mark.requirement("SWP-6", "SWP-13")
async def test_the_judges_scores_alone_have_a_version_replaced(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.gateway.services.tasks.put(TaskSpec(name="jobs", criteria=Criteria(min_quality=0.8)))
        await made.scores("m@1", [0.75] * 20)
        assert made.events == [], "above nine tenths of what is asked for"
        await made.scores("m@1", [0.3] * 5)
        (ordered,) = made.rollouts.all
        assert made.last("autoswap.triggered")["cause"] == "quality"
        assert "below 0.9 of the 0.8 asked for" in ordered.reason


@pytest.mark.requirement("SWP-6")
async def test_without_a_quality_asked_for_what_is_usual_on_the_task_is(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        assert made.automation.autoswap.wanted("jobs") is None
        await made.scores("m@1", [0.1] * 20)
        assert made.events == []
        for score in [0.9] * 60:
            said = made.outcome("m@2", success=True)
            given = _feedback(said.decision_id, "m@2", score)
            made.gateway.services.recorder.knowledge.feedback(said, given, None)
        wanted = made.automation.autoswap.wanted("jobs")
        assert wanted is not None
        assert 0.7 < wanted <= 0.9
        await made.scores("m@1", [0.1])
        assert made.last("autoswap.triggered")["cause"] == "quality"


@pytest.mark.requirement("SWP-6")
async def test_while_a_rollout_decides_nothing_else_is_ordered(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "+-" * 10)
        assert len(made.rollouts.all) == 1
        made.clock.steady += 1e6
        await made.ends("m@1", "+-" * 50)
        assert len(made.rollouts.all) == 1


@pytest.mark.requirement("SWP-6")
@pytest.mark.parametrize(
    ("mode", "answered", "hurried"),
    [("gradual", 3, True), ("gradual", 2, False), ("gradual", 0, False), ("ab", 3, False)],
)
async def test_when_the_old_version_dies_meanwhile_the_candidate_takes_over_at_once(
    tmp_path: Path, mode, answered, hurried
):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "+-" * 5)
        rollout = made.rollouts.all[0]
        canary = replace(
            rollout,
            baseline="m@1",
            state=RolloutState.CANARY,
            share=0.1,
            plan=replace(rollout.plan, mode=RolloutMode(mode)),
        )
        made.rollouts.all[0] = canary
        policy = made.gateway.services.selector
        await made.ends("m@1", "-" * 5 + "+" * 10)
        assert made.rollouts.commands == [], "the candidate had no requests yet"
        policy.learn({("jobs", canary.candidate): Evidence(samples=3, successes=answered)})
        await made.ends("m@1", "+-+-+-")
        assert made.rollouts.commands == [], "it answers some"
        await made.ends("m@1", "-" * 5)
        assert made.rollouts.commands == ([("roll0", "promote", "autoswap")] if hurried else [])
        if hurried:
            assert made.last("autoswap.triggered")["mode"] == "promote"


async def test_a_rollout_that_cannot_be_hurried_is_told_and_not_tried_at_every_request(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "+-" * 5)
        canary = replace(made.rollouts.all[0], baseline="m@1", state=RolloutState.CANARY, share=0.1)
        made.rollouts.all[0] = canary
        made.rollouts.refuse = "another gateway drives it"
        made.gateway.services.selector.learn({("jobs", canary.candidate): Evidence(samples=3, successes=3)})
        await made.ends("m@1", "-" * 30)
        assert made.kinds().count("autoswap.failed") == 1
        assert made.last("autoswap.failed")["error"] == "another gateway drives it"


@pytest.mark.requirement("SWP-6")
async def test_a_candidate_that_was_rolled_back_is_not_chosen_again_and_another_is(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "+-" * 10)
        first = made.rollouts.all[0].candidate
        made.rollouts.end(RolloutState.ROLLED_BACK)
        made.rollouts.bars[first] = Bar(task="jobs", ref=first, at=0.0, reason="quality", samples=0)
        await made.ends("m@1", "+-")
        assert len(made.rollouts.all) == 1, "within the pause"
        made.clock.steady += 301
        await made.ends("m@1", "+-")
        assert len(made.rollouts.all) == 2
        assert made.rollouts.all[1].candidate not in {first, "m@1"}


@pytest.mark.requirement("SWP-6")
async def test_a_rollout_that_failed_to_start_is_not_ordered_again_soon(tmp_path: Path):
    async with rig(tmp_path, ON, "m@1", "m@2") as made:
        await made.ends("m@1", "+-" * 10)
        made.rollouts.end(RolloutState.FAILED)
        made.clock.steady += 301
        await made.ends("m@1", "+-")
        assert len(made.rollouts.all) == 1
        assert "could not take over within the last hour" in made.last("autoswap.failed")["error"]


@pytest.mark.requirement("SWP-6")
async def test_it_does_not_go_back_to_what_it_left_until_that_showed_something_new(tmp_path: Path):
    async with rig(tmp_path, ON, "m@1", "m@2") as made:
        policy = made.gateway.services.selector
        policy.learn({("jobs", "m@1"): Evidence(samples=100, successes=95)})
        await made.ends("m@1", "-" * 10)
        assert made.serving == "m@2"
        made.clock.steady += 10_000
        await made.ends("m@2", "-" * 10)
        assert made.serving == "m@2"
        assert "left for falling short" in made.last("autoswap.failed")["error"]
        policy.learn({("jobs", "m@1"): Evidence(samples=110, successes=105)})
        made.clock.steady += 301
        await made.ends("m@2", "-")
        assert made.serving == "m@1"


@pytest.mark.requirement("SWP-6")
async def test_there_and_back_again_is_impossible_within_the_pause(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "-" * 10)
        second = made.serving
        assert second != "m@1"
        await made.ends(str(second), "-" * 50)
        made.clock.wall += 31_536_000
        await made.ends(str(second), "-" * 50)
        made.clock.wall -= 63_072_000
        made.clock.steady += 299
        await made.ends(str(second), "-" * 50)
        assert made.serving == second
        made.clock.steady += 2
        await made.ends(str(second), "-")
        assert made.serving not in {second, "m@1"}


@pytest.mark.requirement("SWP-6")
async def test_one_that_cannot_load_is_passed_over_and_the_next_takes_over(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        pool = made.gateway.services.pool
        for ref in ("m@2", "m@3"):
            await pool.unload(ref)
        first = made.gateway.services.selector.best("jobs", needs=frozenset(), without=frozenset({"m@1"})).chosen
        (made.folder / f"{first}.json").write_text('{"text": "", "load_error": "no such tensor"}')
        await made.ends("m@1", "-" * 10)
        assert made.serving in {"m@2", "m@3"} - {first}
        assert made.last("autoswap.failed")["to"] == first


@pytest.mark.requirement("SWP-6")
async def test_when_there_is_no_other_version_it_says_so_once_in_a_while(tmp_path: Path):
    async with rig(tmp_path, ON, "m@1") as made:
        await made.ends("m@1", "-" * 40)
        assert made.kinds() == ["autoswap.failed"]
        assert made.last("autoswap.failed")["error"] == "no version could take over: there is no other active version"
        made.clock.steady += 61
        await made.ends("m@1", "-")
        assert made.kinds() == ["autoswap.failed"] * 2


@pytest.mark.requirement("SWP-6")
async def test_versions_with_a_bad_history_on_the_task_are_no_alternative(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        made.gateway.services.selector.learn({("jobs", "m@2"): Evidence(samples=40, successes=10)})
        made.gateway.services.learner.outcomes([made.outcome("m@2", each < 10) for each in range(40)])
        made.gateway.services.learner.publish()
        await made.ends("m@1", "+-" * 10)
        assert made.rollouts.all[0].candidate == "m@3"


@pytest.mark.requirement("SWP-6")
@pytest.mark.parametrize("error", [StoreError("the disk is full; free some space"), RuntimeError("boom")])
async def test_whatever_goes_wrong_is_told_and_reaches_nobody(tmp_path: Path, monkeypatch, error):
    async with rig(tmp_path, ON, *THREE) as made:

        async def broken(*args: object, **more: object) -> None:
            raise error

        monkeypatch.setattr(made.automation.steering, "alternatives", broken)
        await made.ends("m@1", "-" * 10)
        assert str(error) in made.last("autoswap.failed")["error"]
        assert made.serving == "m@1"


async def test_an_observation_that_breaks_it_does_not_reach_the_recorder(tmp_path: Path, monkeypatch):
    async with rig(tmp_path, ON, *THREE) as made:
        monkeypatch.setattr(made.automation.autoswap, "rules", lambda task: 1 / 0)
        await made.ends("m@1", "-")
        await made.scores("m@1", [0.5])
        assert made.events == []


async def test_a_rollout_that_is_refused_is_told(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        made.rollouts.refuse = "another one is open"
        await made.ends("m@1", "+-" * 10)
        assert made.last("autoswap.failed")["error"] == "another one is open"


@pytest.mark.requirement("SWP-6")
async def test_after_a_restart_the_pause_goes_on(tmp_path: Path):
    async with rig(tmp_path, ON, *THREE) as made:
        await made.ends("m@1", "-" * 10)
        second, third = str(made.serving), ({"m@2", "m@3"} - {str(made.serving)}).pop()
        binding = made.gateway.services.swapper.binding("jobs")
        assert binding is not None
        for ago_s, serving in ((100.0, second), (301.0, third)):
            clock = MovedClock()
            clock.wall = binding.since + ago_s
            again = _restarted(made, clock, binding)
            for _ in range(10):
                again.outcomes([made.outcome(second, success=False)])
            await again.settled()
            assert made.serving == serving, ago_s
            await again.close()


def _restarted(made: Rig, clock: MovedClock, binding: object) -> AutoSwap:
    services = made.gateway.services
    return Automation(
        swapper=services.swapper,
        rollouts=NotedRollouts(),
        policy=services.selector,
        registry=services.registry,
        tasks=services.tasks,
        knowledge=services.recorder.knowledge,
        host=made.host,
        pool=services.pool,
        store=services.store,
        clock=clock,
        emit=made.events.append,
        bindings=(binding,),
        orders=ON,
    ).autoswap


def _feedback(decision: str, ref: str, score: float):
    return Feedback(request_id="req", decision_id=decision, task="jobs", ref=ref, score=score, at=0.0)


@pytest.mark.requirement("SWP-6")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    preset=st.sampled_from(list(Preset)),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["-" * 12, "+" * 12, "+-" * 6, "-+++" * 3]),
            st.sampled_from([0.0, 1.0, 9.0, 299.0, 301.0]),
            st.sampled_from([0.0, 31_536_000.0, -31_536_000.0]),
        ),
        min_size=1,
        max_size=14,
    ),
)
@pytest.mark.no_cover
def test_at_most_one_swap_per_pause_whatever_the_outcomes_and_the_clocks_do(tmp_path_factory, preset, steps):
    """On real services: whoever serves fails or answers, wall time jumps by years, rollouts end as they like."""

    async def story() -> None:
        rules = replace(PRESETS[preset], enabled=True)
        async with rig(tmp_path_factory.mktemp("story"), StandingOrders(autoswap=rules), *THREE) as made:
            moves: list[float] = []
            for signs, steady, wall in steps:
                made.clock.steady += steady
                made.clock.wall += wall
                before, orders = made.serving, len(made.rollouts.all)
                await made.ends(str(before), signs)
                if made.serving != before or len(made.rollouts.all) != orders:
                    moves.append(made.clock.steady)
                if made.rollouts.on("jobs") is not None:
                    made.rollouts.end(RolloutState.ABORTED)
            assert all(after - earlier >= rules.cooldown_s for earlier, after in pairwise(moves))
            triggered = [event for event in made.events if event.kind == "autoswap.triggered"]
            assert len(triggered) >= len(moves)

    asyncio.run(story())
