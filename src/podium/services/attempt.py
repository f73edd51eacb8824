"""What is measured while one attempt runs, and the outcome made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from podium.core.attribution import Sharer
from podium.domain.cost import Cause
from podium.domain.decision import Decision, Outcome
from podium.domain.model import Capability
from podium.domain.request import Endpoint, RequestHead
from podium.domain.rollout import Split
from podium.errors import ProviderError
from podium.ports import Clock
from podium.services.costing import BYTES_PER_TOKEN, PLAIN, Billed, Sent, Tokens, cost_of, tokens_in
from podium.services.meter import Metered
from podium.services.observing import read_body
from podium.services.sse import StreamRelay


class _Body(msgspec.Struct):
    usage: dict[str, Any] | None = None


_body = msgspec.json.Decoder(_Body)
_PROMPTS = ("messages", "prompt", "input")


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
        "_bill", "_body", "_cause", "_clock", "_complete", "_decision", "_error", "_first", "_head", "_metered", "_pieces", "_refused", "_sent",
        "_sharer", "_started", "_tokens", "first_token",
    )  # fmt: skip

    def __init__(
        self,
        decision: Decision,
        head: RequestHead,
        clock: Clock,
        cause: tuple[Cause, str | None] = PLAIN,
        bill: Callable[[Tokens], Billed | None] | None = None,
    ) -> None:
        self._decision = decision
        self._cause = cause
        self._bill = bill
        self._head = head
        self._clock = clock
        self._started = clock.monotonic()
        self._first: float | None = None
        self._error: str | None = None
        self._tokens = Tokens()
        self._body = b""
        self._pieces = 0
        self._metered: Metered | None = None
        self._sharer: Sharer | None = None
        self.first_token = False
        self._complete = self._sent = self._refused = False

    @property
    def used(self) -> bool:
        """It may have used something of a model: it got its place and was not turned away."""
        return self._sent and not self._refused

    @property
    def first_byte_s(self) -> float | None:
        """Seconds to the first event of a stream that says something; ``None`` before it and for whole answers."""
        return None if self._first is None else self._first - self._started

    def granted(self) -> None:
        """It has its place: what it took to get one is the pool's doing and does not count against the model."""
        self._started = self._clock.monotonic()
        self._sent = True

    def metering(self, sharer: Sharer | None) -> None:
        """The meter runs, and wants to hear of tokens, if it does."""
        self._sharer = sharer
        if sharer is not None:
            sharer.prompt = self._prompt_bytes() / BYTES_PER_TOKEN

    def relaying(self, relay: StreamRelay) -> None:
        """The answer comes in pieces."""
        if self._sharer is not None:
            self._sharer.pieces = lambda: relay.events

    def refused(self) -> None:
        """The model's server answered with an error instead."""
        self._refused = True

    def completed(self) -> None:
        """The whole answer went out: a caller who leaves now has got it."""
        self._complete = True

    def first_byte(self) -> None:
        """The first event of the answer that says something is here."""
        self.first_token = True
        self._first = self._clock.monotonic()
        if self._sharer is not None:
            self._sharer.first_at = self._first

    def failed(self, code: str) -> None:
        """It ended with this error code, unless the answer was complete before."""
        if not (self._complete and code == "client_left"):
            self._error = code

    def answered(self, body: bytes) -> None:
        """A whole body came: read its usage, if it says so. Raises ``ProviderError`` for what is no JSON."""
        try:
            usage = _body.decode(body).usage
        except msgspec.ValidationError:
            usage = None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            ref = self._decision.served
            raise ProviderError(f"{ref}: its server sent no JSON ({error})", code="bad_answer") from None
        self._tokens, self._body = tokens_in(usage), body
        if self._sharer is not None:
            self._sharer.total = float((self._tokens.input or 0) + (self._tokens.output or 0)) or None

    def streamed(self, relay: StreamRelay) -> None:
        """A stream ended, well or not."""
        self._tokens = Tokens(input=relay.input_tokens, cached=relay.cached_tokens, output=relay.output_tokens)
        self._pieces = relay.events
        if self._sharer is not None and relay.input_tokens:
            self._sharer.prompt = float(max(0, relay.input_tokens - (relay.cached_tokens or 0)))

    def metered(self, metered: Metered) -> None:
        """What the meter attributes to this attempt."""
        self._metered = metered

    def outcome(self) -> Outcome:
        """The finished record. Call once, at the end."""
        now = self._clock.monotonic()
        wall_s = now - self._started
        ttft_s = self._first - self._started if self._first is not None else None
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
            cost=cost_of(
                wall_s,
                self._metered,
                self._tokens,
                self._sent_over() if self._sent else None,
                ttft_s=ttft_s,
                cause=self._cause,
                bill=self._bill,
            ),
        )

    def _sent_over(self) -> Sent:
        generates = self._head.endpoint is not Endpoint.EMBEDDING
        decode = self._body and generates and not self._tokens.output
        return Sent(
            prompt_bytes=self._prompt_bytes(),
            answer_bytes=len(read_body(self._body).text.encode()) if decode else 0,
            pieces=self._pieces,
            generates=generates,
        )

    def _prompt_bytes(self) -> int:
        """Of its text; 0 where pictures are in it, whose bytes say nothing."""
        if Capability.VISION in self._head.needs:
            return 0
        return sum(len(self._head.fields[name]) for name in _PROMPTS if name in self._head.fields)
