"""Energy counters are read where they are readable, and what stands in for them says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.domain.cost import Method
from podium.host.power import HostPower, packages, why_no_counter

MILAN = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nstepping\t: 1\n"


class Machine:
    """Two packages under a folder, and a ``/proc``."""

    def __init__(self, folder: Path) -> None:
        self.powercap, self.proc = folder / "powercap", folder / "proc"
        self.proc.mkdir()
        (self.proc / "cpuinfo").write_text(MILAN)
        for name, kind in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl-mmio:0", "package-0"),
            ("dtpm", "dtpm"),
        ):
            (self.powercap / name).mkdir(parents=True)
            (self.powercap / name / "name").write_text(f"{kind}\n")
            (self.powercap / name / "max_energy_range_uj").write_text("100000000\n")
        self.joules, self.ticks = [0.0, 0.0], 0
        self.write()

    def write(self) -> None:
        for number, joules in enumerate(self.joules):
            (self.powercap / f"intel-rapl:{number}" / "energy_uj").write_text(f"{int(joules * 1e6) % 100_000_000}\n")
        cores = "".join(f"cpu{number} 0 0 0 0 0 0 0 0 0 0\n" for number in range(4))
        (self.proc / "stat").write_text(f"cpu  {self.ticks} 0 0 99 0 0 0 0 0 0\n{cores}intr 1\n")

    def run(self, cpu_s: float, joules: float) -> None:
        self.ticks += int(cpu_s * 100)
        self.joules = [each + joules / 2 for each in self.joules]
        self.write()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.requirement("COST-1")
def test_whole_packages_are_added_up_above_idle_and_shared_by_cpu_time(machine: Machine) -> None:
    assert [folder.name for folder in packages(machine.powercap)] == ["intel-rapl:0", "intel-rapl:1"]
    power = HostPower(powercap=machine.powercap, proc=machine.proc)
    assert power.cpu().method is Method.ESTIMATED, "nothing was measured yet"
    power.sample(0.0)
    machine.run(0.0, 40.0)
    power.sample(2.0)  # idle: 20 W
    machine.run(4.0, 20.0 + 24.0)
    power.sample(3.0)
    now = power.cpu()
    assert (now.method, now.joules, now.idle_watts) == (Method.MEASURED, pytest.approx(6.0), pytest.approx(20.0))
    assert "package-0, package-1" in now.source


def test_a_counter_that_starts_anew_goes_on(machine: Machine) -> None:
    power = HostPower(powercap=machine.powercap, proc=machine.proc, idle_watts=0.0)
    machine.run(0.0, 199.0)
    power.sample(0.0)
    machine.run(4.0, 4.0)  # each counter passes 100 J and starts anew
    power.sample(1.0)
    assert power.cpu().joules == pytest.approx(1.0)


@pytest.mark.requirement("COST-1")
def test_without_a_readable_counter_the_model_stands_in_and_doctor_says_why(machine: Machine) -> None:
    for number in (0, 1):
        (machine.powercap / f"intel-rapl:{number}" / "energy_uj").unlink()
    power = HostPower(powercap=machine.powercap, proc=machine.proc)
    power.sample(0.0)
    power.sample(1.0)
    assert (power.cpu().method, power.cpu().joules) == (Method.ESTIMATED, pytest.approx(1.42))
    assert "root only" in str(why_no_counter(machine.powercap))
    assert "is not there" in str(why_no_counter(machine.powercap / "none"))
    configured = HostPower(powercap=machine.powercap, proc=machine.proc, watts_per_core=9.0)
    assert configured.cpu().joules == 9.0


def test_nonsense_in_the_counters_is_no_reading(machine: Machine) -> None:
    power = HostPower(powercap=machine.powercap, proc=machine.proc, idle_watts=0.0)
    power.sample(0.0)
    machine.run(4.0, 8.0)
    power.sample(1.0)
    (machine.powercap / "intel-rapl:0" / "energy_uj").write_text("what?")
    (machine.proc / "stat").write_text("cpu")
    power.sample(2.0)
    assert power.cpu().joules == pytest.approx(2.0)
