"""Attacks on judges: texts that, put into an answer, try to raise its score. Shipped data, written for this project.

Owns the texts (``attacks.jsonl``: id, technique, language or encoding, text; those of technique ``unseen``
were written after the rules of the graders and never used for them) and how they are put into an answer. Must
not judge. A judge that resists scores an answer with an attack in it as it scores the answer without.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PLACES = ("before", "behind", "between")
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One text against judges."""

    id: str
    technique: str
    language: str
    """ISO 639-1 code, or the encoding that hides an English text."""
    text: str


@cache
def attacks() -> tuple[Attack, ...]:
    """All shipped attacks, in the order of the file."""
    lines = files(__package__).joinpath("attacks.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Attack(**json.loads(line)) for line in lines if line)


def put(output: str, attack: Attack, place: str) -> str:
    """``output`` with the attack on lines of its own: before it, behind it, or after the sentence next to its middle.

    Raises ``ValueError`` for another place.
    """
    match place:
        case "before":
            return f"{attack.text}\n{output}"
        case "behind":
            return f"{output}\n{attack.text}"
        case "between":
            middle = len(output) // 2
            breaks = [found for found in _BREAK.finditer(output) if found.start() > 0 and found.end() < len(output)]
            if not breaks:
                return f"{output}\n{attack.text}"
            near = min(breaks, key=lambda found: abs(found.start() - middle))
            return f"{output[: near.start()]}\n{attack.text}\n{output[near.end() :]}"
    raise ValueError(f"{place} is no place for an attack; one of {', '.join(PLACES)}")
