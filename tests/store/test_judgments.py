"""Judgments on disk: texts only while they wait, one judgment per answer, criterion and judge, sums that add up."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from podium.core.sampling import hajek, sums_of
from podium.domain.judging import Queued
from podium.domain.judgment import Judged, Judgment, Verdict
from podium.ports import JudgmentFilter, Page
from podium.store import SqliteStore

pytestmark = pytest.mark.requirement("JDG-5")


def queued(number: int, **other: object) -> Queued:
    item = Judged(
        id=f"req_{number}",
        task="qa",
        prompt="What is 2 + 2?\x00",
        output="4 \ufffd 🙂",
        schema={"type": "object"},
        finish="stop",
    )
    made = Queued(
        decision_id=f"dec_{number}",
        request_id=f"req_{number}",
        task="qa",
        ref="m@1",
        item=item,
        place=number / 100,
        odds=1.0,
        sample=0.1,
        signs=("refusal",),
        at=5.0,
    )
    return replace(made, **other)  # type: ignore[arg-type] # test data


def judgment(number: int, criterion: str = "relevance", judge: str = "j@1", **other: object) -> Judgment:
    verdict = Verdict(
        criterion=criterion,
        judge=judge,
        score=0.5,
        sd=0.1,
        method="stated number",
        reason="so",
        features=MappingProxyType({"overlap": 0.25}),
        latency_ms=12.5,
        input_tokens=100,
        output_tokens=3,
    )
    made = Judgment(
        id=f"jud_{number}_{criterion}_{judge}",
        request_id=f"req_{number}",
        decision_id=f"dec_{number}",
        task="qa",
        ref="m@1",
        verdict=verdict,
        score=0.6,
        calibrated=True,
        at=float(number),
        probability=0.5,
        signal="refusal",
        used=True,
    )
    return replace(made, **other)  # type: ignore[arg-type] # test data


ALL = JudgmentFilter()


async def test_what_waits_comes_back_whole_in_the_order_it_came(store: SqliteStore):
    made = [queued(number) for number in (3, 1, 2)]
    await store.enqueue_judging(made)
    assert [one.decision_id for one in await store.waiting_judging()] == ["dec_3", "dec_1", "dec_2"]
    assert await store.take_judging(["dec_1"]) == (made[1],)
    assert await store.take_judging(["dec_9"]) == ()
    raised = replace(made[0], odds=0.9, signs=("re-ask",))
    await store.enqueue_judging([raised])
    first, *_ = await store.waiting_judging()
    assert (first.decision_id, first.odds) == ("dec_3", 0.9)


async def test_texts_go_when_the_judgment_is_stored_and_not_before(store: SqliteStore):
    await store.enqueue_judging([queued(1), queued(2)])
    await store.save_judgments([judgment(1), judgment(1, "safety")])
    assert [one.decision_id for one in await store.waiting_judging()] == ["dec_2"]
    assert await store.judgments(ALL, Page()) == (judgment(1, "safety"), judgment(1))


async def test_thinning_forgets_some_and_lowers_the_share_of_the_others(store: SqliteStore):
    await store.enqueue_judging([queued(1), queued(2, share=0.25), queued(3)])
    await store.thin_judging(["dec_3"], 0.5)
    assert {one.decision_id: one.share for one in await store.waiting_judging()} == {"dec_1": 0.5, "dec_2": 0.25}
    (left,) = await store.take_judging(["dec_1"])
    assert (left.share, left.item) == (0.5, queued(1).item)


async def test_a_later_judgment_of_the_same_judge_takes_the_place_of_the_earlier(store: SqliteStore):
    await store.save_judgments([judgment(1)])
    await store.save_judgments([judgment(1, id="jud_new", score=0.1), judgment(1, judge="k@1")])
    found = await store.judgments(JudgmentFilter(judge="j@1"), Page())
    assert [(one.id, one.score) for one in found] == [("jud_1_relevance_j@1", 0.1)]


async def test_an_invalid_judgment_has_no_score_and_keeps_the_reply(store: SqliteStore):
    bad = judgment(1)
    bad = replace(bad, score=None, verdict=replace(bad.verdict, score=None, invalid="half JSON", reply='{"sc'))
    await store.save_judgments([bad, judgment(2)])
    assert await store.judgments(JudgmentFilter(invalid=True), Page()) == (bad,)
    assert await store.judgments(JudgmentFilter(invalid=False), Page()) == (judgment(2),)
    (tally,) = await store.judgment_tallies("qa", 0.0)
    assert (tally.judgments, tally.invalid, tally.no_ground, tally.sums.n) == (2, 1, 0, 1)


async def test_a_verdict_from_the_cache_is_known_as_such(store: SqliteStore):
    asked = judgment(1)
    again = judgment(2)
    again = replace(
        again, verdict=replace(again.verdict, cached=True, latency_ms=None, input_tokens=0, output_tokens=0)
    )
    ruled = judgment(3, judge="rules")
    ruled = replace(ruled, verdict=replace(ruled.verdict, latency_ms=None, input_tokens=None, output_tokens=None))
    await store.save_judgments([asked, again, ruled])
    assert await store.judgments(ALL, Page()) == (ruled, again, asked)


async def test_sums_are_those_of_the_rows(store: SqliteStore):
    scored = [(number / 40, 1.0 if number % 4 == 0 else 0.1) for number in range(40)]
    made = [judgment(n, score=score, probability=odds) for n, (score, odds) in enumerate(scored)]
    await store.save_judgments(made)
    (tally,) = await store.judgment_tallies(None, 0.0)
    found, wanted = hajek(tally.sums), hajek(sums_of(scored))
    assert (found.n, found.mean, found.low) == (40, pytest.approx(wanted.mean), pytest.approx(wanted.low))
    assert (tally.tokens, tally.latency_ms, tally.last_at) == (40 * 103, pytest.approx(500.0), 39.0)
    (late,) = await store.judgment_tallies("qa", 30.0)
    assert late.judgments == 10
    assert await store.judgment_tallies("other", 0.0) == ()


async def test_a_sign_that_shows_late_corrects_the_probability_once(store: SqliteStore):
    await store.save_judgments([judgment(1, signal=None), judgment(1, "safety", signal=None)])
    assert await store.raise_judged_probability("dec_1", 1.0, "re-ask") == 2
    assert await store.raise_judged_probability("dec_1", 0.7, "re-ask") == 0
    assert {(one.probability, one.signal) for one in await store.judgments(ALL, Page())} == {(1.0, "re-ask")}


async def test_the_oldest_beyond_the_limit_go(store: SqliteStore):
    await store.save_judgments([judgment(number) for number in range(20)])
    assert await store.prune_judgments(5) == 15
    assert [one.at for one in await store.judgments(ALL, Page())] == [19.0, 18.0, 17.0, 16.0, 15.0]
