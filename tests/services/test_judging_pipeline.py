"""Judging live traffic: picked with a known probability, judged out of users' way, stored, and learned from if it may be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from judging_rig import Rig, judging
from podium.core.judge_silence import ROW
from podium.core.sampling import place
from podium.domain.finding import Code
from podium.domain.judgment import CRITERIA, OVERALL, Judged
from podium.errors import InvalidRequest
from podium.services.doctor import diagnose

RULES_ONLY = "[judging]\nenabled = true\nsample = 1.0\n"
WITH_JUDGE = '[judging]\nenabled = true\nsample = 1.0\ncriteria = ["relevance"]\njudge = "j@1"\n'
GOOD = "The capital of France is Paris, on the river Seine."


async def models(rig: Rig, reply: str = '{"score": 4}', **judge: Any) -> None:
    await rig.add("m", text=GOOD)
    await rig.add("j", text=reply, **judge)


@pytest.mark.requirement("JDG-5")
async def test_answers_are_judged_by_rules_stored_and_learned_from(tmp_path: Path):
    async with judging(tmp_path, RULES_ONLY) as rig:
        await rig.add("m", text=GOOD)
        ids = [await rig.ask(f"What is the capital of France? ({n})") for n in range(5)]
        await rig.judged(5)
        made = await rig.stored(request_id=ids[0])
        assert {one.verdict.criterion for one in made} == {*CRITERIA, OVERALL}
        assert all(one.probability == 1.0 and one.used for one in made if one.score is not None)
        await rig.services.recorder.flush()
        (given,) = await rig.services.store.find_feedback(ids[0])
        overall = next(one for one in made if one.verdict.criterion == OVERALL)
        assert (given.source, given.score) == ("judge", overall.score)
        assert rig.services.learner.observations == 5
        assert await rig.services.store.waiting_judging() == ()  # type: ignore[attr-defined] # the texts are gone


@pytest.mark.requirement("JDG-5", "JDG-6")
async def test_a_model_nobody_calibrated_is_heard_and_teaches_nothing(tmp_path: Path):
    async with judging(tmp_path, WITH_JUDGE + "[tasks.qa.judging]\ncriteria = ['safety', 'relevance']\n") as rig:
        await models(rig)
        request = await rig.ask("What is the capital of France?")
        await rig.judged(1)
        by = {(one.verdict.judge, one.verdict.criterion): one for one in await rig.stored(request_id=request)}
        said = by["j@1", "relevance"]
        assert (said.score, said.calibrated, said.used) == (0.75, False, False)
        assert said.verdict.latency_ms is not None
        assert by["rules", "relevance"].used


@pytest.mark.requirement("JDG-6")
async def test_a_calibrated_judge_teaches_its_calibrated_score(tmp_path: Path):
    async with judging(tmp_path, WITH_JUDGE) as rig:
        await models(rig)
        await rig.calibrate("j@1", "relevance")
        request = await rig.ask("What is the capital of France?")
        await rig.judged(1)
        by = {one.verdict.judge: one for one in await rig.stored(request_id=request)}
        assert by["j@1"].score == pytest.approx(0.2 + 0.7 * 0.75)
        assert by["j@1"].used
        assert by["j@1"].calibrated
        assert not by["rules"].used
        assert by[OVERALL].score == by["j@1"].score


@pytest.mark.requirement("JDG-2")
@pytest.mark.parametrize(
    "reply",
    [
        "I would say it is rather good.",
        '{"score": ',
        '{"score": NaN}',
        '{"score": 1e9}',
        "",
        "评分五分",
        '{"mark": 4}',
    ],
)
async def test_what_is_no_verdict_is_invalid_and_never_a_number(tmp_path: Path, reply: str):
    async with judging(tmp_path, WITH_JUDGE) as rig:
        await models(rig, reply)
        request = await rig.ask("What is the capital of France?")
        await rig.judged(1)
        by = {one.verdict.judge: one for one in await rig.stored(request_id=request)}
        assert by["j@1"].verdict.invalid
        assert by["j@1"].score is None
        assert by[OVERALL].score == by["rules"].score
        assert await rig.stored(invalid=True) == (by["j@1"],)


@pytest.mark.requirement("JDG-3", "JDG-5")
async def test_a_judge_s_own_requests_are_no_traffic(tmp_path: Path):
    async with judging(tmp_path, WITH_JUDGE) as rig:
        await models(rig)
        for number in range(3):
            await rig.ask(f"What is the capital of France? {number}")
        await rig.judged(3)
        await rig.services.recorder.flush()
        counts = await rig.services.store.counts()
        assert counts["decisions"] == 3
        assert not any(ref == "j@1" for _, ref in rig.services.recorder.evidence())
        assert rig.judging.intake.seen.answers == 3


@pytest.mark.requirement("JDG-5")
async def test_signs_pick_answers_beyond_chance_and_are_recorded(tmp_path: Path):
    settings = "[judging]\nenabled = true\nsample = 0.3\nextra = 1.0\nlooks_per_s = 1000\n"
    async with judging(tmp_path, settings) as rig:
        await rig.add("m", text=GOOD, answers=[{"match": "poem", "text": "I'm sorry, but I can't help with that."}])
        for number in range(30):
            await rig.ask(f"Write a poem about {number}" if number % 3 == 0 else f"What is the capital? {number}")
        await rig.until(lambda: rig.judging.intake.seen.looked == 30)
        await rig.until(lambda: len(rig.judging.queue) == 0 and rig.judging.intake.in_hand == 0)
        await rig.judged(rig.judging.intake.seen.picked)
        made = await rig.stored(criterion=OVERALL)
        refusals = [one for one in made if one.signal == "refusal"]
        chance = [one for one in made if one.signal is None]
        assert (len(refusals), {one.probability for one in refusals}) == (10, {1.0})
        assert {one.probability for one in chance} == {0.3}
        assert all(place(one.decision_id) < 0.3 for one in chance)
        assert rig.judging.intake.signs["refusal"] == 10
        evidence = rig.services.recorder.evidence()["qa", "m@1"]
        by_chance = [one for one in made if place(one.decision_id) < 0.3]
        assert evidence.quality_samples == len(by_chance), "extra samples are in no plain mean"
        assert rig.services.learner.observations == len(made), "but they are learned from, by their weight"


@pytest.mark.requirement("JDG-5")
async def test_an_answer_whose_question_comes_again_is_judged(tmp_path: Path):
    async with judging(tmp_path, "[judging]\nenabled = true\nsample = 0.0\n") as rig:
        await rig.add("m", text=GOOD)
        talk = [{"role": "user", "content": "How do I reset the password of my router?"}]
        first = (await rig.podium.execute(talk, model="m", task="qa")).request_id
        talk += [
            {"role": "assistant", "content": GOOD},
            {"role": "user", "content": "how can I reset the router password?"},
        ]
        await rig.podium.execute(talk, model="m", task="qa")
        await rig.judged(1)
        (made,) = await rig.stored(criterion=OVERALL)
        assert (made.request_id, made.signal, made.probability) == (first, "re-ask", 1.0)
        assert not made.used, "nothing is picked by chance here, so signs alone say nothing of the version"


@pytest.mark.requirement("JDG-5", "LRN-5")
async def test_a_budget_that_is_used_up_defers_and_what_waits_survives_a_restart(tmp_path: Path):
    broke = WITH_JUDGE + "compute_share = 0.0\n[tasks.cheap.judging]\njudge = 'none'\n"
    async with judging(tmp_path, broke) as rig:
        await models(rig)
        for number in range(4):
            await rig.ask(f"What is the capital of France? {number}")
        await rig.ask("What is the capital of France?", task="cheap")
        await rig.judged(1)
        await rig.until(lambda: rig.judging.queue.held_up == 4)
        assert [one.task for one in await rig.stored(criterion=OVERALL)] == ["cheap"], "what costs nothing goes on"
        assert rig.judging.budget.short_of(rig.services.clock.monotonic()) == "compute seconds"
        assert Code.JUDGING_BUDGET in {one.code for one in diagnose(rig.services).findings}
    async with judging(tmp_path, WITH_JUDGE) as rig:
        assert rig.judging.resumed == 4
        await rig.judged(4)
        assert len(await rig.stored(task="qa", judge="j@1")) == 4
        assert rig.judging.budget.spent().seconds > 0


@pytest.mark.requirement("JDG-5")
async def test_more_than_fits_is_thinned_out_with_a_known_probability(tmp_path: Path):
    settings = WITH_JUDGE + "compute_share = 0.0\nqueue = 10\n"
    async with judging(tmp_path, settings) as rig:
        await models(rig)
        for number in range(60):
            await rig.ask(f"What is the capital of France? {number}")
        await rig.until(lambda: rig.judging.intake.in_hand == 0 and rig.judging.intake.seen.answers == 60)
        await rig.until(lambda: 0 < len(rig.judging.queue) <= 10)
        kept = await rig.services.store.waiting_judging()  # type: ignore[attr-defined] # the store has it
        assert len(kept) <= 10
        assert all(one.place < one.odds * one.share for one in kept)
        assert {one.share for one in kept} <= {1.0 / 2**n for n in range(1, 8)}
        assert rig.judging.queue.thinned + len(kept) <= 60


@pytest.mark.requirement("JDG-5")
async def test_it_waits_while_users_are_served(tmp_path: Path):
    async with judging(tmp_path, WITH_JUDGE) as rig:
        await models(rig)
        idle = rig.services.gateway.idleness
        async with idle.user():
            await rig.ask("What is the capital of France?")
            await rig.until(lambda: rig.judging.intake.seen.picked == 1)
            await asyncio.sleep(0)
            assert rig.judging.figures.done.answers == 0
            views = {view.ref: view for view in rig.services.pool.views()}
            assert "j@1" not in views or not views["j@1"].active
        await rig.judged(1)


@pytest.mark.parametrize("text", ["", "\x00\x01\x02\ufffd" * 400, "word " * 250_000, "ha " * 4_000])
async def test_an_odd_output_is_judged_or_left_and_ends_nothing(tmp_path: Path, text: str):
    async with judging(tmp_path, WITH_JUDGE) as rig:
        await rig.add("m", text=GOOD, answers=[{"match": "odd", "text": text}])
        await rig.add("j", text='{"score": 4}')
        await rig.ask("Something odd, please.")
        await rig.ask("What is the capital of France?")
        await rig.judged(2 if len(text) < 1_000_000 else 1)
        assert rig.judging.figures.done.answers + rig.judging.intake.seen.unfit == 2
        assert json.dumps([one.verdict.reason for one in await rig.stored()])


async def test_a_judge_that_is_not_there_is_said_and_rules_go_on(tmp_path: Path):
    async with judging(tmp_path, WITH_JUDGE.replace("j@1", "nobody@7")) as rig:
        await rig.add("m", text=GOOD)
        await rig.ask("What is the capital of France?")
        await rig.judged(1)
        assert "nobody@7" in rig.judging.problems["relevance"]
        assert Code.JUDGE_MISSING in {one.code for one in diagnose(rig.services).findings}
        assert [one.verdict.judge for one in await rig.stored(criterion="relevance")] == ["rules"]
        item = Judged(id="a", task="qa", prompt="What is 2+2?", output="4")
        await rig.judging.rule(item, judge=None, criteria=["relevence"])
        assert "did you mean relevance" in rig.judging.problems["relevence"]
        findings = [one.says for one in diagnose(rig.services).findings if one.code == Code.JUDGE_MISSING]
        assert any(says.startswith("relevence is not judged") for says in findings)


@pytest.mark.requirement("SWP-5", "JDG-6")
async def test_the_score_for_a_shadow_is_that_of_judges_that_are_evidence(tmp_path: Path):
    item = Judged(id="x", task="qa", prompt="What is the capital of France?", output=GOOD)
    own = WITH_JUDGE.replace('criteria = ["relevance"]', 'criteria = ["tone"]')
    rubrics = tmp_path / "home" / "rubrics"
    rubrics.mkdir(parents=True)
    (rubrics / "tone.toml").write_text('instructions = "Is the tone friendly? 1 is rude, 5 is warm."\n')
    async with judging(tmp_path, own) as rig:
        await models(rig)
        assert await rig.judging.score(item) is None, "no rule for it, and nobody calibrated the model"
        await rig.calibrate("j@1", "tone")
        assert await rig.judging.score(item) == pytest.approx(0.2 + 0.7 * 0.75)


async def test_settings_are_exchanged_without_a_restart(tmp_path: Path):
    async with judging(tmp_path, "[judging]\nenabled = false\n") as rig:
        await rig.add("m", text=GOOD)
        await rig.ask("What is the capital of France?")
        assert rig.judging.intake.seen.answers == 0
        (tmp_path / "home" / "podium.toml").write_text(RULES_ONLY)
        await rig.gateway.reload()
        await rig.ask("What is the capital of France?")
        await rig.judged(1)


@pytest.mark.requirement("JDG-1")
@pytest.mark.no_cover
async def test_a_criterion_of_ones_own_may_be_a_pattern_which_is_a_fact_and_asks_no_model(tmp_path: Path):
    settings = '[judging]\nenabled = true\nsample = 1.0\ncriteria = ["dated"]\njudge = "auto"\n'
    rubrics = tmp_path / "home" / "rubrics"
    rubrics.mkdir(parents=True)
    (rubrics / "dated.toml").write_text("pattern = '^(19|20)\\d\\d-\\d\\d$'")
    (rubrics / "endless.toml").write_text("pattern = '^(x+x+)+y$'")
    async with judging(tmp_path, settings) as rig:
        await rig.add("m", text="1999-12")
        await rig.add("other", text="It was in 1999-12.")
        await rig.ask("When?")
        await rig.ask("When?", model="other")
        await rig.judged(2)
        scores = {one.ref: (one.score, one.verdict.judge, one.used) for one in await rig.stored(criterion="dated")}
        assert scores == {"m@1": (1.0, "rules", True), "other@1": (0.0, "rules", True)}
        slow = Judged(id="slow", task="qa", prompt="", output="x" * 60)
        ruling = await rig.judging.rule(slow, judge="auto", criteria=["endless"])
        (verdict,) = ruling.settled[0].verdicts
        assert (verdict.score, "took too long" in str(verdict.invalid)) == (None, True)
        with pytest.raises(InvalidRequest, match="judged by a pattern"):
            await rig.judging.compare(slow, slow, "dated", ["auto"])


@pytest.mark.requirement("JDG-3")
async def test_a_judge_that_answers_prose_is_passed_over_for_one_that_gives_verdicts(tmp_path: Path):
    settings = '[judging]\nenabled = true\nsample = 1.0\ncriteria = ["relevance"]\njudge = "auto"\n'
    async with judging(tmp_path, settings) as rig:
        await rig.add("m", text=GOOD)
        await rig.add("good", text='{"score": 4}')
        await rig.add("prose", text="It is quite good.")
        names = ["good@1", "prose@1"]
        for number in range(ROW + 2):
            await rig.ask(f"What is the capital of country {number}?")
            await rig.judged(number + 1)
        heard = [one.verdict for one in await rig.stored(criterion="relevance") if one.verdict.judge in names]
        assert len(heard) == ROW + 2
        assert 1 < sum(one.judge == "prose@1" for one in heard) <= ROW, "now and then another one is asked in between"
        assert [(one.judge, one.score) for one in heard[:2]] == [("good@1", 0.75)] * 2, "the newest come first"


@pytest.mark.requirement("JDG-3")
async def test_alone_a_version_judges_its_own_answers_only_where_the_settings_let_it(tmp_path: Path):
    settings = '[judging]\nenabled = true\nsample = 1.0\ncriteria = ["relevance"]\njudge = "auto"\n'
    async with judging(tmp_path, f"{settings}may_judge_itself = false\n") as rig:
        await rig.add("m", text='{"score": 4}')
        await rig.ask("What is the capital of France?")
        await rig.judged(1)
        assert {one.verdict.judge for one in await rig.stored(criterion="relevance")} == {"rules"}
        assert "may_judge_itself" in rig.judging.problems["relevance"]
        (tmp_path / "home" / "podium.toml").write_text(settings)
        await rig.gateway.reload()
        await rig.ask("What is the capital of Peru?")
        await rig.judged(2)
        assert "m@1" in {one.verdict.judge for one in await rig.stored(criterion="relevance")}
        assert rig.judging.problems == {}
