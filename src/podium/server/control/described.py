"""How error replies stand in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
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


def truthful(app: FastAPI) -> None:
    """Let the document of ``app`` say what a wrong parameter is answered with: 400 in the common shape, never 422."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = made()
        refused = {
            "description": "a parameter or the body is wrong",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}},
        }
        for operations in document["paths"].values():
            for operation in operations.values():
                if operation["responses"].pop("422", None) is not None:
                    operation["responses"].setdefault("400", refused)
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing it
