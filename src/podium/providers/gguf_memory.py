"""Estimates what llama.cpp needs besides weights and key-value cache, from what a GGUF file says of its shape.

Only until the first load: the pool replaces it by what the process really holds. The constants were fitted to the
resident memory of real workers (SmolLM2-135M with 49,152 words, Qwen2.5-0.5B with 151,936; CPU backend).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from podium.errors import InvalidRequest
from podium.providers.gguf import VOCABULARY, read_counts

MB = 1024 * 1024
BASE_BYTES = 22 * MB
"""Interpreter, llama.cpp and its threads."""
WORD_BYTES = 673
"""Per word of the vocabulary: text, score, the maps in both directions, merges."""
BATCH_TOKENS = 512
"""llama.cpp works on a prompt in pieces of this many tokens (``n_ubatch``)."""
_ACTIVATIONS = 6
_FEED_FORWARD = 3
_FLOAT_BYTES = 4
_WIDEST, _MOST_WORDS = 1 << 20, 1 << 22
"""A larger number in a file is nonsense."""
_known: dict[tuple[str, str], int] = {}


def overhead(path: Path, digest: str, size_bytes: int) -> int:
    """Bytes besides weights and cache; remembered by file and digest. Reads a few kilobytes, or nothing.

    A file that cannot be read (any more) gets the base and an eighth of its size, 256 MiB at most.
    """
    key = (str(path), digest)
    if key not in _known:
        try:
            _known[key] = from_counts(read_counts(path))
        except InvalidRequest:
            return BASE_BYTES + min(size_bytes // 8, 256 * MB)
    return _known[key]


def from_counts(counts: Mapping[str, int]) -> int:
    """``BASE_BYTES``, the vocabulary, and the buffers of one piece of a prompt: per token a few vectors as wide as
    the model and as its feed-forward layer, in 32 bits.
    """

    def ends(name: str) -> int:
        return max((value for key, value in counts.items() if key.endswith(name)), default=0)

    wide, forward = (min(ends(f".{name}_length"), _WIDEST) for name in ("embedding", "feed_forward"))
    buffers = BATCH_TOKENS * (_ACTIVATIONS * wide + _FEED_FORWARD * forward) * _FLOAT_BYTES
    return BASE_BYTES + WORD_BYTES * min(counts.get(VOCABULARY, 0), _MOST_WORDS) + buffers
