"""What is sent to a judge: as strict as its server allows, deterministic, and short.

llama.cpp as this product runs it takes a grammar of one character: two tokens instead of seventeen, nothing else can be
said, and its prompt cache is left out because logits differ a little between a prompt that was read at once and one that
was partly there. Any other server gets the JSON Schema of an object in ``response_format``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import msgspec

from podium.core.judging.prompts import BETTER, SCORE, Form
from podium.domain.judgment import Rubric
from podium.domain.model import Capability, ModelVersion

SEED = 7
TOP_LOGPROBS = {Form.BARE: 256, Form.JSON: 20}
"""llama.cpp gives as many as are asked for, so that no mark is missing; 20 are what the strictest other servers give."""
MOST_TOKENS = {Form.BARE: 4, Form.JSON: 64}
GRAMMARS = frozenset({"llamacpp"})
"""Providers whose server takes ``grammar`` and ``cache_prompt``."""
_encode = msgspec.json.Encoder().encode


class Strictness(IntEnum):
    """What a server is asked for beyond an answer; lowered when it refuses."""

    PLAIN = 0
    SCHEMA = 1
    PROBABILITIES = 2


def form_for(judge: ModelVersion) -> Form:
    """How this judge is to reply."""
    return Form.BARE if judge.source.provider in GRAMMARS else Form.JSON


def strictest(judge: ModelVersion) -> Strictness:
    """What its server says it can."""
    able = judge.facts.capabilities
    if Capability.LOGPROBS in able:
        return Strictness.PROBABILITIES
    return Strictness.SCHEMA if Capability.JSON_SCHEMA in able else Strictness.PLAIN


def marks_of(rubric: Rubric) -> tuple[object, ...]:
    """Every mark of the scale."""
    return tuple(range(rubric.low, rubric.high + 1))


LETTERS: tuple[object, ...] = ("A", "B")


def body_for(
    judge: ModelVersion, prompt: str, values: tuple[object, ...], strict: Strictness
) -> Callable[[str], bytes]:
    """Makes the JSON from the name that the instance knows the model by. ``values``: what may be replied."""
    form = form_for(judge)
    fields: dict[str, object] = {
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "seed": SEED,
        "max_tokens": MOST_TOKENS[form],
        "stream": False,
    }
    if form is Form.BARE:
        fields["grammar"] = f"root ::= [{values[0]}-{values[-1]}]"
        fields["cache_prompt"] = False
    elif strict >= Strictness.SCHEMA:
        fields["response_format"] = _schema(values)
    if strict >= Strictness.PROBABILITIES:
        fields["logprobs"] = True
        fields["top_logprobs"] = TOP_LOGPROBS[form]
    return lambda model: _encode({"model": model, **fields})


def _schema(values: tuple[object, ...]) -> dict[str, object]:
    numbers = isinstance(values[0], int)
    name = SCORE if numbers else BETTER
    described = {"type": "integer" if numbers else "string", "enum": list(values)}
    schema = {"type": "object", "properties": {name: described}, "required": [name], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
