"""Memory is what the kernel says of the whole tree of processes: allocated, shared, swapped, and mapped apart."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from waiting import until_async

from podium import nvml
from podium.providers import procfs
from podium.providers.process import Command, ManagedProcess
from podium.providers.usage import FAMILY_S, GPU_S, ProcessTree
from scripted_nvml import GB, Gpu, NVMLError, library

pytestmark = [
    pytest.mark.requirement("POOL-2", "COST-1"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
MB = 1 << 20
ALLOCATED = 96 * MB
GROW = """
import mmap, os, signal, sys, time
def touch(data):
    data[::4096] = b"x" * len(range(0, len(data), 4096))
def grow(how, size, path):
    if how == "anonymous":
        held = bytearray(size); touch(held)
    elif how == "shared":
        held = mmap.mmap(-1, size)
        for at in range(0, size, 4096): held[at] = 1
    elif how == "file":
        held = mmap.mmap(os.open(path, os.O_RDONLY), size, mmap.MAP_SHARED, mmap.PROT_READ)
        for at in range(0, size, 4096): held[at]
    elif how == "private-file":
        held = mmap.mmap(os.open(path, os.O_RDONLY), size, mmap.MAP_PRIVATE, mmap.PROT_READ)
        for at in range(0, size, 4096): held[at]
    return held
how, size, path, who = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
if who == "orphan" and os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    print(f"ready {os.getpid()}", flush=True)
elif who == "grandchild" and os.fork() == 0:
    if os.fork(): os.wait()
    print(f"ready {os.getpid()}", flush=True)
elif who == "child":
    print(f"ready {os.getpid()}", flush=True)
else:
    time.sleep(600)
signal.sigwait({signal.SIGUSR1})
held = grow(how, size, path)
print("grown", flush=True)
time.sleep(600)
"""
"""Waits for SIGUSR1, then takes memory of one kind, in the command itself or far below it."""


async def growth(home: Path, how: str, who: str = "child"):
    """(private, file) bytes by which the usage of a command grew when it took ``ALLOCATED`` bytes."""
    path = home / "weights"
    path.write_bytes(os.urandom(MB) * (ALLOCATED // MB))
    argv = [sys.executable, "-c", GROW, how, str(ALLOCATED), str(path), who]
    process = await ManagedProcess.start(home, "one", Command(argv=argv, env=dict(os.environ)))
    try:
        ready = await until_async(
            lambda: next((e for e in process.log_tail().splitlines() if e.startswith("ready")), None)
        )
        before = ProcessTree(process.pid, process._guard.pid).usage()
        os.kill(int(ready.split()[1]), signal.SIGUSR1)
        await until_async(lambda: "grown" in process.log_tail())
        after = ProcessTree(process.pid, process._guard.pid).usage()
        assert process.usage() is not None
        assert after.memory_bytes == after.private_bytes + after.file_bytes
        return after.private_bytes - before.private_bytes, after.file_bytes - before.file_bytes
    finally:
        await process.stop(grace_s=0)


@pytest.mark.parametrize("who", ["child", "grandchild", "orphan"])
async def test_what_any_process_of_the_tree_allocates_counts_to_five_percent(home, who):
    private, file = await growth(home, "anonymous", who)
    assert private == pytest.approx(ALLOCATED, rel=0.05)
    assert file < ALLOCATED * 0.05


async def test_shared_memory_counts_as_memory_that_cannot_be_taken_away(home):
    private, file = await growth(home, "shared")
    assert private == pytest.approx(ALLOCATED, rel=0.05)
    assert file < ALLOCATED * 0.05


@pytest.mark.parametrize("how", ["file", "private-file"])
async def test_mapped_weights_count_for_the_budget_but_apart(home, how):
    private, file = await growth(home, how)
    assert file == pytest.approx(ALLOCATED, rel=0.05)
    assert private < ALLOCATED * 0.05


def test_memory_that_was_swapped_out_still_counts(monkeypatch):
    """This machine has no swap; the kernel's text is given instead."""
    status = b"Name:\tllama\nVmRSS:\t  300 kB\nRssAnon:\t  100 kB\nRssFile:\t  150 kB\nRssShmem:\t   50 kB\nVmSwap:\t 7000 kB\n"
    monkeypatch.setattr(procfs, "_read", lambda path: status)
    assert procfs.memory(1) == procfs.Memory(private=7150 * 1024, file=150 * 1024)


def test_a_process_that_is_gone_uses_nothing_and_says_so():
    assert procfs.memory(4_194_305) == procfs.Memory(0, 0)
    assert ProcessTree(4_194_305).usage() is None


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def driver(monkeypatch):
    made = library(Gpu("A", 24 * GB, "GPU-a"), Gpu("B", 24 * GB, "GPU-b"))
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(nvml, "has_driver", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml.opened.cache_clear()
    yield made
    nvml.opened.cache_clear()


async def test_gpu_memory_is_that_of_the_tree_on_all_devices(driver, home):
    argv = ["sh", "-c", "sleep 600 & echo below $!; wait"]
    process = await ManagedProcess.start(home, "one", Command(argv=argv, env=dict(os.environ)))
    try:
        said = await until_async(lambda: process.log_tail().startswith("below") and process.log_tail())
        driver.gpus[0].compute = {process.pid: 3 * GB, os.getpid(): 5 * GB}
        driver.gpus[0].graphics = {process.pid: 3 * GB}
        driver.gpus[1].compute = {int(said.split()[1]): 2 * GB}
        assert process.usage().gpu_memory_bytes == 5 * GB
    finally:
        await process.stop(grace_s=0)


def test_the_driver_is_asked_once_a_second_at_most(driver):
    now = Time()
    tree = ProcessTree(os.getpid(), clock=now)
    driver.gpus[0].compute = {os.getpid(): GB}
    for _ in range(5):
        assert tree.usage().gpu_memory_bytes == GB
    asked = driver.asked
    assert asked == 2  # memory on each of two devices
    now.now += GPU_S
    driver.gpus[0].compute = {os.getpid(): 2 * GB}
    assert tree.usage().gpu_memory_bytes == 2 * GB
    assert driver.asked == 2 * asked


def test_gpu_memory_is_unknown_rather_than_nothing_when_the_driver_cannot_tell(driver, monkeypatch):
    assert ProcessTree(os.getpid()).usage().gpu_memory_bytes == (0 if nvml._numbers_are_the_hosts() else None)
    monkeypatch.setattr(nvml, "_numbers_are_the_hosts", lambda: False)  # in a container
    driver.gpus[0].compute = {4_000_000: GB}
    assert ProcessTree(os.getpid()).usage().gpu_memory_bytes is None
    driver.gpus[0].compute = {os.getpid(): None}  # as on Windows
    assert ProcessTree(os.getpid()).usage().gpu_memory_bytes is None

    def fail(_):
        raise NVMLError("GPU is lost")

    driver.nvmlDeviceGetComputeRunningProcesses = fail
    assert ProcessTree(os.getpid()).usage().gpu_memory_bytes is None


def test_without_a_driver_gpu_memory_is_unknown(monkeypatch):
    nvml.opened.cache_clear()
    monkeypatch.setattr(nvml, "has_driver", lambda: False)
    assert ProcessTree(os.getpid()).usage().gpu_memory_bytes is None
    nvml.opened.cache_clear()


def test_new_descendants_are_noticed_within_half_a_second(monkeypatch):
    now = Time()
    tree = ProcessTree(os.getpid(), clock=now)
    before = tree.family()
    monkeypatch.setattr(procfs, "descendants", lambda pid: [pid, 7, 8])
    now.now += FAMILY_S / 2
    assert tree.family() == before
    now.now += FAMILY_S / 2
    assert tree.family() == (7, 8)
