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


PREFIX = "/api/v1"
GUARD = {
    "400": "the request is wrong",
    "401": "a key is needed, or this one is none",
    "403": "the key is not for this, or the request comes from a page of another site",
    "429": "a limit of the key is reached; `retry-after` says how long to wait",
    "503": "the record cannot be read or written",
}
"""What any route under ``PREFIX`` may answer."""


def errors(**said: str) -> dict[int | str, dict[str, Any]]:
    """The error replies of a route for its document: ``e404="no such rollout"``."""
    return {int(name[1:]): {"model": ErrorBody, "description": text} for name, text in said.items()}


def truthful(app: FastAPI) -> None:
    """Let the document of ``app`` say what a wrong parameter is answered with: 400 in the common shape, never 422 unless a
    route says so itself, and what the guard of every route may answer.
    """
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = made()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(operation["responses"], guarded=path.startswith(PREFIX))
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for changing it


def _complete(responses: dict[str, Any], *, guarded: bool) -> None:
    own = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if own.get("$ref", "").endswith("/HTTPValidationError"):
        del responses["422"]
        responses.setdefault("400", _refusal("a parameter or the body is wrong"))
    for status, words in GUARD.items() if guarded else ():
        responses.setdefault(status, _refusal(words))


def _refusal(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    return {"description": words, "content": {"application/json": {"schema": schema}}}
