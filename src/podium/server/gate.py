"""Who may pass to the data plane: decided from the head of a request, before a task is made or its body is looked at.

Reads key, role and limits through the doorman, gives the request its id, and answers those that are refused, in the
caller's format. What takes a body to decide (tokens, budgets, scopes) is refused further in.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import NamedTuple

from podium.core.access import check
from podium.domain.principal import ID_CHARS, Role
from podium.errors import Forbidden, OverBudget, PodiumError, RateLimited, Unauthenticated
from podium.server.doorman import Doorman, key_of
from podium.server.exchange import Exchange
from podium.server.messages import MESSAGES, VERSION
from podium.server.patience import Patience, Waiter
from podium.server.rate_headers import anthropic_headers, openai_headers
from podium.server.rendering import render_for
from podium.services.keys import PREFIX
from podium.services.request_log import Refusals

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SHOWN = len(PREFIX) + ID_CHARS
"""As much of a key as says which one it is, and no more."""
_HERE = "~the-id-of-the-request~"
_KEPT = 256
WAITING = (Unauthenticated, Forbidden, RateLimited, OverBudget)
"""Refusals that wait when they are asked for too often."""


class _Template(NamedTuple):
    """An answer that is rendered but for the request's id."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    named: tuple[bytes, ...]
    """Headers that hold the id."""
    body: tuple[bytes, ...]
    """What stands before, between and after the ids."""


class Gate:
    """One per gateway, for all its listeners."""

    def __init__(self, doorman: Doorman, new_id: Callable[[str], str], patience: Patience | None = None) -> None:
        self._doorman = doorman
        self._new_id = new_id
        self.patience = Patience() if patience is None else patience
        self.refusals = Refusals()
        """Of the data plane, wherever they are decided."""
        self._templates: dict[Hashable, _Template] = {}

    def enter(self, exchange: Exchange) -> PodiumError | None:
        """Why it may not pass, or ``None``: then it has its id, its principal, and its place in the limits.

        Whoever lets it in calls ``exchange.grant.leave`` at its end. A refused one may be asked about again.
        """
        path, headers = exchange.path, exchange.headers
        if not path.startswith("/v1/") and path != "/v1":
            return None
        if exchange.request_id is None:
            exchange.request_id = self.request_id(headers)
        try:
            principal = self._doorman.admit(headers, exchange.query, private=exchange.private)
            exchange.principal = principal
            grant = exchange.grant = self._doorman.grant(principal)
            if grant is not None:
                theirs = path.startswith(MESSAGES) or VERSION in headers
                exchange.more = partial(anthropic_headers if theirs else openai_headers, grant)
                grant.enter()
            if principal is not None and exchange.method not in ("GET", "HEAD"):
                check(principal, Role.USER, "asking a model")
        except PodiumError as err:
            if exchange.grant is not None:
                exchange.grant.leave()
            return err
        return None

    def look(self, url: bytes, headers: Mapping[bytes, bytes], *, private: bool) -> PodiumError | None:
        """As ``enter``, of the key alone, while the body is still to come: nobody sends megabytes to be refused."""
        if not url.startswith(b"/v1/"):
            return None
        try:
            self._doorman.admit(headers, url.partition(b"?")[2], private=private)
        except PodiumError as err:
            return err
        return None

    def request_id(self, headers: Mapping[bytes, bytes]) -> str:
        """The caller's own, if it is one, or a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return self._new_id("req")

    def wait_s(self, exchange: Exchange) -> float:
        """Count a refusal; how long its answer has to wait."""
        peer = exchange.peer("peername")
        given = key_of(exchange.headers)
        return self.patience.refused(_place(peer), None if given is None else given[:_SHOWN])

    def hold(self, connection: Waiter, wait_s: float) -> None:
        """Call the ``reconsider`` of a connection after that time."""
        self.patience.hold(connection, wait_s)

    async def wait(self, exchange: Exchange) -> None:
        """The same for a request that is refused further in; it gives its place back first."""
        if exchange.grant is not None:
            exchange.grant.leave()
        wait_s = self.wait_s(exchange)
        if wait_s:
            await asyncio.sleep(wait_s)

    def refuse(self, exchange: Exchange, err: PodiumError) -> None:
        """Answer a request that may not pass."""
        request_id = exchange.request_id
        assert request_id is not None
        self.refusals.note(request_id, err)
        made = self._template(exchange.path, err)
        identity = request_id.encode()
        headers = (*made.headers, *((name, identity) for name in made.named))
        exchange.respond(made.status, headers, identity.join(made.body))

    def _template(self, path: str, err: PodiumError) -> _Template:
        """Most refusals say what the last ones said; details that no key can hold are rendered each time."""
        limit = err.details.get("limit")
        if len(err.details) > (limit is not None) or not isinstance(limit, str | None):
            return _rendered(path, err)
        key = (path.startswith(MESSAGES), type(err), err.status, err.code, err.message, err.retry_after_s, limit)
        made = self._templates.get(key)
        if made is None:
            if len(self._templates) >= _KEPT:
                self._templates.clear()
            made = self._templates[key] = _rendered(path, err)
        return made


def _rendered(path: str, err: PodiumError) -> _Template:
    status, headers, body = render_for(path, err, _HERE)
    here = _HERE.encode()
    return _Template(
        status,
        tuple(one for one in headers if one[1] != here),
        tuple(name for name, value in headers if value == here),
        tuple(body.split(here)),
    )


def _place(peer: tuple[str, int] | None) -> Hashable:
    """Where a request came from: the address, of IPv6 the network that one customer usually has."""
    if peer is None or ":" not in peer[0]:
        return None if peer is None else peer[0]
    try:
        return socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])[:8]
    except OSError:
        return peer[0]
