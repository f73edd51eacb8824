"""What a model's config says of its shape: context length and the size of its key-value cache. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podium.providers.artifact_folder import Folder

_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}
_CONTEXTS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
_UNBOUNDED = 10_000_000
"""Tokenizers without a limit write 1e30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of the key-value cache."""

    layers: int | None
    kv_heads: int | None
    head_width: int | None

    def kv_bytes_per_token(self, dtype: str | None) -> int | None:
        """Keys and values of one token over all layers, in ``dtype`` (16 bits where it is not a plain one)."""
        if self.layers is None or self.kv_heads is None or self.head_width is None:
            return None
        return 2 * self.layers * self.kv_heads * self.head_width * _WIDTHS.get(dtype or "", 2)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """From a transformers config; models of several parts describe the text part in ``text_config``."""
    own = config.get("text_config")
    said = {**config, **own} if isinstance(own, dict) else config
    heads = _first(said, "num_attention_heads", "n_head", "num_heads")
    width = _first(said, "hidden_size", "n_embd", "d_model")
    return Shape(
        layers=_first(said, "num_hidden_layers", "n_layer", "num_layers"),
        kv_heads=_first(said, "num_key_value_heads") or heads,
        head_width=_first(said, "head_dim") or (width // heads if width and heads else None),
    )


def context_of(folder: Folder, config: Mapping[str, Any]) -> int | None:
    """Tokens it was made for: the least of what config, tokenizer and sentence-transformers' file say."""
    own = config.get("text_config")
    said = {**config, **own} if isinstance(own, dict) else config
    limits = [
        _first(said, *_CONTEXTS),
        _first(folder.json("tokenizer_config.json"), "model_max_length"),
        _first(folder.json("sentence_bert_config.json"), "max_seq_length"),
    ]
    return min((each for each in limits if each is not None), default=None)


def _first(said: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _UNBOUNDED:
            return value
    return None
