"""The route that asks judges which of two answers is better, in both orders, and counts their votes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from podium.core.judge_orders import BEST
from podium.core.panels import together
from podium.domain.judgment import Judged, Preference
from podium.server import views
from podium.server.control.access import ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded

router = guarded(tag="judging")
MOST_JUDGES = 16


class PairBody(BaseModel):
    """Two answers to one question. Nothing is stored and nothing is learned from it."""

    model_config = ConfigDict(extra="forbid")
    a: str = Field(description="The first answer")
    b: str = Field(description="The second answer")
    prompt: str = Field(default="", description="What was asked")
    context: str | None = Field(default=None, description="What the answers must be faithful to")
    expected: str | None = Field(default=None, description="What the answer should have been")
    task: str = Field(default="general", description="What kind of work it is")
    criterion: str = Field(default="relevance", description="Name of a rubric")
    judges: Annotated[list[str], Field(min_length=1, max_length=MOST_JUDGES)] = Field(
        default=[BEST], description="name@version each, or auto"
    )


@router.post("/judge/pair", responses=errors(e404="there is no such judge or criterion"))
async def judge_pair(body: PairBody, services: ServicesDep) -> views.Json:
    """Which of two answers is better by one criterion, as each judge says when asked in both orders: a judge that goes by the
    position makes a tie. Votes count alike; ``agreement`` is the share of them that the winner has.
    """
    asked: dict[str, Any] = {
        "task": body.task,
        "prompt": body.prompt,
        "context": body.context,
        "expected": body.expected,
    }
    said = await services.judging.compare(
        Judged(id="a", output=body.a, **asked),
        Judged(id="b", output=body.b, **asked),
        body.criterion,
        tuple(dict.fromkeys(body.judges)),
    )
    found = together(said)
    return {
        "criterion": body.criterion,
        "winner": found.winner,
        "probability": found.probability,
        "agreement": found.agreement,
        "judges": [_preference(one) for one in said],
    }


def _preference(one: Preference) -> views.Json:
    return {
        "judge": one.judge,
        "winner": one.winner,
        "probability": one.probability,
        "first": one.first,
        "swapped": one.swapped,
        "method": one.method,
        "reason": one.reason,
        "invalid": one.invalid,
        "reply": one.reply,
        "latency_ms": one.latency_ms,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cached": one.cached,
    }
