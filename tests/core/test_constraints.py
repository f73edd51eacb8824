"""Every hard filter and every best-effort limit, with its words."""

from __future__ import annotations

import math

import pytest

from podium.core.constraints import Cause, Limits, Option, check
from podium.domain.belief import Belief, Gauge, Performance
from podium.domain.evidence import Evidence
from podium.domain.model import Lifecycle
from podium.domain.task import Criteria

MB = 2**20


def limits(*, by_name: bool = False, budget: int | None = None, hardware: frozenset[str] = frozenset({"cpu"}), **over):
    return Limits(criteria=Criteria(**over), by_name=by_name, memory_budget_bytes=budget, hardware=hardware)


def option(**over) -> Option:
    base = {
        "ref": "m@1",
        "capabilities": frozenset({"chat", "tools"}),
        "context_length": 2_048,
        "footprint_bytes": 300 * MB,
        "hardware": frozenset({"cpu"}),
    }
    return Option(**{**base, **over})


def history(*, samples: int = 10, latency: float = 800.0, quality: float = 0.6) -> Evidence:
    return Evidence(
        samples=samples,
        successes=samples,
        latency_ms_sum=latency * samples,
        quality_sum=quality * samples,
        quality_samples=samples,
    )


def test_a_version_that_meets_everything_passes_without_flags() -> None:
    verdict = check(
        option(),
        history(),
        limits(
            capabilities=frozenset({"chat"}),
            min_context=2_048,
            min_quality=0.6,
            max_latency_ms=800,
            max_memory_mb=300,
            budget=300 * MB,
        ),
    )
    assert verdict.dropped is None
    assert verdict.flags == ()
    assert verdict.causes == frozenset()


@pytest.mark.requirement("SEL-1", "SEL-2")
@pytest.mark.parametrize(
    ("subject", "bounds", "cause", "words"),
    [
        (
            option(),
            limits(capabilities=frozenset({"vision", "tools"})),
            Cause.CAPABILITY,
            "lacks capability vision (has chat, tools)",
        ),
        (option(), limits(min_context=2_049), Cause.CONTEXT, "context length 2048 tokens, at least 2049 needed"),
        (
            option(hardware=frozenset({"cuda"})),
            limits(),
            Cause.HARDWARE,
            "needs hardware cuda, usable here: cpu",
        ),
        (option(), limits(budget=299 * MB), Cause.MEMORY, "needs 300 MB of memory, the budget is 299 MB"),
        (option(), limits(max_memory_mb=200), Cause.MEMORY, "uses 300 MB of memory, the limit is 200 MB"),
        (
            option(status=Lifecycle.RETIRED),
            limits(),
            Cause.LIFECYCLE,
            "not active: its status is retired",
        ),
        (
            option(unavailable="breaker open for 12 s"),
            limits(),
            Cause.AVAILABILITY,
            "not available: breaker open for 12 s",
        ),
        (
            option(),
            limits(min_quality=0.7),
            Cause.QUALITY,
            "mean quality 0.600 over 10 scores, at least 0.7 wanted",
        ),
        (
            option(),
            limits(max_latency_ms=500),
            Cause.LATENCY,
            "mean latency 800 ms over 10 samples, at most 500 ms wanted",
        ),
    ],
)
def test_each_filter_drops_with_its_numbers(subject: Option, bounds: Limits, cause: Cause, words: str) -> None:
    verdict = check(subject, history(), bounds)
    assert verdict.dropped == words
    assert verdict.causes == frozenset({cause})


def test_hardware_the_caller_rules_out_does_not_count_but_the_cpu_always_does() -> None:
    machine = frozenset({"cpu", "cuda"})
    gpu = option(hardware=frozenset({"cuda"}))
    assert check(gpu, None, limits(hardware=machine)).dropped is None
    assert check(gpu, None, Limits(criteria=Criteria(hardware=frozenset()), hardware=machine)).causes == {
        Cause.HARDWARE
    }
    assert check(option(), None, Limits(criteria=Criteria(hardware=frozenset()), hardware=machine)).dropped is None


def test_a_remote_version_needs_no_hardware_here() -> None:
    assert check(option(hardware=frozenset(), footprint_bytes=0), None, limits(budget=1)).dropped is None


@pytest.mark.requirement("SEL-2")
def test_quality_and_latency_limits_are_only_flagged_before_ten_samples() -> None:
    verdict = check(option(), history(samples=9), limits(min_quality=0.99, max_latency_ms=1))
    assert verdict.dropped is None
    assert verdict.flags == (
        "best effort: quality >= 0.99 not proven, 9 of 10 scores",
        "best effort: latency <= 1 ms not proven, 9 of 10 samples",
    )


def test_unknown_context_and_memory_are_flagged_not_dropped() -> None:
    verdict = check(
        option(context_length=None, footprint_bytes=None), None, limits(min_context=100, max_memory_mb=5, budget=1)
    )
    assert verdict.dropped is None
    assert verdict.flags == (
        "best effort: context length not known, 100 tokens needed",
        "best effort: memory not known, limit 5 MB",
    )


def test_the_measured_peak_replaces_the_estimate_for_the_memory_limit() -> None:
    measured = Evidence(samples=1, successes=1, memory_mb_max=150.0)
    assert check(option(), measured, limits(max_memory_mb=200)).dropped is None


def test_all_reasons_are_given_not_only_the_first() -> None:
    verdict = check(option(status=Lifecycle.READY), None, limits(min_context=9_999, capabilities=frozenset({"vision"})))
    assert verdict.causes == {Cause.LIFECYCLE, Cause.CAPABILITY, Cause.CONTEXT}
    assert verdict.dropped is not None
    assert verdict.dropped.count(";") == 2


def test_by_name_a_slow_version_is_flagged_and_a_deprecated_one_still_serves() -> None:
    verdict = check(option(status=Lifecycle.DEPRECATED), history(), limits(by_name=True, max_latency_ms=500))
    assert verdict.dropped is None
    assert len(verdict.flags) == 2
    assert "requested by name" in verdict.flags[1]
    assert check(option(status=Lifecycle.RETIRED), None, limits(by_name=True)).causes == {Cause.LIFECYCLE}


def believed(*, latency: Gauge | None = None, mean: float = 0.6, sd: float = 0.02, weight: float = 40.0) -> Belief:
    measured = None if latency is None else Performance(answered=40.0, asked=40.0, latency_ms=latency)
    return Belief(mean=mean, sd=sd, index=mean, weight=weight, performance=measured)


def around(latency_ms: float, weight: float = 40.0, var: float = 0.04) -> Gauge:
    return Gauge(weight, math.log(latency_ms) - var / 2, var)


@pytest.mark.requirement("SEL-2", "LRN-1")
def test_a_latency_limit_is_judged_by_what_was_measured_lately_and_only_when_it_is_sure() -> None:
    slow_once = history(samples=500, latency=3_000)
    bounds = limits(max_latency_ms=500)
    assert check(option(), slow_once, bounds, believed(latency=around(300))).flags == ()
    broken = check(option(), history(latency=10), bounds, believed(latency=around(700)))
    assert broken.causes == {Cause.LATENCY}
    assert broken.dropped == "mean latency 700 ms (663 to 739) by the last samples, at most 500 ms wanted"
    for open_ in (480, 515):
        verdict = check(option(), slow_once, bounds, believed(latency=around(open_)))
        assert verdict.dropped is None
        assert verdict.flags[0].startswith(f"best effort: latency <= 500 ms not proven, mean latency {open_} ms (")


def test_measurements_that_have_grown_old_prove_nothing() -> None:
    verdict = check(option(), history(), limits(max_latency_ms=500), believed(latency=around(5_000, weight=4.0)))
    assert verdict.dropped is None
    assert verdict.flags == ("best effort: latency <= 500 ms not proven, 4 of 10 samples",)


@pytest.mark.requirement("SEL-2")
def test_a_quality_limit_is_judged_by_the_belief_with_its_doubt() -> None:
    bounds = limits(min_quality=0.7)
    assert check(option(), None, bounds, believed(mean=0.8)).flags == ()
    assert check(option(), None, bounds, believed(mean=0.6)).causes == {Cause.QUALITY}
    unsure = check(option(), None, bounds, believed(mean=0.69))
    assert unsure.dropped is None
    assert unsure.flags == (
        "best effort: quality >= 0.7 not proven, quality 0.690 (0.657 to 0.723) by the last scores",
    )
    few = check(option(), None, bounds, believed(mean=0.1, weight=3.0))
    assert few.flags == ("best effort: quality >= 0.7 not proven, 3 of 10 scores",)
    assert check(option(), None, limits(min_quality=0.7, by_name=True), believed(mean=0.6)).dropped is None


def test_without_beliefs_the_whole_history_judges() -> None:
    for belief in (None, believed(weight=0.0)):
        verdict = check(option(), history(), limits(max_latency_ms=500, min_quality=0.7), belief)
        assert verdict.causes == {Cause.LATENCY, Cause.QUALITY}
