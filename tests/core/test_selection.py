"""The pure choice: modes, order, fallbacks, reasons, errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.constraints import Option
from podium.core.selection import PolicySnapshot, Query, choose
from podium.domain.evidence import Evidence
from podium.domain.model import Lifecycle
from podium.domain.task import Binding, Criteria, Preference, TaskSpec
from podium.errors import NoCandidate

NOW = 1_000_000 * 3_600.0  # a full hour


def history(quality: float, *, samples: int = 20, latency: float = 1_000.0, at: float = NOW) -> Evidence:
    return Evidence(
        samples=samples,
        successes=samples,
        latency_ms_sum=latency * samples,
        quality_sum=quality * samples,
        quality_samples=samples,
        memory_mb_max=819.2,
        last_at=at,
    )


def option(ref: str, **over) -> Option:
    return Option(ref=ref, **{"capabilities": frozenset({"chat"}), "context_length": 2_048, **over})


def world(evidence: dict[str, Evidence], *, options: tuple[Option, ...] | None = None, **over) -> PolicySnapshot:
    options = tuple(option(ref) for ref in ("a@1", "b@1", "c@1")) if options is None else options
    return PolicySnapshot(options=options, evidence={"t": evidence}, now=NOW, **over)


@pytest.mark.requirement("SEL-3", "SEL-5")
def test_the_best_hand_computed_score_wins_and_the_others_follow_as_fallbacks() -> None:
    choice = choose(
        world({"a@1": history(0.8), "b@1": history(0.9, latency=4_000), "c@1": history(0.2)}), Query(task="t")
    )
    scores = {c.ref: c.score for c in choice.candidates}
    # memory 1 - 819.2/8192 = 0.9, reliability 1, recency 1: together 0.1 * 2.9 = 0.29
    # a: 0.4*0.8 + 0.3*(1 - 1000/10000) + 0.29 = 0.32 + 0.27 + 0.29 = 0.88
    # b: 0.4*0.9 + 0.3*(1 - 4000/10000) + 0.29 = 0.36 + 0.18 + 0.29 = 0.83
    # c: 0.4*0.2 + 0.3*(1 - 1000/10000) + 0.29 = 0.08 + 0.27 + 0.29 = 0.64
    assert scores == pytest.approx({"a@1": 0.88, "b@1": 0.83, "c@1": 0.64}, abs=1e-12)
    assert (choice.chosen, choice.fallbacks) == ("a@1", ("b@1", "c@1"))
    assert choice.propensity == 1.0
    assert choice.strategy == "balanced"
    assert choice.reason == "a@1 scores 0.880 (balanced, 20 samples), ahead of b@1 with 0.830 (20 samples)"
    # n/(n+10) = 20/30; gap 0.05 of 0.2: 0.5 + 0.5*0.25 = 0.625
    assert choice.confidence == pytest.approx(20 / 30 * 0.625)
    assert choice.expected.quality == pytest.approx(0.8)
    assert choice.expected.latency_ms == pytest.approx(1_000)
    assert (choice.expected.memory_mb, choice.expected.samples) == (819.2, 20)


def test_confidence_is_zero_without_samples_and_grows_with_samples_and_gap() -> None:
    blank = choose(world({}), Query(task="t"))
    assert blank.confidence == 0.0
    assert blank.expected.samples == 0
    few = choose(world({"a@1": history(0.9, samples=10)}), Query(task="t")).confidence
    many = choose(world({"a@1": history(0.9, samples=1_000)}), Query(task="t")).confidence
    assert 0.0 < few < many <= 1.0


def test_ties_go_to_more_samples_then_the_newer_version_then_the_alphabet() -> None:
    options = (option("c@1"), option("b@1"), option("a@1"))
    assert choose(world({}, options=options), Query(task="t")).chosen == "a@1"
    newer = (option("c@1", created_at=5.0), option("b@1", created_at=9.0), option("a@1", created_at=5.0))
    assert choose(world({}, options=newer), Query(task="t")).chosen == "b@1"
    tried = {"c@1": history(0.1, samples=9)}  # still 0.5, but with more samples
    assert choose(world(tried, options=newer), Query(task="t")).chosen == "c@1"


def test_a_bound_task_goes_to_its_version_though_another_scores_more() -> None:
    binding = Binding(task="t", ref="b@1", since=1_700_000_000.0, by="ada", reason="swap")
    choice = choose(world({"a@1": history(0.9), "b@1": history(0.3)}, bindings={"t": binding}), Query(task="t"))
    assert (choice.chosen, choice.strategy, choice.propensity) == ("b@1", "bound", 1.0)
    assert choice.fallbacks[0] == "a@1"
    assert choice.reason == "bound to b@1 since 2023-11-14 22:13:20 UTC by ada (swap)"


@pytest.mark.requirement("SEL-2")
def test_a_bound_version_that_cannot_serve_is_replaced_by_the_best_other_and_the_reason_says_so() -> None:
    snapshot = world(
        {"a@1": history(0.3), "c@1": history(0.9)},
        options=(option("a@1"), option("b@1", context_length=512), option("c@1")),
        bindings={"t": Binding(task="t", ref="b@1")},
    )
    choice = choose(snapshot, Query(task="t", min_context=1_000))
    assert choice.chosen == "c@1"
    assert "bound to b@1, but it was dropped (context length 512 tokens, at least 1000 needed)" in choice.reason
    assert "b@1" not in choice.fallbacks


def test_a_binding_to_a_version_that_is_gone_is_said_too() -> None:
    choice = choose(world({}, bindings={"t": Binding(task="t", ref="gone@1")}), Query(task="t"))
    assert choice.chosen == "a@1"
    assert "not registered" in choice.reason


@pytest.mark.requirement("API-2")
def test_a_version_requested_by_name_is_served_without_silent_fallback() -> None:
    choice = choose(world({"a@1": history(0.9)}), Query(task="t", refs=("c@1",)))
    assert (choice.chosen, choice.fallbacks, choice.strategy) == ("c@1", (), "requested")
    assert (choice.reason, choice.propensity, choice.confidence) == ("requested by name", 1.0, 1.0)
    assert [c.ref for c in choice.candidates] == ["c@1"]


def test_several_named_versions_are_tried_in_the_order_given() -> None:
    choice = choose(world({"a@1": history(0.9)}), Query(task="t", refs=("c@1", "a@1")))
    assert (choice.chosen, choice.fallbacks) == ("c@1", ("a@1",))


def test_a_named_version_is_still_checked_for_capability_and_context() -> None:
    with pytest.raises(NoCandidate, match="the requested model cannot serve") as caught:
        choose(world({}), Query(task="t", refs=("c@1",), needs=frozenset({"vision"})))
    assert caught.value.details["dropped"] == {"c@1": "lacks capability vision (has chat)"}
    with pytest.raises(NoCandidate) as caught:
        choose(world({}), Query(task="t", refs=("c@1",), min_context=4_096))
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    with pytest.raises(NoCandidate, match="podium models ls") as caught:
        choose(world({}), Query(task="t", refs=("zz@9",)))
    assert caught.value.details["dropped"] == {"zz@9": "not registered"}


@pytest.mark.requirement("SEL-2")
def test_with_no_candidate_left_the_error_lists_every_model_and_says_what_to_do() -> None:
    options = (option("a@1"), option("b@1", status=Lifecycle.RETIRED), option("c@1", unavailable="breaker open"))
    with pytest.raises(NoCandidate) as caught:
        choose(world({}, options=options), Query(task="t", needs=frozenset({"tools"})))
    dropped = caught.value.details["dropped"]
    assert isinstance(dropped, dict)
    assert set(dropped) == {"a@1", "b@1", "c@1"}
    assert dropped["a@1"] == "lacks capability tools (has chat)"
    assert "not active: its status is retired" in dropped["b@1"]
    assert "breaker open" in dropped["c@1"]
    assert "add a model that can do it" in caught.value.message
    assert caught.value.status == 422


def test_models_that_are_merely_unavailable_make_it_a_503_to_try_again() -> None:
    with pytest.raises(NoCandidate) as caught:
        choose(world({}, options=(option("a@1", unavailable="breaker open for 3 s"),)), Query(task="t"))
    assert caught.value.status == 503
    assert caught.value.retry_after_s == 5.0


def test_an_empty_or_inactive_registry_says_how_to_add_and_activate() -> None:
    with pytest.raises(NoCandidate, match=r"no model is registered: add one with `podium models add"):
        choose(PolicySnapshot(), Query(task="t"))
    with pytest.raises(NoCandidate, match=r"no model is active .*podium models activate"):
        choose(world({}, options=(option("a@1", status=Lifecycle.READY),)), Query(task="t"))


@pytest.mark.requirement("SEL-2")
def test_limits_that_are_not_proven_are_flagged_in_candidate_and_reason() -> None:
    spec = TaskSpec(name="t", criteria=Criteria(max_latency_ms=100))
    choice = choose(world({}, tasks={"t": spec}), Query(task="t"))
    flag = "best effort: latency <= 100 ms not proven, 0 of 10 samples"
    assert choice.candidates[0].flags == (flag,)
    assert flag in choice.reason


@pytest.mark.requirement("SEL-1")
def test_the_requests_criteria_lie_over_the_tasks_field_by_field() -> None:
    spec = TaskSpec(name="t", criteria=Criteria(max_latency_ms=100, min_quality=0.85), strategy="classic")
    snapshot = world({"a@1": history(0.8), "b@1": history(0.9), "c@1": history(0.1)}, tasks={"t": spec})
    with pytest.raises(NoCandidate):
        choose(snapshot, Query(task="t"))
    choice = choose(snapshot, Query(task="t", criteria=Criteria(max_latency_ms=2_000)))
    assert (choice.chosen, choice.strategy) == ("b@1", "classic")
    # 0.4*0.9 + 0.3*(1 - 1000/2000) + 0.2*0.9 + 0.1*1 = 0.36 + 0.15 + 0.18 + 0.1
    assert next(c for c in choice.candidates if c.ref == "b@1").score == pytest.approx(0.79)


@pytest.mark.requirement("SEL-1")
def test_a_preference_changes_who_wins() -> None:
    rows = {"a@1": history(0.55, latency=200), "b@1": history(0.95, latency=6_000), "c@1": history(0.0)}
    assert choose(world(rows), Query(task="t", criteria=Criteria(preference=Preference.FAST))).chosen == "a@1"
    assert choose(world(rows), Query(task="t", criteria=Criteria(preference=Preference.QUALITY))).chosen == "b@1"


def test_the_hour_not_the_second_counts_so_that_a_choice_stays_the_same_between_outcomes() -> None:
    snapshot = world({"a@1": history(0.8, at=NOW - 7_200)})
    assert choose(replace(snapshot, now=NOW + 3_599), Query(task="t")) == choose(snapshot, Query(task="t"))


_rows = st.dictionaries(
    st.sampled_from(["a@1", "b@1", "c@1"]),
    st.builds(history, st.floats(0, 1), samples=st.integers(0, 40), latency=st.floats(1, 20_000)),
)


@given(before=_rows, after=_rows, limit=st.none() | st.floats(100, 20_000), unavailable=st.booleans())
def test_reusing_an_earlier_choice_never_changes_the_result(
    before: dict[str, Evidence], after: dict[str, Evidence], limit: float | None, unavailable: bool
) -> None:
    query = Query(task="t", criteria=Criteria(max_latency_ms=limit))
    options = tuple(option(ref) for ref in ("a@1", "b@1", "c@1", "d@1"))
    old = world(before, options=options)
    mixed = {**before, **after}
    changed = (*options[:2], replace(options[2], unavailable="gone" if unavailable else None), options[3])
    new = world(mixed, options=changed)
    first = choose(old, query)
    assert choose(new, query, (old, first)) == choose(new, query)


@given(rows=_rows, min_quality=st.floats(0, 1))
def test_the_chosen_one_passes_all_filters_and_no_passing_one_scores_more(
    rows: dict[str, Evidence], min_quality: float
) -> None:
    try:
        choice = choose(world(rows), Query(task="t", criteria=Criteria(min_quality=min_quality)))
    except NoCandidate as error:
        dropped = error.details["dropped"]
        assert isinstance(dropped, dict)
        assert set(dropped) == {"a@1", "b@1", "c@1"}
        return
    by_ref = {c.ref: c for c in choice.candidates}
    passing = {ref for ref, c in by_ref.items() if c.dropped is None}
    assert {choice.chosen, *choice.fallbacks} == passing
    assert by_ref[choice.chosen].score == max(by_ref[ref].score or 0.0 for ref in passing)
    assert 0.0 <= choice.confidence <= 1.0
