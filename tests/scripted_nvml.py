"""NVML by script: what its Python library answers on a machine with NVIDIA GPUs. No test here has such hardware."""

from __future__ import annotations

import types
from dataclasses import dataclass, field

GB = 1 << 30


class NVMLError(Exception):
    pass


@dataclass
class Gpu:
    name: str | bytes
    total: int
    uuid: str | bytes = "GPU-0000"
    free: int = 0
    compute: dict[int, int | None] = field(default_factory=dict)
    """Bytes by process number."""
    graphics: dict[int, int | None] = field(default_factory=dict)
    percent: int | None = 0
    millijoules: float | None = None
    samples: list[tuple[int, int, int]] | None = None
    """(process, microseconds, percent of its use); ``None``: the device does not tell."""


def library(*gpus: Gpu) -> types.ModuleType:
    """A module to put where ``pynvml`` is; ``gpus`` may be changed, ``open`` counts who holds it open."""
    made = types.ModuleType("pynvml")
    made.NVMLError = NVMLError
    made.gpus = list(gpus)
    made.open = 0
    made.asked = 0

    def init():
        made.open += 1

    def shutdown():
        made.open -= 1

    def processes(table, counted=0):
        made.asked += counted
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in table.items()]

    made.nvmlInit, made.nvmlShutdown = init, shutdown
    made.nvmlDeviceGetCount = lambda: len(made.gpus)
    made.nvmlDeviceGetHandleByIndex = lambda index: made.gpus[index]
    made.nvmlDeviceGetName = lambda gpu: gpu.name
    made.nvmlDeviceGetUUID = lambda gpu: gpu.uuid
    made.nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(total=gpu.total, free=gpu.free)
    made.nvmlDeviceGetComputeRunningProcesses = lambda gpu: processes(gpu.compute)
    made.nvmlDeviceGetGraphicsRunningProcesses = lambda gpu: processes(gpu.graphics, counted=1)

    def known(value):
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def samples(gpu, since):
        return [
            types.SimpleNamespace(pid=pid, timeStamp=at, smUtil=used)
            for pid, at, used in known(gpu.samples)
            if at > since
        ]

    made.nvmlDeviceGetUtilizationRates = lambda gpu: types.SimpleNamespace(gpu=known(gpu.percent))
    made.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: known(gpu.millijoules)
    made.nvmlDeviceGetProcessUtilization = samples
    return made
