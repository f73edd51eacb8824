"""Runs the candidate of a rollout in the shadow: it answers a sample of the task's requests too, and nobody sees it.

Takes what the serving version answered, asks the candidate the same in the background and reports the pair: whether it
worked, what memory it took, and how good both were where somebody can tell. Bounded: when more comes than is worked off, the
oldest waits no longer. Never delays a user: see ``services/background``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from podium.core.arms import Sample
from podium.domain.cost import Cause
from podium.domain.decision import Decision, Outcome
from podium.domain.judgment import Judged
from podium.domain.request import Endpoint, RequestHead
from podium.domain.rollout import Rollout, RolloutState
from podium.errors import PodiumError
from podium.services import wire
from podium.services.background import Background, Heard
from podium.services.charging import charged
from podium.services.observing import Answered, read_body
from podium.services.prompts import asked_schema, prompt_text
from podium.services.registry import Registry

WAITING = 64
TEXT = frozenset({Endpoint.CHAT, Endpoint.COMPLETION})
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("podium.shadow")
Score = Callable[[Judged], Awaitable[float | None]]
"""How good an answer is, in [0, 1]; ``None`` when nobody can tell."""


class Comparisons(Protocol):
    """Where pairs go: the rollouts."""

    def on(self, task: str) -> Rollout | None:
        """The open rollout of a task."""
        ...

    def shadowed(self, rollout_id: str, baseline: Sample, candidate: Sample) -> None:
        """Both answered, or failed at, the same request."""
        ...

    def paired(self, rollout_id: str, baseline: float, candidate: float) -> None:
        """Both answers to the same request were scored."""
        ...


class Shadow:
    """An observer of the gateway. ``draw`` is uniform in [0, 1)."""

    def __init__(
        self,
        rollouts: Comparisons,
        registry: Registry,
        background: Background,
        score: Score,
        draw: Callable[[], float],
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._background = background
        self._score = score
        self._draw = draw
        self._waiting: deque[tuple[Rollout, Answered]] = deque()
        self._ready = asyncio.Event()
        self.dropped = 0
        """Requests that were picked and not compared, because too many waited."""
        self.compared = 0

    # ------------------------------------------------------------ the request path

    def wants(self, head: RequestHead, decision: Decision) -> bool:
        """Requests that the serving version of a shadowed task answers, as often as the plan says."""
        rollout = self._rollouts.on(decision.choice.task)
        return (
            rollout is not None
            and rollout.state is RolloutState.SHADOW
            and decision.served == rollout.baseline
            and head.endpoint in TEXT
            and self._draw() < rollout.plan.shadow_sample
        )

    def take(self, answered: Answered) -> None:
        """Keep it for later."""
        rollout = self._rollouts.on(answered.decision.choice.task)
        if rollout is None or answered.outcome.error == "client_left":
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((rollout, answered))
        self._ready.set()

    # ------------------------------------------------------------ the background

    async def run(self) -> None:
        """Until cancelled: one request after another."""
        while True:
            while not self._waiting:
                self._ready.clear()
                await self._ready.wait()
            rollout, answered = self._waiting.popleft()
            now = self._rollouts.on(rollout.task)
            if now is None or now.id != rollout.id or now.state is not RolloutState.SHADOW:
                continue
            try:
                with charged(Cause.SHADOW, rollout.id, rollout.task, answered.head.request_id):
                    await self._compare(rollout, answered)
            except PodiumError as error:
                _log.warning("a request could not be compared in the shadow", error=error.message)
            except Exception:  # noqa: BLE001 - one odd answer must not end the shadow of all rollouts
                _log.exception("a request could not be compared in the shadow")

    async def _compare(self, rollout: Rollout, answered: Answered) -> None:
        head = answered.head
        version = self._registry.get(rollout.candidate)
        heard = await self._background.ask(
            version,
            head.endpoint,
            lambda model: _whole(head, model),
            request_id=f"{head.request_id}-shadow",
            who="shadow",
        )
        if heard.body is None and not heard.blame:
            return
        self.compared += 1
        self._rollouts.shadowed(rollout.id, _served(answered.outcome), _tried(heard))
        if heard.body is None or not answered.outcome.success:
            return
        baseline = await self._score(judged(answered, answered.text().text))
        candidate = await self._score(judged(answered, read_body(heard.body).text))
        if baseline is not None and candidate is not None:
            self._rollouts.paired(rollout.id, baseline, candidate)


def judged(answered: Answered, output: str) -> Judged:
    """A request with one answer to it, as a judge wants it."""
    head = answered.head
    return Judged(
        id=head.request_id,
        task=answered.decision.choice.task,
        prompt=prompt_text(head),
        output=output,
        schema=asked_schema(head),
        finish=answered.text().finish,
    )


def _whole(head: RequestHead, model: str) -> bytes:
    """The caller's request for another model, answered in one piece."""
    fields = _any.decode(wire.compose(head, model))
    fields.pop("stream_options", None)
    return _encode({**fields, "stream": False})


def _served(outcome: Outcome) -> Sample:
    cost = outcome.cost
    return Sample(success=outcome.success, latency_ms=None, memory_mb=cost.held_memory_mb, energy_mwh=cost.energy_mwh)


def _tried(heard: Heard) -> Sample:
    """Its latency is no figure to compare: it is asked last in line, when nobody else is."""
    metered = heard.metered
    return Sample(
        success=heard.body is not None,
        latency_ms=None,
        memory_mb=metered.held_memory_mb if metered is not None else None,
        energy_mwh=metered.energy_mwh if metered is not None else None,
    )
