"""Writes small, valid GGUF files, so that tests can change one thing about them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

PAIRS: tuple[tuple[str, object], ...] = (
    ("general.architecture", "llama"),
    ("general.name", "Tiny"),
    ("general.license", "mit"),
    ("general.file_type", 0),
    ("llama.context_length", 512),
    ("llama.embedding_length", 64),
    ("llama.block_count", 2),
    ("llama.attention.head_count", 8),
    ("llama.attention.head_count_kv", 4),
    ("tokenizer.ggml.tokens", ("<s>", "</s>", "a", "b")),
    ("tokenizer.ggml.scores", (0.0, 1.0, 2.0)),
    ("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}"),
)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: object) -> bytes:
    match item:
        case str():
            return struct.pack("<I", 8) + text(item)
        case int():
            return struct.pack("<II", 4, item)
        case tuple() if isinstance(item[0], str):
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(text(each) for each in item)
        case tuple():
            return struct.pack("<IIQ", 9, 6, len(item)) + struct.pack(f"<{len(item)}f", *item)
    raise AssertionError(item)


def head(
    pairs: Sequence[tuple[str, object]] = PAIRS,
    tensors: Sequence[tuple[str, tuple[int, ...]]] = (("token_embd.weight", (64, 4)),),
    version: int = 3,
) -> bytes:
    """Everything before the tensor data; every tensor is F32 and starts at 0."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    out += b"".join(text(key) + value(item) for key, item in pairs)
    for name, shape in tensors:
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", 0, 0)
    return out + b"\0" * (-len(out) % 32)


def whole(**more: object) -> bytes:
    return head(**more) + b"\0" * (64 * 4 * 4)
