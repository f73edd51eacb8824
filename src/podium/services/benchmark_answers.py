"""Asks versions through the pool's own instances, past selection: implements ``ports.Answers``.

Greedy and with a fixed seed: ``temperature`` 0, ``seed`` 0, no streaming. How a lease is taken (and with what
priority) is the caller's: ``lease`` is a small function around the pool.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from podium.domain.benchmark import Generated
from podium.domain.model import Capability, ModelVersion
from podium.domain.request import Endpoint
from podium.domain.unmeasured import NO_PROCESS
from podium.errors import InvalidRequest, ProviderError
from podium.ports import Call, Clock, Deadlines, Instance
from podium.services.budgeting import NOTHING, Budgeting
from podium.services.charging import Charging
from podium.services.meter import Meter, unmeasured
from podium.services.rejection import rejection

SEED = 0
BENCHMARK = "benchmark"
"""Whom budgets count it for, as key and as task."""


class Leased(Protocol):
    """The right to send one request to ``instance``."""

    @property
    def instance(self) -> Instance:
        """The instance."""
        ...

    @property
    def instance_id(self) -> str:
        """Its id."""
        ...

    def release(self) -> None:
        """Give the place back."""
        ...


Lease = Callable[[ModelVersion], Awaitable[Leased]]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)
_UNMETERED = unmeasured(NO_PROCESS)


class PoolAnswers:
    """One request at a time per ``generate``; latency counts from sending to the last byte, not waiting in a queue."""

    def __init__(self, lease: Lease, clock: Clock, timeout_s: float = 120.0) -> None:
        self._lease = lease
        self._clock = clock
        self.budgeting: Budgeting | None = None
        self.charging: Charging | None = None
        self.meter: Meter | None = None
        self._deadlines = Deadlines(first_token_s=timeout_s, total_s=timeout_s)

    async def prepare(self, version: ModelVersion) -> int:
        """Load it; returns how many requests it works on in parallel."""
        lease = await self._lease(version)
        try:
            return max(1, lease.instance.concurrency)
        finally:
            lease.release()

    async def generate(
        self, version: ModelVersion, messages: Sequence[Mapping[str, str]], *, max_tokens: int, request_id: str
    ) -> Generated:
        """One answer. Raises ``InvalidRequest`` for a model that generates no text, and the provider's errors."""
        held = NOTHING
        if self.budgeting is not None:
            held = await self.budgeting.behind(request_id, BENCHMARK, BENCHMARK, version)
        body: bytes | None = None
        began = self._clock.monotonic()
        try:
            lease = await self._lease(version)
        except BaseException:
            held.release()
            raise
        if self.meter is not None:
            self.meter.begin(lease.instance_id, lease.instance, request_id)
        sent, good = b"", False
        started = self._clock.monotonic()
        try:
            call = _call(version, lease.instance.model, messages, max_tokens, request_id, self._deadlines)
            sent, started = call.body, self._clock.monotonic()
            reply = await lease.instance.send(call)
            try:
                body = await reply.read()
            finally:
                reply.close()
            took = self._clock.monotonic() - started
            good = reply.status == 200
        finally:
            metered = _UNMETERED if self.meter is None else self.meter.end(lease.instance_id, request_id)
            lease.release()
            if self.charging is not None:
                wall_s = self._clock.monotonic() - started
                self.charging.done(version, wall_s=wall_s, metered=metered, sent=sent, body=body, success=good)
            if self.budgeting is not None:
                lasted_ms = (self._clock.monotonic() - began) * 1000
                self.budgeting.answered(held, BENCHMARK, version, body, lasted_ms, metered.cpu_ms)
        if reply.status != 200:
            raise rejection(reply.status, body, version.ref)
        return _read(body, version.ref, took * 1000)


def _call(
    version: ModelVersion,
    model: str,
    messages: Sequence[Mapping[str, str]],
    max_tokens: int,
    request_id: str,
    deadlines: Deadlines,
) -> Call:
    can = version.facts.capabilities
    body: dict[str, object] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": 0,
        "seed": SEED,
        "stream": False,
    }
    if Capability.CHAT in can or not can:
        endpoint = Endpoint.CHAT
        body["messages"] = list(messages)
    elif Capability.COMPLETION in can:
        endpoint = Endpoint.COMPLETION
        body["prompt"] = "\n\n".join(message["content"] for message in messages) + "\n"
    else:
        raise InvalidRequest(f"{version.ref} generates no text; it cannot be benchmarked")
    return Call(
        endpoint=endpoint, body=msgspec.json.encode(body), stream=False, request_id=request_id, deadlines=deadlines
    )


def _read(body: bytes, ref: str, latency_ms: float) -> Generated:
    try:
        answer = _answer.decode(body)
        first = answer.choices[0]
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise ProviderError(f"{ref}: its server sent no answer ({error})", code="bad_answer") from None
    text = first.message.content if first.message is not None else first.text
    usage = answer.usage
    return Generated(
        text=text or "",
        latency_ms=latency_ms,
        input_tokens=usage.prompt_tokens if usage else None,
        output_tokens=usage.completion_tokens if usage else None,
        truncated=first.finish_reason == "length",
    )
