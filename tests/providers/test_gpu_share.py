"""Time and energy of GPUs go to the processes that used them, as far as the driver tells them apart."""

from __future__ import annotations

import sys

import pytest

from podium import nvml
from podium.nvml import Nvml
from podium.providers.gpu_share import GpuShare
from scripted_nvml import GB, Gpu, library


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch):
    found = library(Gpu("A", 24 * GB, "GPU-a"))
    monkeypatch.setitem(sys.modules, "pynvml", found)
    monkeypatch.setattr(nvml, "_numbers_are_the_hosts", lambda: True)
    return found


def run(made, steps, pids=(7,)) -> GpuShare:
    """Each step: (seconds, utilisation in percent, joules so far, utilisation by process or None)."""
    share, now, gpu = GpuShare(Nvml(made, None)), 0.0, made.gpus[0]
    for seconds, percent, joules, used in steps:
        now += seconds
        gpu.percent, gpu.millijoules = percent, None if joules is None else joules * 1000
        gpu.samples = None if used is None else [(pid, int(now * 1e6), part) for pid, part in used.items()]
        share.read(pids, now)
    return share


@pytest.mark.requirement("COST-1")
def test_the_only_process_on_a_gpu_gets_all_above_idle_power(made) -> None:
    made.gpus[0].compute = {7: GB}
    share = run(made, [(0, 0, 0.0, None), (1, 0, 50.0, None), (1, 0, 100.0, None), (2, 100, 600.0, None)])
    # the first second may have been busy before; the second is idle at 50 W
    assert share.busy_s == pytest.approx(2.0)
    assert share.joules == pytest.approx(50.0 + 0.0 + 400.0)


@pytest.mark.requirement("COST-1")
def test_two_processes_share_by_their_own_utilisation(made) -> None:
    made.gpus[0].compute = {7: GB, 8: GB}
    share = run(made, [(0, 0, 0.0, {}), (1, 80, 100.0, {7: 60, 8: 20})])
    assert (share.busy_s, share.joules) == (pytest.approx(0.6), pytest.approx(75.0))


def test_where_nobody_tells_two_processes_apart_nothing_is_known(made) -> None:
    made.gpus[0].compute = {7: GB, 8: GB}
    share = run(made, [(0, 0, 0.0, None), (1, 80, 100.0, None)])
    assert (share.busy_s, share.joules) == (None, None)


def test_a_gpu_on_which_only_others_run_costs_nothing(made) -> None:
    made.gpus[0].compute = {8: GB}
    share = run(made, [(0, 0, 0.0, {}), (1, 80, 100.0, {8: 80})])
    assert (share.busy_s, share.joules) == (0.0, 0.0)


def test_a_gpu_without_an_energy_counter_tells_its_time_only(made) -> None:
    made.gpus[0].compute = {7: GB}
    share = run(made, [(0, 0, None, None), (1, 50, None, None)])
    assert (share.busy_s, share.joules) == (pytest.approx(0.5), None)


def test_a_counter_or_a_clock_that_goes_back_is_no_energy(made) -> None:
    made.gpus[0].compute = {7: GB}
    share = run(made, [(0, 50, 100.0, None), (-1, 50, 200.0, None), (2, 50, 150.0, None)])
    assert share.busy_s == pytest.approx(0.5)
    assert share.joules == pytest.approx(50.0)
