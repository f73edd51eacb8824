"""Which device and number format PyTorch uses, and how weights get there. Nothing is unpickled unless it was allowed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .backend import CannotLoad

AUTO = "auto"
_DTYPE_SINCE = (4, 56)
"""transformers called ``dtype`` ``torch_dtype`` before."""


def pick_device(torch: Any, order: Mapping[str, Any]) -> Any:
    """The device that was ordered; for ``auto`` CUDA or ROCm (which call themselves ``cuda``), XPU, Metal, else the CPU.

    Raises ``CannotLoad`` when the one that was ordered is not there: slower than ordered is not what was asked for.
    """
    wanted = order["device"]
    if wanted == AUTO:
        return torch.device(next((name for name in ("cuda", "xpu", "mps") if _has(torch, name)), "cpu"))
    kind = wanted.partition(":")[0]
    if kind != "cpu" and not _has(torch, kind):
        raise CannotLoad(
            f"PyTorch {torch.__version__} in {order['python']} finds no {wanted}; install a build for it "
            f"({order['install']}), or set device=ram"
        )
    return torch.device(wanted)


def pick_dtype(torch: Any, order: Mapping[str, Any], device: Any) -> Any:
    """The format that was ordered; else bf16 on GPUs that have it and fp16 on others, and on the CPU what Podium found
    it to be good at.
    """
    wanted = order["dtype"]
    if wanted != AUTO:
        return getattr(torch, wanted)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type in ("mps", "xpu"):
        return torch.float16
    return getattr(torch, order["cpu_dtype"])


def load_model(torch: Any, transformers: Any, order: Mapping[str, Any], dtype: Any, shared: Mapping[str, Any]) -> Any:
    """The model on the CPU. Raises what transformers raises."""
    kind = transformers.AutoModel if order["embedding"] else transformers.AutoModelForCausalLM
    numbers = tuple(int(each) for each in transformers.__version__.split(".")[:2])
    named = {"dtype" if numbers >= _DTYPE_SINCE else "torch_dtype": dtype}
    if order["quantized"]:
        named = {}  # its own quantizer knows
    folder, weights = Path(order["path"]), order["pickles"]
    if not weights:
        return kind.from_pretrained(folder, use_safetensors=True, **named, **shared)
    if all(name.startswith("pytorch_model") for name in weights):
        return kind.from_pretrained(folder, use_safetensors=False, **named, **shared)
    return _from_state(torch, transformers, kind, folder, weights, dtype, shared)


def _from_state(
    torch: Any, transformers: Any, kind: Any, folder: Path, weights: list[str], dtype: Any, shared: Mapping[str, Any]
) -> Any:
    """Weights that a training script saved with ``torch.save``. ``weights_only`` keeps torch from running their code."""
    if len(weights) != 1:
        raise CannotLoad(f"which of {', '.join(weights)} holds the weights? leave one, or save with save_pretrained")
    path = folder / weights[0]
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    config = transformers.AutoConfig.from_pretrained(folder, **shared)
    model = kind.from_config(config, trust_remote_code=shared["trust_remote_code"]).to(dtype)
    missing, unexpected = model.load_state_dict(state, strict=False)
    model.tie_weights()
    tied = set(getattr(model, "all_tied_weights_keys", None) or getattr(model, "_tied_weights_keys", None) or ())
    lost = [name for name in missing if name not in tied]
    if lost or unexpected:
        raise CannotLoad(
            f"{weights[0]} does not fit config.json: {len(lost)} weights are missing ({', '.join(lost[:3])}), "
            f"{len(unexpected)} unknown ({', '.join(unexpected[:3])})"
        )
    return model


def _has(torch: Any, kind: str) -> bool:
    if kind == "mps":
        return bool(torch.backends.mps.is_available())
    module = getattr(torch, kind, None)
    return bool(module is not None and module.is_available())
