"""The route that takes feedback."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from podium.server import views
from podium.server.control.access import ServicesDep
from podium.server.control.routing import guarded
from podium.services.joining import HOLD_S, FeedbackStats

router = guarded(tag="insight")
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class FeedbackBody(BaseModel):
    """What somebody says of the answer to a request: at least one of score, thumbs, label, correction, comment."""

    model_config = ConfigDict(extra="forbid")
    request_id: str
    score: Score | None = None
    thumbs: str | None = Field(default=None, description="up (1) or down (0), in the place of a score")
    label: str | None = Field(default=None, description="short text such as 'wrong language', counted per task")
    correction: str | None = Field(
        default=None,
        description="what the answer should have been; only its hash and length are kept. Counts as score 0 unless "
        "a score or thumbs come with it",
    )
    comment: str | None = None
    source: str = Field(default="user", description="user, check, judge, agent or benchmark")


@router.post("/feedback", status_code=201, responses={202: {"description": "held until the answer ends"}})
async def give_feedback(body: FeedbackBody, services: ServicesDep) -> Any:
    """Tell how good an answer was. 404 when it joins no request; 202 while the answer is still being made.

    Feedback of one source to one request replaces its earlier one.
    """
    given = await services.recorder.feedback(**body.model_dump())
    if given is not None:
        return {**views.feedback(given), "joined": True}
    held = {"request_id": body.request_id, "joined": False, "held_s": HOLD_S}
    return JSONResponse({**held, "reason": "the answer has not ended yet"}, status_code=202)


def feedback_stats(stats: FeedbackStats) -> views.Json:
    """What became of feedback since the start."""
    return {
        "joined": stats.joined,
        "replaced": stats.replaced,
        "held": stats.held,
        "unjoined": stats.unjoined,
        "last_unjoined": [{"request_id": request_id, "at": at} for request_id, at in stats.last_unjoined],
    }
