"""Builds the FastAPI application of the control plane and renders every error in the common shape."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium.errors import CallerError, InternalError, InvalidRequest, NotFound, PodiumError
from podium.server.control import (
    alerts,
    audit,
    benchmarks,
    budgets,
    charges,
    choosing,
    classification,
    configurations,
    costs,
    events,
    executions,
    exporting,
    feedback,
    insight,
    instances,
    judging_pairs,
    judgments,
    keys,
    models,
    rollouts,
    rules,
    schedules,
    standings,
    tasks,
    traffic,
    vault,
)
from podium.server.control.auditing import Audited
from podium.server.control.described import truthful
from podium.server.control.guard import Admitted
from podium.server.doorman import Doorman
from podium.server.plain_words import said
from podium.server.rendering import render_error
from podium.services.plane import Services


def create_app(services: Services, doorman: Doorman) -> FastAPI:
    """The control plane of one gateway. ``app.state.services`` holds the services."""
    app = FastAPI(title="Podium control API", version=services.version, docs_url=None, redoc_url=None)
    app.state.services = services
    for router in (
        models.router,
        classification.router,
        tasks.router,
        choosing.router,
        rules.router,
        rollouts.router,
        schedules.router,
        instances.router,
        feedback.router,
        charges.router,
        insight.router,
        traffic.router,
        standings.router,
        costs.router,
        alerts.router,
        judgments.router,
        judging_pairs.router,
        executions.router,
        events.router,
        exporting.router,
        benchmarks.router,
        budgets.router,
        keys.router,
        vault.router,
        audit.router,
        configurations.router,
        insight.probes,
    ):
        app.router.routes.extend(router.routes)

    @app.exception_handler(PodiumError)
    async def podium_error(request: Request, error: PodiumError) -> Response:
        return _response(request, error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            detail = first.get("ctx", {}).get("error", first["msg"])
            return _response(request, InvalidRequest(f"the body is no JSON, at character {first['loc'][-1]}: {detail}"))
        parts = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        where = ".".join(part for part in parts if "[" not in part)  # pydantic's own names of keys and union members
        if first["type"] == "extra_forbidden":
            return _response(
                request, InvalidRequest(f"{where}: there is no such field; /openapi.json has them", param=where)
            )
        return _response(request, InvalidRequest(said(where, first), param=where or None))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return _response(request, NotFound(f"there is no {request.url.path}; /openapi.json lists what there is"))
        return _response(request, CallerError(str(error.detail), status=error.status_code))

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        return _response(request, InternalError(f"{type(error).__name__} in {request.url.path}; please report it"))

    truthful(app)
    app.add_middleware(Admitted, doorman=doorman)
    app.add_middleware(Audited, services=services)
    app.add_middleware(PlainJson)

    @app.get("/", include_in_schema=False)
    async def root() -> JSONResponse:
        return JSONResponse(
            {"podium": services.version, "openai": "/v1", "control": "/api/v1", "openapi": "/openapi.json"}
        )

    return app


_EVERY_ANSWER = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class PlainJson:
    """Bodies are JSON whatever their content type says (``curl -d`` says otherwise), and nothing is cached.

    Other sites cannot use this: requests with a foreign ``Origin`` are refused before they get here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kept = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        scope = {**scope, "headers": [*kept, (b"content-type", b"application/json")]}

        async def send_uncached(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_EVERY_ANSWER]}
            await send(message)

        await self._app(scope, receive, send_uncached)


def _response(request: Request, error: PodiumError) -> Response:
    status, headers, body = render_error(error, request.state.request_id)
    return Response(
        content=body,
        status_code=status,
        headers={name.decode(): value.decode() for name, value in headers},
    )
