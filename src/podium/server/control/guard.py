"""Who may use the control plane: every request is admitted first, then held against the role its route needs."""

from __future__ import annotations

import secrets

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium.core.access import PUBLIC, check, needed
from podium.errors import Forbidden, PodiumError
from podium.server.browsers import foreign
from podium.server.doorman import OWNER, Doorman
from podium.server.rate_headers import openai_headers
from podium.server.rendering import render_error
from podium.services.limiting import Grant

PREFIX = "/api/v1"
"""Every route of the control plane that does something is under it."""
SCOPED = (f"{PREFIX}/feedback", f"{PREFIX}/executions")
"""What a key with a scope may use, besides models."""


class Admitted:
    """Refuses a request whose key is missing or wrong; ``scope["state"]["principal"]`` says whose it is."""

    def __init__(self, app: ASGIApp, doorman: Doorman) -> None:
        self._app = app
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            private = not isinstance(scope.get("server"), tuple | list)
            headers, method = dict(scope["headers"]), scope["method"]
            try:
                refused = foreign(headers, self._doorman.hosts) if method not in ("GET", "HEAD") else None
                if refused is not None:
                    raise refused
                found = self._doorman.admit(headers, scope["query_string"], private=private, method=method)
            except PodiumError as error:
                status, answer, body = render_error(error, f"req_{secrets.token_hex(8)}")
                await send({"type": "http.response.start", "status": status, "headers": list(answer)})
                await send({"type": "http.response.body", "body": body})
                return
            grant = self._doorman.grant(found)
            scope["state"]["principal"] = found or OWNER
            if grant is not None:
                await self._limited(grant, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _limited(self, grant: Grant, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of somebody who has limits: it holds its place until its answer has ended."""

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *openai_headers(grant)]}
            await send(message)

        try:
            grant.enter()
        except PodiumError as error:
            status, headers, body = render_error(error, f"req_{secrets.token_hex(8)}")
            await send_with_limits({"type": "http.response.start", "status": status, "headers": list(headers)})
            await send({"type": "http.response.body", "body": body})
            return
        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            grant.leave()


async def authorise(request: Request) -> None:
    """A dependency of every route. Raises ``Forbidden``."""
    principal = getattr(request.state, "principal", None)
    template = PREFIX + request.scope["route"].path.removeprefix(PREFIX)  # a route may know its own part of it alone
    role = needed(request.method, template)
    if role is None or principal is None:
        return
    check(principal, role, f"{request.method} {template}")
    if principal.limited and not template.startswith(SCOPED):
        raise Forbidden(
            f"the key {principal.name!r} is for some tasks or models only: it may ask them and send feedback, "
            "and see nothing else"
        )
