"""Estimates what the worker of an artifact needs, until its first load is measured. Pure.

Weights in the number format they will run in, the key-value cache for the whole context, and the framework itself,
whose resident size was measured on Linux with the CPU builds of torch 2.13 and onnxruntime-genai 0.18.
"""

from __future__ import annotations

from podium.domain.model import Facts
from podium.providers.artifact_frameworks import Framework

MB = 1024 * 1024
BASE_BYTES = {
    Framework.PYTORCH: 480 * MB,
    Framework.ONNX: 110 * MB,
    Framework.MLX: 400 * MB,
    Framework.COREML: 400 * MB,
}
_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
_STORED = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def estimate(facts: Facts, framework: Framework, *, dtype: str, context: int, on_gpu: bool) -> int | None:
    """Bytes; ``None`` when the files do not say how large the weights are. ``dtype`` as in the settings."""
    if facts.size_bytes is None:
        return None
    stored = _STORED.get(facts.quantization or "")
    weights, cache = facts.size_bytes, (facts.kv_bytes_per_token or 0) * context
    if framework is Framework.PYTORCH and stored is not None:
        runs = _WIDTHS.get(dtype) or (2 if on_gpu or facts.quantization == "BF16" else 4)
        weights, cache = weights * runs // stored, cache * runs // min(stored, 4)
    return weights + cache + BASE_BYTES[framework]
