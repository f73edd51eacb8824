"""The machine is read, not guessed: numbers agree with the kernel's, and what is missing says why."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from podium import nvml
from podium.host import Host
from podium.host import machine as host
from podium.ports import RAM
from scripted_nvml import GB, Gpu, NVMLError, library


@pytest.fixture(autouse=True)
def forget_devices():
    host._kinds.cache_clear()
    nvml.opened.cache_clear()
    yield
    host._kinds.cache_clear()
    nvml.opened.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with /proc")
def test_processors_and_memory_agree_with_the_kernel():
    facts = Host().facts()
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert facts.memory_bytes == int(total.split()[1]) * 1024
    assert 0 < facts.memory_available_bytes <= facts.memory_bytes
    assert facts.cores_logical == os.cpu_count()
    assert facts.cores_physical is None or 1 <= facts.cores_physical <= facts.cores_logical
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    if names:
        assert facts.cpu_model == names[0].partition(":")[2].strip()


def test_every_kind_is_either_found_with_evidence_or_missing_with_a_reason():
    facts = Host().facts()
    found = {device.kind for device in facts.accelerators}
    missing = dict(facts.unavailable)
    for kind in ("cuda", "rocm", "vulkan", "metal"):
        assert (kind in found) != (kind in missing)
    assert all(device.evidence for device in facts.accelerators)
    assert all(missing.values())


def test_a_model_may_always_run_on_the_cpu_and_only_on_what_was_found():
    found = {device.kind for device in Host().facts().accelerators}
    assert Host().kinds() == {"cpu", *found}


@pytest.fixture
def driver(monkeypatch):
    """A machine with an NVIDIA driver; ``driver.gpus`` are its devices."""
    made = library(
        Gpu(b"Old Driver GPU", 8 * GB, b"GPU-aaaa", 5 * GB), Gpu("New Driver GPU", 24 * GB, "GPU-bbbb", 9 * GB)
    )
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(nvml.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


def test_nvidia_devices_are_listed_as_their_library_names_them(driver):
    facts = Host().facts()
    cards = [device for device in facts.accelerators if device.kind == "cuda"]
    assert [(card.name, card.memory_bytes) for card in cards] == [
        ("Old Driver GPU", 8 << 30),
        ("New Driver GPU", 24 << 30),
    ]
    assert "cuda" not in dict(facts.unavailable)
    assert "cuda" in Host().kinds()
    assert driver.open == 0


def test_a_driver_that_does_not_answer_or_lists_nothing_is_a_reason_not_a_crash(driver, monkeypatch):
    driver.gpus = []
    assert dict(Host().facts().unavailable)["cuda"] == "NVML lists no device"
    assert driver.open == 0

    def fail():
        raise NVMLError("Driver/library version mismatch")

    driver.nvmlInit = fail
    assert "version mismatch" in dict(Host().facts().unavailable)["cuda"]
    driver.nvmlInit = lambda: None
    driver.nvmlShutdown = lambda: None
    driver.nvmlDeviceGetCount = fail
    assert "version mismatch" in dict(Host().facts().unavailable)["cuda"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in dict(Host().facts().unavailable)["cuda"]


def test_an_apple_silicon_mac_has_metal(monkeypatch):
    monkeypatch.setattr(host.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(host.platform, "machine", lambda: "arm64")
    printed = {"system_profiler": "system_profiler_m3.json", "sysctl": "sysctl_m3.txt"}
    folder = Path(__file__).parent / "data" / "hardware"
    monkeypatch.setattr(
        host.accelerators,
        "_said",
        lambda command: (folder / printed[command[0]]).read_text() if command[0] in printed else None,
    )
    (device,) = [each for each in Host().facts().accelerators if each.kind == "metal"]
    assert (device.name, device.memory_bytes) == ("Apple M3 Max", 64 * GB)
    facts = Host().facts()
    assert [step.backend for step in facts.plan.steps] == ["metal", "cpu"]
    assert "NEON" in facts.cpu_features


@pytest.mark.requirement("POOL-2", "PRV-8")
def test_the_devices_are_the_memory_and_every_gpu_with_its_size_and_free_bytes(driver):
    assert Host().devices()[1:] == (("cuda:0", 8 * GB), ("cuda:1", 24 * GB))
    assert Host().devices()[0][0] == RAM
    assert (Host().free_bytes("cuda:0"), Host().free_bytes("cuda:1")) == (5 * GB, 9 * GB)
    driver.gpus[1].free = 3 * GB
    assert Host().free_bytes("cuda:1") == 3 * GB
    assert Host().free_bytes("cuda:2") is None
    assert driver.open == 1

    def fail(_):
        raise NVMLError("GPU is lost")

    driver.nvmlDeviceGetMemoryInfo = fail
    assert Host().free_bytes("cuda:1") is None


@pytest.mark.parametrize(
    ("visible", "seen"),
    [("1", ["cuda:1"]), ("0,1", ["cuda:0", "cuda:1"]), ("GPU-b", ["cuda:1"]), ("", []), ("-1", []), ("7", [])],
)
def test_only_gpus_that_podium_may_see_are_devices_under_their_own_numbers(driver, monkeypatch, visible, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device for device, _ in Host().devices()[1:]] == seen


def test_without_a_driver_the_memory_is_the_only_device(monkeypatch):
    monkeypatch.setattr(nvml, "has_driver", lambda: False)
    assert [device for device, _ in Host().devices()] == [RAM]
    assert Host().free_bytes("cuda:0") is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with /proc")
@pytest.mark.requirement("POOL-2")
def test_free_memory_agrees_with_the_kernel():
    text = Path("/proc/meminfo").read_text()
    known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()}
    free = Host().free_bytes(RAM)
    assert 0 < free <= known["MemAvailable"] + (512 << 20)
    assert free <= Host().devices()[0][1] <= known["MemTotal"]


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A machine of 16 GiB with 10 GiB available, seen from a cgroup inside a cgroup, both version 2."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable:   {10 << 20} kB\n")
    (proc / "self" / "cgroup").write_text("9:name=systemd:/\n0::/outer/inner\n")
    (groups / "outer" / "inner").mkdir(parents=True)
    monkeypatch.setattr(host, "_PROC", proc)
    monkeypatch.setattr(host, "_CGROUPS", groups)
    monkeypatch.setattr(nvml, "has_driver", lambda: False)

    def limit(name, largest, used, cached):
        folder = groups / name
        (folder / "memory.max").write_text(f"{largest}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached - 7}\nactive_file 7\n")

    return limit


@pytest.mark.requirement("POOL-2")
def test_the_tightest_limit_of_the_containers_around_counts_and_cached_files_are_free(container):
    assert (Host().devices(), Host().free_bytes(RAM)) == (((RAM, 16 * GB),), 10 * GB)
    container("outer/inner", "max", 3 * GB, GB)
    assert Host().devices() == ((RAM, 16 * GB),)
    container("outer", 4 * GB, 3 * GB, GB)
    assert Host().devices() == ((RAM, 4 * GB),)
    assert Host().free_bytes(RAM) == 2 * GB
    container("outer/inner", 3 * GB, 3 * GB, GB)
    assert (Host().devices(), Host().free_bytes(RAM)) == (((RAM, 3 * GB),), GB)
    container("outer/inner", 3 * GB, 9 * GB, GB)
    assert Host().free_bytes(RAM) == 0
    container("outer/inner", 30 * GB, 20 * GB, GB)
    container("outer", 30 * GB, 1 * GB, GB)
    assert Host().free_bytes(RAM) == 10 * GB


@pytest.mark.requirement("SWP-9")
def test_memory_pressure_is_what_the_kernel_says_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_PROC", tmp_path)
    assert Host().memory_pressure() is None
    (tmp_path / "pressure").mkdir()
    file = tmp_path / "pressure" / "memory"
    file.write_text("some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n")
    assert Host().memory_pressure() == 0.125
    file.write_text("what?\n")
    assert Host().memory_pressure() is None
