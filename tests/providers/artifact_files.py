"""Writes folders as frameworks leave them, with weights too small to compute, so that tests can change one thing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
README = '---\nlanguage: en\nlicense: "apache-2.0"  # as its base\nbase_model: some/base\n---\n# Mine\n\nlicense: no\n'
GENAI: dict[str, Any] = {
    "model": {
        "type": "llama",
        "context_length": 2048,
        "decoder": {"filename": "model.onnx", "num_hidden_layers": 2, "num_key_value_heads": 2, "head_size": 16},
    },
    "search": {"do_sample": True, "top_k": 50},
}
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4}


def safetensors(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None, **wrong: Any
) -> bytes:
    """A whole file. ``wrong`` replaces the entry of a tensor by its name."""
    head: dict[str, Any] = {"__metadata__": dict(metadata or {"format": "pt"})}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = WIDTHS[dtype]
        for each in shape:
            size *= each
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head |= wrong
    raw = json.dumps(head).encode()
    return struct.pack("<Q", len(raw)) + raw + b"\0" * at


WEIGHTS = safetensors({"embed": ("BF16", (8, 64)), "norm": ("F32", (64,))})


def llama(folder: Path, **config: Any) -> Path:
    """What ``save_pretrained`` of model and tokenizer leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "model_max_length": 10**30}))
    return folder


def onnx(folder: Path) -> Path:
    """What onnxruntime-genai's model builder leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "genai_config.json").write_text(json.dumps(GENAI))
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "model.onnx.data").write_bytes(b"\0" * 1000)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def coreml(folder: Path) -> Path:
    """A package with its tokenizer."""
    llama(folder)
    (folder / "model.safetensors").unlink()
    weights = folder / "Model.mlpackage" / "Data" / "weights"
    weights.mkdir(parents=True)
    (weights / "weight.bin").write_bytes(b"\0" * 500)
    return folder
