"""Why a figure of a cost is missing, in the words people read. The store keeps the number of a pair: append only."""

from __future__ import annotations

NO_PROCESS = "the model's process is not ours to measure"
NOT_SENT = "the request never reached the model"
NO_USAGE = "the server reported no usage"
NO_ENERGY = "no energy counter is readable on this machine"
NO_MODEL = "no energy counter is readable, and nobody said what a core draws: [energy] watts_per_core"
NO_GPU = "the model's processes use no GPU"
NO_GPU_COUNTER = "the GPU's driver does not tell what a process uses"
GONE = "the model's process was gone when the request ended"
REMOTE = "the model runs on a machine that is not ours"
APPLE = "macOS shows the energy of the whole package to root only"
NO_ANE = "no program can read what it uses of a neural engine"
NO_PRICE = "no price of this model is known"

REASONS: tuple[tuple[str, str], ...] = (
    ("energy_mwh", NO_ENERGY),
    ("energy_mwh", NOT_SENT),
    ("energy_mwh", NO_MODEL),
    ("energy_mwh", NO_PROCESS),
    ("energy_mwh", REMOTE),
    ("energy_mwh", APPLE),
    ("energy_mwh", GONE),
    ("cpu_ms", NO_PROCESS),
    ("cpu_ms", NOT_SENT),
    ("cpu_ms", GONE),
    ("peak_memory_mb", NO_PROCESS),
    ("peak_memory_mb", NOT_SENT),
    ("mean_memory_mb", NO_PROCESS),
    ("mean_memory_mb", NOT_SENT),
    ("gpu_ms", NO_GPU),
    ("gpu_ms", NO_GPU_COUNTER),
    ("gpu_ms", NO_PROCESS),
    ("gpu_ms", NOT_SENT),
    ("output_tokens", NO_USAGE),
    ("output_tokens", NOT_SENT),
    ("price_microusd", NO_PRICE),
    ("input_tokens", NO_USAGE),
    ("gpu_ms", GONE),
    ("peak_memory_mb", GONE),
    ("mean_memory_mb", GONE),
)
"""Every (field, reason) that is stored by its place here. A pair that is not here is stored in full."""
