"""Estimates what the worker of an artifact needs, until its first load is measured; and the number format on the CPU.

Weights in the number format they will run in, the key-value cache for the whole context, and the framework itself,
whose resident size was measured on Linux with torch 2.13 (the build for CUDA) and onnxruntime-genai 0.18.
"""

from __future__ import annotations

import contextlib
import re
from functools import cache
from pathlib import Path

from podium.domain.model import Facts
from podium.providers.artifact_frameworks import Framework

MB = 1024 * 1024
BASE_BYTES = {
    Framework.PYTORCH: 740 * MB,
    Framework.ONNX: 75 * MB,
    Framework.MLX: 400 * MB,
    Framework.COREML: 400 * MB,
}
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_CPUINFO = Path("/proc/cpuinfo")
_HAS_BF16 = re.compile(r"^(?:flags|Features)\s*:.*\b(?:avx512_bf16|amx_bf16|bf16)\b", re.MULTILINE)


def estimate(facts: Facts, framework: Framework, *, dtype: str, context: int, on_gpu: bool) -> int | None:
    """Bytes; ``None`` when the files do not say how large the weights are. ``dtype`` as in the settings."""
    if facts.size_bytes is None:
        return None
    stored = _STORED.get(facts.quantization or "")
    weights, cached = facts.size_bytes, (facts.kv_bytes_per_token or 0) * context
    if framework is Framework.PYTORCH and stored is not None:
        runs = _WIDTHS.get(dtype) or (2 if on_gpu else _WIDTHS[cpu_dtype(facts.quantization)])
        weights, cached = weights * runs // stored, cached * runs // min(stored, 4)
    return weights + cached + BASE_BYTES[framework]


def cpu_dtype(stored: str | None) -> str:
    """bf16 for weights stored so, on a processor with instructions for it; else 32 bits.

    Without them bf16 was measured to read a prompt four times slower than 32 bits, and to write a fifth slower.
    """
    return "bfloat16" if stored == "BF16" and _has_bf16() else "float32"


@cache
def _has_bf16() -> bool:
    with contextlib.suppress(OSError):
        return _HAS_BF16.search(_CPUINFO.read_text(errors="replace")) is not None
    return False
