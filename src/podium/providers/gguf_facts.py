"""Turns the head of a GGUF file into the facts of a version, and computes its digest.

Nothing is guessed: what the file does not say stays ``None``. It must not start anything.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from podium.domain.model import Capability, Facts
from podium.errors import InvalidRequest
from podium.providers.gguf import GgufHead, Value, read_head
from podium.providers.gguf_types import FILE_TYPES

KV_ELEMENT_BYTES = 2
"""The key-value cache is kept in F16."""
_ENCODERS = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert",
     "gemma-embedding", "t5encoder"}
)  # fmt: skip
_SANE = 1 << 40
"""A larger count in a file is nonsense."""
_digests: dict[tuple[str, int, int, int], str] = {}


async def read_facts(path: Path) -> Facts:
    """Facts of the GGUF file at ``path``, read in a thread. Raises ``InvalidRequest`` when it is not usable."""
    head = await asyncio.to_thread(read_head, path)
    digest = await asyncio.to_thread(file_digest, path)
    return facts_of(head, digest)


def facts_of(head: GgufHead, digest: str) -> Facts:
    """Facts from a parsed head and the file's digest."""
    architecture = _text(head, "general.architecture")
    template = _text(head, "tokenizer.chat_template")
    return Facts(
        digest=digest,
        architecture=architecture,
        parameters=sum(head.elements.values()) or None,
        quantization=_quantization(head),
        context_length=_number(head, f"{architecture}.context_length"),
        size_bytes=head.size_bytes,
        kv_bytes_per_token=_kv_bytes_per_token(head, architecture),
        chat_template=template,
        licence=_text(head, "general.license"),
        declared_version=_text(head, "general.version"),
        capabilities=_capabilities(head, architecture, template),
    )


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of the file's bytes. Blocking; remembered until size, time or inode change."""
    try:
        stat = path.stat()
        key = (str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if key not in _digests:
            with path.open("rb") as file:
                _digests[key] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read ({error.strerror or error}); check its permissions and the disk.", param="source"
        ) from error
    return _digests[key]


def _quantization(head: GgufHead) -> str | None:
    declared = _number(head, "general.file_type")
    if declared in FILE_TYPES:
        return FILE_TYPES[declared]
    return max(head.elements, key=lambda kind: head.elements[kind], default=None)


def _kv_bytes_per_token(head: GgufHead, architecture: str | None) -> int | None:
    """Keys and values of one token over all layers: sum over layers of heads times (key + value length) times 2."""
    layers = _number(head, f"{architecture}.block_count")
    heads = _number(head, f"{architecture}.attention.head_count")
    if not layers or not 0 < layers <= 4096:
        return None
    stored: Value | None = head.metadata.get(f"{architecture}.attention.head_count_kv", heads)
    if isinstance(stored, tuple):
        total_heads = sum(int(each) for each in stored[:layers])
    elif isinstance(stored, int):
        total_heads = stored * layers
    else:
        return None
    width = _number(head, f"{architecture}.embedding_length")
    default = width // heads if width and heads else None
    key_length = _number(head, f"{architecture}.attention.key_length") or default
    value_length = _number(head, f"{architecture}.attention.value_length") or default
    if not key_length or not value_length or total_heads <= 0:
        return None
    return total_heads * (key_length + value_length) * KV_ELEMENT_BYTES


def _capabilities(head: GgufHead, architecture: str | None, template: str | None) -> frozenset[str]:
    if architecture in _ENCODERS or (_number(head, f"{architecture}.pooling_type") or 0) > 0:
        return frozenset({Capability.EMBEDDING})
    able = {Capability.COMPLETION, Capability.JSON_SCHEMA, Capability.LOGPROBS}
    if template:
        able.add(Capability.CHAT)
        if "tools" in template or "tool_call" in template:
            able.add(Capability.TOOLS)
    return frozenset(able)


def _text(head: GgufHead, key: str) -> str | None:
    value = head.metadata.get(key)
    return value if isinstance(value, str) and value else None


def _number(head: GgufHead, key: str) -> int | None:
    value = head.metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _SANE else None
