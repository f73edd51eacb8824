"""Puts every control action into the audit log: a row before its handler runs, a row before its answer is sent.

``audited`` is a dependency of every route, behind the one that holds the caller against a role. ``Audited`` is the
middleware around all of it, which sees the answer. What was not let in, or was no order at all, leaves one row at a
bounded rate. Users' own reports (feedback, executions, tries of a choice) are no control actions: they leave a row only
where they were not let in.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium.core.access import USERS_POSTS
from podium.core.audit_redaction import scrub
from podium.domain.audit import AuditEntry, Author
from podium.domain.principal import ID_CHARS, Principal
from podium.server.control import audit_subjects as subjects
from podium.server.control.guard import PREFIX
from podium.server.doorman import key_of
from podium.services.auditing import INTERRUPTED, Ending, Order, outcome_of
from podium.services.keys import PREFIX as KEY_PREFIX
from podium.services.plane import Services

READS = frozenset({f"{PREFIX}/export", f"{PREFIX}/audit/export"})
"""What takes data away is an action, too."""
_LOOKS = ("GET", "HEAD", "OPTIONS")
NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
MOST_READ = 1 << 18
"""Bytes of a body that are looked at for the log."""
_log = structlog.get_logger("podium.audit")


def template_of(scope: Mapping[str, Any]) -> str | None:
    """The route of a request; ``None`` when there is none."""
    route = scope.get("route")
    return None if route is None else PREFIX + str(route.path).removeprefix(PREFIX)


def is_action(method: str, template: str) -> bool:
    """Whether a request to a route leaves rows."""
    return template in READS if method in _LOOKS else template not in USERS_POSTS


async def audited(request: Request) -> None:
    """A dependency of every route. Raises ``StoreError`` when the log cannot be written: then nothing is done."""
    template = template_of(request.scope)
    if template is None or not is_action(request.method, template):
        return
    services: Services = request.app.state.services
    asked = _asked(await request.body())
    given = {**asked, **request.path_params}
    subject = subjects.subject_of(template, given)
    before = await _seen(services, subject)
    untold = subjects.area_of(template) in subjects.UNTOLD
    order = Order(
        author=_author(request.scope),
        what=f"{request.method} {template}",
        subject=subject,
        task=subjects.task_of(given, before),
        asked=None if untold else {**request.query_params, **asked, **_rest(request.path_params, subject)},
        before=before,
        request_id=request.state.request_id,
    )
    request.state.audit = await services.audit.begin(order)


class Audited:
    """The middleware; everything that answers is inside of it."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = f"req_{secrets.token_hex(8)}"
        if not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def send_audited(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                held = message
                return
            if held is not None:
                start, held = _named(held, request_id), None
                whole = None if message.get("more_body") else bytes(message.get("body", b""))
                await self._answered(scope, start, whole)
                await send(start)
            await send(message)

        try:
            await self._app(scope, receive, send_audited)
        except BaseException as error:
            begun: AuditEntry | None = scope["state"].pop("audit", None)
            if begun is not None and isinstance(error, Exception):
                await self._services.audit.end(begun, Ending(outcome="internal_error", status=500))
            elif begun is not None:
                self._services.audit.leave(begun, Ending(outcome=INTERRUPTED))
            raise

    async def _answered(self, scope: Scope, start: Message, body: bytes | None) -> None:
        begun: AuditEntry | None = scope["state"].pop("audit", None)
        status: int = start["status"]
        if begun is None:
            await self._refused(scope, start, body)
            return
        answer = _asked(body or b"")
        template = begun.what.partition(" ")[2]
        subject = begun.subject
        if status < HTTPStatus.BAD_REQUEST:
            outcome = outcome_of(answer)
            subject = subject if ":" in subject else subjects.made_by(template, answer) or subject
        else:
            outcome = _code(answer, status)
        after = await _seen(self._services, subject)
        if after is None and status < HTTPStatus.BAD_REQUEST:
            after = {name: value for name, value in answer.items() if isinstance(value, str | int | float)} or None
        ending = Ending(outcome=outcome, status=status, after=after, subject=subject)
        await self._services.audit.end(begun, ending)

    async def _refused(self, scope: Scope, start: Message, body: bytes | None) -> None:
        """Nothing was begun: it was not let in, or was no order."""
        method, status, template = scope["method"], start["status"], template_of(scope)
        if status < HTTPStatus.BAD_REQUEST:
            return
        if status not in NOT_LET_IN and (template is None or not is_action(method, template)):
            return
        what = f"{method} {template or scrub(scope['path'][:300])[:100]}"
        params = scope.get("path_params") or {}
        order = Order(
            author=_author(scope),
            what=what,
            subject=subjects.subject_of(template, params) if template else "",
            task=subjects.task_of(params, None),
            request_id=scope["state"]["request_id"],
        )
        await self._services.audit.refused(order, _code(_asked(body or b""), status), status)


def _author(scope: Scope) -> Author:
    headers = dict(scope["headers"])
    origin = _origin(scope)
    via = headers.get(b"x-podium-actor", b"").decode("utf-8", "replace")
    via = "".join(char for char in scrub(via[:200])[:64] if char.isprintable()) or None
    principal: Principal | None = scope["state"].get("principal")
    if principal is None:
        return replace(stranger(scope, (key_of(headers) or b"").decode("utf-8", "replace")), via=via)
    return Author(id=principal.id, name=principal.name, role=principal.role.value, via=via, origin=origin)


def stranger(scope: Scope, given: str) -> Author:
    """Whoever had no valid key: the id that the key they gave claims, and nothing else of it."""
    claimed = given.removeprefix(KEY_PREFIX)[:ID_CHARS] if given.startswith(KEY_PREFIX) else ""
    name = f"says key {claimed}" if claimed.isascii() and claimed.isalnum() else "unknown"
    return Author(id="unknown", name=name, origin=_origin(scope))


def _origin(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unix socket"


async def _seen(services: Services, subject: str) -> subjects.Found:
    try:
        return await subjects.seen(services, subject)
    except Exception:  # noqa: BLE001 - what is shown of a subject must not stand in the way of the action
        _log.exception("the state of the subject of an action could not be read", subject=subject)
        return None


def _asked(body: bytes) -> dict[str, Any]:
    if not body or len(body) > MOST_READ:
        return {"bytes": len(body)} if body else {}
    try:
        found = json.loads(body)
    except ValueError:  # the handler says what is wrong with it
        return {}
    return found if isinstance(found, dict) else {}


def _rest(params: Mapping[str, object], subject: str) -> dict[str, object]:
    """Parameters of the path that the subject does not tell, as the order to a rollout."""
    return {name: value for name, value in params.items() if not subject.endswith(f":{value}")}


def _code(answer: Mapping[str, Any], status: int) -> str:
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return str(code or status)[:64]


def _named(start: Message, request_id: str) -> Message:
    headers = list(start.get("headers", ()))
    if any(name.lower() == b"x-request-id" for name, _ in headers):
        return start
    return {**start, "headers": [*headers, (b"x-request-id", request_id.encode())]}
