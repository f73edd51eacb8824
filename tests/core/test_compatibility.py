"""SWP-3: what blocks a swap always, what only in strict mode, and what is merely said."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from podium.core.compatibility import check
from podium.domain.belief import Belief, Gauge, Performance
from podium.domain.evidence import Evidence
from podium.domain.model import Facts, Lifecycle, ModelVersion, Source


def version(name: str, *, context: int | None = 4_096, capabilities: str = "chat tools") -> ModelVersion:
    return ModelVersion(
        name=name,
        version="1",
        source=Source(provider="scripted", location="x"),
        facts=Facts(digest="sha256:" + "0" * 64, context_length=context, capabilities=frozenset(capabilities.split())),
        status=Lifecycle.ACTIVE,
    )


def history(samples: int, successes: int, *, latency: float = 1_000, quality: float = 0.8) -> Evidence:
    return Evidence(
        samples=samples,
        successes=successes,
        latency_ms_sum=latency * successes,
        quality_sum=quality * samples,
        quality_samples=samples,
        memory_mb_max=500.0,
    )


OLD, NEW = version("old"), version("new")


@pytest.mark.requirement("SWP-3")
@pytest.mark.parametrize("strict", [False, True])
def test_smaller_context_missing_capability_and_ill_health_always_block(strict: bool) -> None:
    verdict = check(
        incumbent=OLD,
        candidate=version("new", context=2_048, capabilities="chat"),
        in_use_context=2_049,
        required_capabilities=frozenset({"tools", "vision"}),
        healthy=False,
        strict=strict,
    )
    assert not verdict.compatible
    assert verdict.gaps == (
        "context length 2048 tokens is smaller than the 2049 in use",
        "lacks required capability tools, vision",
        "unhealthy: it does not pass its health check",
    )


@pytest.mark.requirement("SWP-3")
def test_a_context_that_just_suffices_does_not_block_but_shrinking_is_said() -> None:
    verdict = check(incumbent=OLD, candidate=version("new", context=2_048), in_use_context=2_048)
    assert verdict.compatible
    assert "context length shrinks from 4096 to 2048 tokens" in verdict.warnings


@pytest.mark.requirement("SWP-3")
def test_an_uncovered_task_blocks_in_strict_mode_only_and_warns_otherwise() -> None:
    lenient = check(incumbent=OLD, candidate=NEW, incumbent_evidence=history(20, 20), task="t")
    assert lenient.compatible
    assert any("task t is not covered" in warning for warning in lenient.warnings)
    strict = check(incumbent=OLD, candidate=NEW, incumbent_evidence=history(20, 20), task="t", strict=True)
    assert not strict.compatible
    assert strict.gaps == ()
    assert strict.strict_gaps == (f"task t is not covered: {NEW.ref} has served no request of it yet",)


def test_a_version_specialised_in_the_task_covers_it_without_history() -> None:
    assert check(incumbent=OLD, candidate=replace(NEW, specialisation="t"), task="t", strict=True).compatible
    assert check(incumbent=OLD, candidate=replace(NEW, tags=frozenset({"t"})), task="t", strict=True).compatible
    assert not check(incumbent=OLD, candidate=replace(NEW, specialisation="u"), task="t", strict=True).compatible


@pytest.mark.requirement("SWP-3")
@pytest.mark.parametrize(("successes", "blocks"), [(81, False), (80, True)])
def test_strict_mode_blocks_below_nine_tenths_of_the_old_success_rate(successes: int, blocks: bool) -> None:
    # the incumbent succeeds in 90 of 100; 0.9 * 0.9 = 0.81
    verdict = check(
        incumbent=OLD,
        candidate=NEW,
        incumbent_evidence=history(100, 90),
        candidate_evidence=history(100, successes),
        strict=True,
    )
    assert verdict.compatible is not blocks
    assert bool(verdict.strict_gaps) is blocks


@pytest.mark.requirement("SWP-3")
def test_expected_changes_are_candidate_minus_incumbent() -> None:
    verdict = check(
        incumbent=OLD,
        candidate=NEW,
        incumbent_evidence=history(20, 20, latency=1_000, quality=0.8),
        candidate_evidence=history(30, 30, latency=1_500, quality=0.6),
        incumbent_memory_mb=400.0,
        candidate_memory_mb=700.0,
    )
    assert verdict.latency_change_ms == pytest.approx(500)
    assert verdict.quality_change == pytest.approx(-0.2)
    assert verdict.memory_change_mb == pytest.approx(300)
    assert [warning.split(" by ")[0] for warning in verdict.warnings[:2]] == ["slower", "mean quality lower"]
    assert "300 MB more memory" in verdict.warnings[2]


@pytest.mark.requirement("SWP-3")
def test_energy_is_compared_as_it_was_measured_and_ten_percent_more_warns() -> None:
    def believed(mwh: float) -> Belief:
        gauge = Gauge(10.0, math.log(mwh), 0.0)
        known = Performance(answered=10.0, asked=10.0, energy_mwh=gauge)
        return Belief(mean=0.5, sd=0.1, index=0.5, weight=10.0, performance=known)

    frugal = check(incumbent=OLD, candidate=NEW, incumbent_belief=believed(4.0), candidate_belief=believed(3.0))
    assert frugal.energy_change_mwh == pytest.approx(-1.0)
    assert not any("energy" in warning for warning in frugal.warnings)
    hungry = check(incumbent=OLD, candidate=NEW, incumbent_belief=believed(4.0), candidate_belief=believed(5.0))
    assert "needs 1 mWh more energy per request" in hungry.warnings
    assert check(incumbent=OLD, candidate=NEW, candidate_belief=believed(5.0)).energy_change_mwh is None


def test_without_measurements_no_change_is_made_up() -> None:
    verdict = check(incumbent=OLD, candidate=NEW, candidate_evidence=history(20, 20))
    assert (verdict.latency_change_ms, verdict.quality_change, verdict.memory_change_mb) == (None, None, None)


def test_the_first_version_of_a_task_has_nothing_to_be_compared_with() -> None:
    verdict = check(incumbent=None, candidate=NEW, candidate_evidence=history(1, 1))
    assert verdict.compatible
    assert verdict.warnings == ()


def test_unknown_context_lost_abilities_and_a_deprecated_status_are_warned_about() -> None:
    candidate = replace(version("new", context=None, capabilities="chat"), status=Lifecycle.DEPRECATED)
    verdict = check(incumbent=OLD, candidate=candidate, candidate_evidence=history(1, 1), in_use_context=100)
    assert verdict.compatible
    assert verdict.warnings == (
        "context length is not known, 100 tokens are in use",
        "its status is deprecated",
        "loses capability tools, which the task does not require",
    )


def test_a_task_by_which_judges_are_chosen_needs_no_history_since_judging_leaves_none() -> None:
    for task in ("judgment", "judgment.safety"):
        assert not check(incumbent=OLD, candidate=NEW, task=task).warnings
        assert check(incumbent=OLD, candidate=NEW, task=task, strict=True).compatible
    assert not check(incumbent=OLD, candidate=NEW, task="judgments", strict=True).compatible
