"""Asks a version in the background: past selection, at the lowest priority, and out of the way of users.

A version that runs on this machine is asked only while no user is served, and the request is called off when one comes
and tried again later. Owns nothing; a shadow and a judge are its callers. Never raises for what a model does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from podium.core.history import NOT_ITS_DOING
from podium.domain.model import ModelVersion
from podium.domain.request import Endpoint, Ticket
from podium.errors import InvalidRequest, PodiumError, ProviderRejected
from podium.ports import Call, Clock, Deadlines
from podium.services.budgeting import NOTHING, Budgeting
from podium.services.charging import Charging
from podium.services.idleness import Idleness, Interrupted
from podium.services.meter import Meter, Metered
from podium.services.pool import Pool
from podium.services.rejection import rejection

TRIES = 5
"""Times that one request is begun before it is given up because users kept coming."""
LOWEST = 2
TASKS = {"judge": "judgment"}
"""What budgets count work for, by who does it; others are tasks of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of asking. ``body`` is ``None`` without an answer; then ``error`` says why, and ``blame`` whether the
    version is the reason.
    """

    body: bytes | None
    latency_ms: float | None = None
    metered: Metered | None = None
    error: str | None = None
    blame: bool = False
    code: str | None = None
    """Of the error; ``None`` when it was never sent because users were served."""
    refused: bool = False
    """The request is at fault, says the model's server."""


class Background:
    """``local`` tells whether a version shares this machine with the models that serve users."""

    def __init__(
        self,
        pool: Pool,
        meter: Meter,
        idleness: Idleness,
        clock: Clock,
        local: Callable[[ModelVersion], bool],
        timeout_s: float = 120.0,
    ) -> None:
        self._pool = pool
        self._meter = meter
        self._idleness = idleness
        self._clock = clock
        self._local = local
        self._timeout_s = timeout_s
        self.budgeting: Budgeting | None = None
        self.charging: Charging | None = None

    async def ask(
        self,
        version: ModelVersion,
        endpoint: Endpoint,
        body: Callable[[str], bytes],
        *,
        request_id: str,
        who: str,
        timeout_s: float | None = None,
    ) -> Heard:
        """One whole answer. ``body`` makes the JSON from the name that the instance knows; ``who`` waits in line.

        ``timeout_s`` (the usual one without it) bounds the wait for a free place and the answer, not that for users.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        for _ in range(TRIES):
            try:
                if not self._local(version):
                    return await self._send(version, endpoint, body, request_id, who, limit_s)
                await self._idleness.quiet()
                return await self._idleness.run(self._send(version, endpoint, body, request_id, who, limit_s))
            except Interrupted:
                continue
            except PodiumError as error:
                return Heard(
                    body=None,
                    error=error.message,
                    blame=error.code not in NOT_ITS_DOING,
                    code=error.code,
                    refused=isinstance(error, ProviderRejected | InvalidRequest),
                )
        return Heard(body=None, error=f"users were served each of the {TRIES} times it was begun")

    async def _send(
        self,
        version: ModelVersion,
        endpoint: Endpoint,
        body: Callable[[str], bytes],
        request_id: str,
        who: str,
        limit_s: float,
    ) -> Heard:
        deadlines = Deadlines(first_token_s=limit_s, total_s=limit_s)
        task = TASKS.get(who, who)
        held = NOTHING if self.budgeting is None else await self.budgeting.behind(request_id, who, task, version)
        metered: Metered | None = None
        content: bytes | None = None
        sent, good = b"", False
        try:
            lease = await self._pool.lease(version, limit_s, Ticket(caller=who, priority=LOWEST))
        except BaseException:
            held.release()
            raise
        began = self._clock.monotonic()
        try:
            self._meter.begin(lease.instance_id, lease.instance, request_id)
            sent = body(lease.instance.model)
            call = Call(
                endpoint=endpoint,
                body=sent,
                stream=False,
                request_id=request_id,
                deadlines=deadlines,
            )
            started = self._clock.monotonic()
            reply = await lease.instance.send(call)
            try:
                content = await reply.read()
            finally:
                reply.close()
            took = (self._clock.monotonic() - started) * 1000
            if reply.status != 200:
                raise rejection(reply.status, content, version.ref)
            lease.succeeded()
            good = True
        finally:
            metered = self._meter.end(lease.instance_id, request_id)
            lease.release()
            if self.charging is not None:
                wall_s = self._clock.monotonic() - began
                self.charging.done(version, wall_s=wall_s, metered=metered, sent=sent, body=content, success=good)
            if self.budgeting is not None:
                took_ms, cpu_ms = (self._clock.monotonic() - began) * 1000, metered.cpu_ms
                self.budgeting.answered(held, task, version, content, took_ms, cpu_ms)
        return Heard(body=content, latency_ms=took, metered=metered)
