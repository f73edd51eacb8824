"""What requests cost on the instance they share: parts that add up, peaks and means that are seen, energy with its method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from fakes import MB, FakeClock
from podium.core.energy import CpuPower
from podium.domain.cost import Method
from podium.domain.instance import ProcessUsage
from podium.domain.unmeasured import GONE, NO_ENERGY, NO_GPU, NO_GPU_COUNTER, NO_PROCESS
from podium.services.meter import Meter, Metered


class Counted:
    """An instance whose counters the test turns."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.memory = 100 * MB
        self.file = 0
        self.gpu: tuple[int | None, float | None, float | None] = (None, None, None)
        self.readable = True

    def usage(self) -> ProcessUsage | None:
        if not self.readable:
            return None
        held, busy, joules = self.gpu
        return ProcessUsage(
            cpu_s=self.cpu_s, memory_bytes=self.memory + self.file, file_bytes=self.file,
            gpu_memory_bytes=held, gpu_busy_s=busy, gpu_joules=joules,
        )  # fmt: skip


@dataclass
class Watts:
    """Power by script."""

    joules: float | None = 2.0
    method: Method = Method.ESTIMATED
    sampled: int = 0

    def sample(self, now: float) -> None:
        self.sampled += 1

    def cpu(self) -> CpuPower:
        return CpuPower(joules=self.joules, method=self.method, source="a test", reason="no reason")


class Bench:
    """A meter with one instance on a clock of its own."""

    def __init__(self, power: Watts | None = None) -> None:
        self.clock, self.instance = FakeClock(), Counted()
        self.meter = Meter(self.clock, power)

    def begin(self, name: str):
        return self.meter.begin("i", self.instance, name)  # type: ignore[arg-type] # the meter only asks for usage

    def end(self, name: str) -> Metered:
        return self.meter.end("i", name)

    def work(self, seconds: float, cpu: float | None = None) -> None:
        self.clock.time += seconds
        self.instance.cpu_s += seconds if cpu is None else cpu


@pytest.mark.requirement("COST-1")
def test_concurrent_requests_share_the_cpu_time_of_the_intervals_they_share() -> None:
    bench = Bench()
    bench.begin("a")
    bench.work(1.0)
    bench.begin("b")
    bench.work(2.0)
    first = bench.end("a")
    bench.work(4.0)
    second = bench.end("b")
    assert first.cpu_ms == pytest.approx(2000)
    assert second.cpu_ms == pytest.approx(5000)
    bench.work(8.0)  # nobody's
    bench.begin("c")
    bench.work(1.0)
    assert bench.end("c").cpu_ms == pytest.approx(1000)


@pytest.mark.requirement("COST-1")
def test_tokens_decide_where_they_are_known() -> None:
    bench = Bench(Watts(joules=3.6))
    counts = {"a": 0, "b": 0}
    for name in ("a", "b"):
        sharer = bench.begin(name)
        sharer.prompt, sharer.first_at, sharer.pieces = 0.0, 0.0, partial(counts.__getitem__, name)
    counts.update(a=30, b=10)
    bench.work(4.0)
    first, second = bench.end("a"), bench.end("b")
    assert (first.cpu_ms, second.cpu_ms) == (pytest.approx(3000), pytest.approx(1000))
    assert (first.energy_mwh, second.energy_mwh) == (pytest.approx(3.0), pytest.approx(1.0))


@pytest.mark.requirement("COST-1")
def test_a_peak_between_start_and_end_is_seen_by_the_sweep_and_only_by_who_ran_then() -> None:
    bench = Bench()
    bench.begin("early")
    bench.instance.memory = 900 * MB
    bench.meter.sweep()
    bench.instance.memory = 200 * MB
    bench.begin("late")
    assert bench.end("early").peak_memory_mb == 900
    assert bench.end("late").peak_memory_mb == 200


@pytest.mark.requirement("COST-1")
def test_the_mean_of_memory_is_over_time_and_mapped_weights_are_apart() -> None:
    bench = Bench()
    bench.instance.file = 300 * MB
    bench.begin("a")
    bench.clock.time += 9.0
    bench.meter.sweep()
    bench.instance.memory = 300 * MB
    bench.clock.time += 1.0
    done = bench.end("a")
    assert done.mean_memory_mb == pytest.approx(110.0)
    assert (done.peak_memory_mb, done.mapped_memory_mb) == (300, 300)


@pytest.mark.requirement("COST-1")
def test_what_cannot_be_read_is_unknown_and_not_zero_and_says_why() -> None:
    bench = Bench(Watts())
    bench.instance.readable = False
    assert bench.begin("a") is None
    unknown = bench.end("a")
    assert (unknown.cpu_ms, unknown.peak_memory_mb, unknown.energy_mwh) == (None, None, None)
    assert dict(unknown.missing) == dict.fromkeys(
        ("energy_mwh", "cpu_ms", "gpu_ms", "peak_memory_mb", "mean_memory_mb"), NO_PROCESS
    )
    assert bench.end("never begun") == unknown


def test_a_process_that_vanishes_leaves_what_was_read_before_as_an_estimate() -> None:
    bench = Bench(Watts(joules=3.6, method=Method.MEASURED))
    bench.begin("b")
    bench.work(1.0)
    bench.meter.sweep()
    bench.instance.readable = False
    bench.work(5.0)
    half = bench.end("b")
    assert (half.cpu_ms, half.peak_memory_mb, half.energy_mwh) == (pytest.approx(1000), 100, pytest.approx(1.0))
    assert half.energy_method is Method.ESTIMATED
    assert {"cpu_ms", "peak_memory_mb"} <= set(half.estimated)


def test_one_that_vanishes_at_once_says_so() -> None:
    bench = Bench(Watts())
    bench.begin("b")
    bench.instance.readable = False
    gone = bench.end("b")
    assert (gone.cpu_ms, gone.energy_mwh, dict(gone.missing)["cpu_ms"]) == (None, None, GONE)


@pytest.mark.requirement("COST-1")
def test_energy_says_how_it_came_about_or_why_it_did_not() -> None:
    assert dict(finished(None).missing)["energy_mwh"] == NO_ENERGY
    silent = finished(Watts(joules=None))
    assert (silent.energy_mwh, dict(silent.missing)["energy_mwh"]) == (None, "no reason")
    assert finished(Watts(method=Method.MEASURED)).energy_method is Method.MEASURED
    assert finished(Watts()).energy_method is Method.ESTIMATED


def finished(power: Watts | None) -> Metered:
    bench = Bench(power)
    bench.begin("a")
    bench.work(1.0)
    return bench.end("a")


@pytest.mark.requirement("COST-1")
def test_what_gpus_drew_and_how_long_they_worked_is_split_too() -> None:
    bench = Bench(Watts(joules=3.6, method=Method.MEASURED))
    bench.instance.gpu = (1 << 30, 10.0, 100.0)
    bench.begin("a")
    bench.begin("b")
    bench.work(1.0)
    bench.instance.gpu = (1 << 30, 10.5, 107.2)
    first, second = bench.end("a"), bench.end("b")
    assert (first.gpu_ms, second.gpu_ms) == (pytest.approx(250), pytest.approx(250))
    assert first.energy_mwh == pytest.approx(0.5 + 1.0)
    assert first.energy_method is Method.MEASURED


def test_a_gpu_that_nobody_counts_makes_energy_an_estimate_and_none_says_there_is_none() -> None:
    bench = Bench(Watts(method=Method.MEASURED))
    bench.instance.gpu = (1 << 30, None, None)
    bench.begin("a")
    done = bench.end("a")
    assert (dict(done.missing)["gpu_ms"], done.energy_method) == (NO_GPU_COUNTER, Method.ESTIMATED)
    assert dict(finished(Watts()).missing)["gpu_ms"] == NO_GPU


def test_counters_and_clocks_that_go_back_cost_nothing() -> None:
    bench = Bench(Watts(joules=3.6))
    bench.instance.cpu_s = 50.0
    bench.begin("a")
    bench.work(-3.0, cpu=-20.0)
    bench.meter.sweep()
    bench.work(1.0, cpu=21.0)
    done = bench.end("a")
    assert done.cpu_ms == pytest.approx(1000)
    assert done.mean_memory_mb == 100


def test_the_sweep_reads_the_energy_counters_even_when_nothing_runs() -> None:
    power = Watts()
    bench = Bench(power)
    bench.meter.sweep()
    assert power.sampled == 1
