"""What is measured while one attempt runs, and the outcome made of it."""

from __future__ import annotations

from functools import cache

import msgspec

from podium.domain.cost import Cause, Cost
from podium.domain.decision import Decision, Outcome
from podium.domain.request import RequestHead
from podium.domain.rollout import Split
from podium.domain.unmeasured import NO_ENERGY, NO_PROCESS, NO_USAGE, NOT_SENT
from podium.errors import ProviderError
from podium.ports import Clock
from podium.services.meter import Metered
from podium.services.sse import StreamRelay


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_body = msgspec.json.Decoder(_Body)


@cache
def _missing(no_cpu: bool, no_memory: bool, no_usage: bool, sent: bool) -> tuple[tuple[str, str], ...]:
    """Which figures are absent and why; one shared value per combination."""
    if not sent:
        return tuple((name, NOT_SENT) for name in ("energy_mwh", "cpu_ms", "peak_memory_mb", "output_tokens"))
    found = [("energy_mwh", NO_ENERGY)]
    if no_cpu:
        found.append(("cpu_ms", NO_PROCESS))
    if no_memory:
        found.append(("peak_memory_mb", NO_PROCESS))
    if no_usage:
        found.append(("output_tokens", NO_USAGE))
    return tuple(found)


PLAIN: tuple[Cause, str | None] = (Cause.REQUEST, None)


def cause_of(decision: Decision, split: Split | None) -> tuple[Cause, str | None]:
    """Why an attempt is made, and the id of what it is charged to; ``split``: how the task's traffic is divided."""
    if decision.parent is not None:
        return Cause.RETRY, decision.parent
    if split is not None and decision.served == split.candidate:
        return Cause.CANARY, split.rollout
    return PLAIN


class Attempt:
    """Clocks, tokens and errors of one attempt."""

    __slots__ = (
        "_cause", "_clock", "_complete", "_decision", "_error", "_first", "_head", "_input", "_metered", "_output", "_refused", "_sent", "_started",
        "first_token",
    )  # fmt: skip

    def __init__(
        self, decision: Decision, head: RequestHead, clock: Clock, cause: tuple[Cause, str | None] = PLAIN
    ) -> None:
        self._decision = decision
        self._cause = cause
        self._head = head
        self._clock = clock
        self._started = clock.monotonic()
        self._first: float | None = None
        self._error: str | None = None
        self._input: int | None = None
        self._output: int | None = None
        self._metered: Metered | None = None
        self.first_token = False
        self._complete = self._sent = self._refused = False

    @property
    def used(self) -> bool:
        """It may have used something of a model: it got its place and was not turned away."""
        return self._sent and not self._refused

    @property
    def first_byte_s(self) -> float | None:
        """Seconds to the first event of a stream; ``None`` before it and for whole answers."""
        return None if self._first is None else self._first - self._started

    def granted(self) -> None:
        """It has its place: what it took to get one is the pool's doing and does not count against the model."""
        self._started = self._clock.monotonic()
        self._sent = True

    def refused(self) -> None:
        """The model's server answered with an error instead."""
        self._refused = True

    def completed(self) -> None:
        """The whole answer went out: a caller who leaves now has got it."""
        self._complete = True

    def first_byte(self) -> None:
        """The first event of the answer is here."""
        self.first_token = True
        self._first = self._clock.monotonic()

    def failed(self, code: str) -> None:
        """It ended with this error code, unless the answer was complete before."""
        if not (self._complete and code == "client_left"):
            self._error = code

    def answered(self, body: bytes) -> None:
        """A whole body came: read its usage, if it says so. Raises ``ProviderError`` for what is no JSON."""
        try:
            usage = _body.decode(body).usage
        except msgspec.ValidationError:
            return
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            ref = self._decision.served
            raise ProviderError(f"{ref}: its server sent no JSON ({error})", code="bad_answer") from None
        if usage is not None:
            self._input, self._output = usage.prompt_tokens, usage.completion_tokens

    def streamed(self, relay: StreamRelay) -> None:
        """A stream ended, well or not."""
        self._input, self._output = relay.input_tokens, relay.output_tokens

    def metered(self, metered: Metered) -> None:
        """What the meter attributes to this attempt."""
        self._metered = metered

    def outcome(self) -> Outcome:
        """The finished record. Call once, at the end."""
        now = self._clock.monotonic()
        wall_s = now - self._started
        ttft_s = self._first - self._started if self._first is not None else None
        generating = wall_s - (ttft_s or 0.0)
        rate = self._output / generating if self._output and generating > 0 else None
        metered = self._metered
        no_cpu = metered is None or metered.cpu_ms is None
        no_memory = metered is None or metered.peak_memory_mb is None
        return Outcome(
            decision_id=self._decision.id,
            request_id=self._decision.request_id,
            task=self._decision.choice.task,
            ref=self._decision.served,
            at=self._clock.now(),
            success=self._error is None,
            error=self._error,
            streamed=self._head.stream,
            latency_ms=wall_s * 1000,
            ttft_ms=ttft_s * 1000 if ttft_s is not None else None,
            cost=Cost(
                wall_ms=wall_s * 1000,
                cpu_ms=metered.cpu_ms if metered else None,
                peak_memory_mb=metered.peak_memory_mb if metered else None,
                input_tokens=self._input,
                output_tokens=self._output,
                tokens_per_s=rate,
                cause=self._cause[0],
                charged_to=self._cause[1],
                missing=_missing(no_cpu, no_memory, self._output is None, self._sent),
            ),
        )
