"""Cheap signs that an answer went wrong, and how alike two prompts are. Pure.

Owns what may pick an answer for judging beyond chance. A sign is no score. Bounded: reads at most the ends of an answer,
and only JSON that was asked for as a whole.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from itertools import pairwise

from podium.core.graders import schema as schemas
from podium.core.graders.cleaning import clip, content, stems
from podium.core.graders.speech import REFUSAL
from podium.domain.judgment import Judged

SIGNS = ("error", "empty", "refusal", "loop", "cut-off", "schema")
_HEAD_CHARS = 200
_TAIL = 1500
_LOOP_BYTES = 600
_LOOP_RATIO = 0.07
_CYCLE = re.compile(r"(.{1,80}?)\1{5,}\s*.{0,80}\Z", re.DOTALL)
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def signals(item: Judged, *, answered: bool = True) -> tuple[str, ...]:
    """The signs of one answer, in the order of ``SIGNS``. ``answered``: the request ended without an error."""
    found = []
    output = item.output
    if not answered:
        found.append("error")
    head = output[:4000].strip()
    if not head and not output.strip():
        if answered:
            found.append("empty")
        return tuple(found)
    if REFUSAL.search(head[:_HEAD_CHARS]):
        found.append("refusal")
    if loops(output):
        found.append("loop")
    if item.finish in _CUT or (item.finish is None and output.count("```") % 2):
        found.append("cut-off")
    if item.schema is not None and misfit(output, item.schema) is not None:
        found.append("schema")
    return tuple(found)


def loops(text: str) -> bool:
    """Whether the end of a text says the same again and again."""
    tail = text[-_TAIL:].encode("utf-8", "replace")
    if len(tail) < _LOOP_BYTES:
        return len(tail) >= 60 and _cycles(text[-240:])
    return len(zlib.compress(tail, 1)) < _LOOP_RATIO * len(tail)


def misfit(output: str, schema: Mapping[str, object]) -> str | None:
    """Why an answer is not the JSON that was asked for; ``None`` when it is, or when that cannot be told here."""
    fenced = _FENCED.match(output)
    try:
        value = json.loads(fenced[1] if fenced else output, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "not JSON"
    try:
        return schemas.problem(value, schema)
    except schemas.Unsure:
        return None


def similar(a: str, b: str) -> float:
    """How alike two prompts are, in [0, 1]: shared content words and neighbouring pairs (Dice), symmetric.

    From about 0.6 on the second asks the first again in other words; 1 for equal texts. Two texts without words are
    alike only when they are equal.
    """
    if a == b:
        return 1.0
    one, other = stems(clip(a)), stems(clip(b))
    if one == other and one:
        return 1.0
    parts = [
        _dice(set(content(one)), set(content(other))),
        _dice(set(pairwise(one)), set(pairwise(other))),
    ]
    return 0.75 * parts[0] + 0.25 * parts[1]


def _dice(one: set[str] | set[tuple[str, str]], other: set[str] | set[tuple[str, str]]) -> float:
    return 2 * len(one.intersection(other)) / (len(one) + len(other)) if one and other else 0.0


def _cycles(tail: str) -> bool:
    return _CYCLE.search(tail) is not None


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
