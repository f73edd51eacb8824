"""What requests cost on the instance they share: parts that add up, peaks that are seen."""

from __future__ import annotations

import pytest

from fakes import MB, FakeClock
from podium.domain.instance import ProcessUsage
from podium.services.meter import Meter


class Counted:
    """An instance whose counters the test turns."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.memory = 100 * MB
        self.readable = True

    def usage(self) -> ProcessUsage | None:
        return ProcessUsage(cpu_s=self.cpu_s, memory_bytes=self.memory) if self.readable else None


@pytest.mark.requirement("COST-1")
def test_concurrent_requests_share_the_cpu_time_of_the_intervals_they_share() -> None:
    clock, instance = FakeClock(), Counted()
    meter = Meter(clock)

    def work(seconds: float) -> None:
        clock.time += seconds
        instance.cpu_s += seconds

    meter.begin("i", instance, "a")  # type: ignore[arg-type] # the meter only asks for usage
    work(1.0)
    meter.begin("i", instance, "b")  # type: ignore[arg-type] # as above
    work(2.0)
    first = meter.end("i", "a")
    work(4.0)
    second = meter.end("i", "b")
    assert first.cpu_ms == pytest.approx(2000)
    assert second.cpu_ms == pytest.approx(5000)
    work(8.0)  # nobody's
    meter.begin("i", instance, "c")  # type: ignore[arg-type] # as above
    work(1.0)
    assert meter.end("i", "c").cpu_ms == pytest.approx(1000)


@pytest.mark.requirement("COST-1")
def test_a_peak_between_start_and_end_is_seen_by_the_sweep_and_only_by_who_ran_then() -> None:
    clock, instance = FakeClock(), Counted()
    meter = Meter(clock)
    meter.begin("i", instance, "early")  # type: ignore[arg-type] # the meter only asks for usage
    instance.memory = 900 * MB
    meter.sweep()
    instance.memory = 200 * MB
    meter.begin("i", instance, "late")  # type: ignore[arg-type] # as above
    assert meter.end("i", "early").peak_memory_mb == 900
    assert meter.end("i", "late").peak_memory_mb == 200


@pytest.mark.requirement("COST-1")
def test_what_cannot_be_read_is_unknown_and_not_zero() -> None:
    clock, instance = FakeClock(), Counted()
    meter = Meter(clock)
    instance.readable = False
    meter.begin("i", instance, "a")  # type: ignore[arg-type] # the meter only asks for usage
    unknown = meter.end("i", "a")
    assert (unknown.cpu_ms, unknown.peak_memory_mb) == (None, None)
    instance.readable = True
    meter.begin("i", instance, "b")  # type: ignore[arg-type] # as above
    instance.readable = False  # its process died meanwhile
    meter.sweep()
    half = meter.end("i", "b")
    assert (half.cpu_ms, half.peak_memory_mb) == (None, 100)
    assert meter.end("i", "never begun") == unknown
