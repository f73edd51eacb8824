"""How error replies stand in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ErrorFacts(BaseModel):
    """What is wrong and what to do."""

    message: str
    type: str
    param: str | None
    code: str
    fault: str
    request_id: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorBody(BaseModel):
    """Every error looks like this."""

    error: ErrorFacts


def errors(**said: str) -> dict[int | str, dict[str, Any]]:
    """The error replies of a route for its document: ``e404="no such rollout"``."""
    return {int(name[1:]): {"model": ErrorBody, "description": text} for name, text in said.items()}
