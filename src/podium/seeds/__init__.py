"""Prompts written for this project, by task: what the classifier of tasks knows before it has seen anything.

``NAME.jsonl``: one object a line, ``lang`` and ``text``. ``trained.bin``: the classifier trained on them, made by
``scripts/train_seeds.py``, so that a start need not. Reads files, nothing else.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def seeds_digest() -> str:
    """Changes whenever a seed does."""
    digest = blake2b(digest_size=12)
    for path in sorted(FOLDER.glob("*.jsonl")):
        digest.update(path.stem.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def seed_prompts() -> tuple[tuple[str, str], ...]:
    """(task, text) of every seed."""
    return tuple(
        (path.stem, json.loads(line)["text"])
        for path in sorted(FOLDER.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line
    )


def trained() -> bytes:
    """The packed classifier of the seeds; empty where the file is missing. It says itself of which seeds it is."""
    try:
        return (FOLDER / "trained.bin").read_bytes()
    except FileNotFoundError:
        return b""
