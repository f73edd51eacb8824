"""The machine is read, not guessed: numbers agree with the kernel's, and what is missing says why."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from podium import host, nvml
from podium.host import Host


@pytest.fixture(autouse=True)
def forget_devices():
    host._kinds.cache_clear()
    yield
    host._kinds.cache_clear()


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


class NVMLError(Exception):
    pass


@pytest.fixture
def driver(monkeypatch):
    """A machine with an NVIDIA driver; ``driver.devices`` are its (name, bytes)."""
    library = types.ModuleType("pynvml")
    library.NVMLError = NVMLError
    library.devices = [(b"Old Driver GPU", 8 << 30), ("New Driver GPU", 24 << 30)]
    library.open = 0

    def init():
        library.open += 1

    def shutdown():
        library.open -= 1

    library.nvmlInit, library.nvmlShutdown = init, shutdown
    library.nvmlDeviceGetCount = lambda: len(library.devices)
    library.nvmlDeviceGetHandleByIndex = lambda index: library.devices[index]
    library.nvmlDeviceGetName = lambda device: device[0]
    library.nvmlDeviceGetMemoryInfo = lambda device: types.SimpleNamespace(total=device[1])
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(nvml.shutil, "which", lambda name: f"/usr/bin/{name}")
    return library


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
    driver.devices = []
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
    (device,) = [each for each in Host().facts().accelerators if each.kind == "metal"]
    assert device.memory_bytes == Host().facts().memory_bytes
