"""Joules of a package become joules of a CPU second: idle power apart, nonsense ignored."""

from __future__ import annotations

import pytest

from podium.core.energy import PackageRate, family_of, modelled
from podium.domain.cost import Method
from podium.domain.unmeasured import NO_MODEL


@pytest.mark.requirement("COST-1")
def test_idle_power_is_seen_and_charged_to_nobody() -> None:
    rate = PackageRate(cores=4)
    rate.read(0.0, 0.0, 0.0)
    rate.read(2.0, 20.0, 0.01)  # idle: 10 W
    assert rate.idle_watts == pytest.approx(10.0)
    rate.read(3.0, 20.0 + 10.0 + 16.0, 0.01 + 2.0)  # two cores busy for a second, 16 J above idle
    assert rate.rate == pytest.approx(8.0)


def test_configured_idle_power_comes_before_what_is_seen() -> None:
    rate = PackageRate(cores=1, idle_watts=5.0)
    rate.read(0.0, 0.0, 0.0)
    rate.read(1.0, 15.0, 1.0)
    assert (rate.idle_watts, rate.rate) == (5.0, pytest.approx(10.0))


def test_a_machine_that_hardly_works_keeps_the_rate_it_had() -> None:
    rate = PackageRate(cores=4, idle_watts=0.0)
    rate.read(0.0, 0.0, 0.0)
    rate.read(1.0, 40.0, 4.0)
    rate.read(2.0, 80.0, 4.001)
    assert rate.rate == pytest.approx(10.0)


@pytest.mark.parametrize("odd", [(0.5, 50.0, 5.0), (2.0, 1.0, 5.0), (2.0, 50.0, 0.5), (1.01, 1e9, 1.001)])
def test_readings_that_go_back_or_come_at_once_change_nothing(odd: tuple[float, float, float]) -> None:
    rate = PackageRate(cores=1, idle_watts=0.0)
    rate.read(0.0, 0.0, 0.0)
    rate.read(1.0, 10.0, 1.0)
    rate.read(*odd)
    assert rate.rate == pytest.approx(10.0)


def test_a_reading_no_hardware_can_give_is_no_reading() -> None:
    rate = PackageRate(cores=1, idle_watts=0.0)
    rate.read(0.0, 0.0, 0.0)
    rate.read(1.0, 1e6, 1.0)
    assert rate.rate is None


@pytest.mark.requirement("COST-1")
def test_the_model_takes_the_configured_watts_then_the_processors_family_then_says_why_not() -> None:
    milan = family_of("AuthenticAMD", 25, 1, 1)
    assert milan is not None
    own = modelled(7.5, 3.0, milan)
    assert (own.joules, own.method, own.idle_watts) == (7.5, Method.ESTIMATED, 3.0)
    listed = modelled(None, None, milan)
    assert listed.joules == pytest.approx(1.42)
    assert "EPYC 3rd generation" in listed.source
    unknown = modelled(None, None, family_of("GenuineIntel", 6, 999, 0))
    assert (unknown.joules, unknown.method, unknown.reason) == (None, Method.UNAVAILABLE, NO_MODEL)


def test_steppings_tell_skylake_from_cascade_lake() -> None:
    names = [getattr(family_of("GenuineIntel", 6, 85, stepping), "name", None) for stepping in (4, 7, 11)]
    assert names == ["Skylake", "Cascade Lake", None]
