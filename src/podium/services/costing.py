"""Makes the cost of one operation from what was measured: meter, the server's usage, prices. Owns the rule for tokens.

Tokens are the server's. Where it says none, or what cannot be (no tokens for a text that is there, more than bytes were
sent), they are estimated: a token for every four bytes, or one for every piece of a stream; and the cost says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from podium.domain.cost import Cause, Cost
from podium.domain.model import ModelVersion
from podium.domain.record import record
from podium.domain.unmeasured import NO_USAGE, NOT_SENT
from podium.services.meter import Metered, unmeasured

BYTES_PER_TOKEN = 4
MOST_TOKENS = 10**9
PLAIN: tuple[Cause, str | None] = (Cause.REQUEST, None)


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a server says it read and wrote; ``None`` where it says nothing."""

    input: int | None = None
    cached: int | None = None
    output: int | None = None


@record
@dataclass(frozen=True, slots=True)
class Billed:
    """Millionths of a dollar, by the table of this version."""

    microusd: int
    table: str


class Prices(Protocol):
    """What hosted models ask."""

    def bill(self, version: ModelVersion, tokens: Tokens) -> Billed | None:
        """``None`` for a model that nobody bills, or whose tokens are not known."""
        ...


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What went over the wire, for estimates: bytes of the prompt, and bytes or pieces of the answer."""

    prompt_bytes: int
    answer_bytes: int = 0
    pieces: int = 0
    generates: bool = True
    """False for embeddings: there is no output to count."""

    def answer_tokens(self) -> int:
        """About as many as the answer has."""
        return self.pieces or -(-self.answer_bytes // BYTES_PER_TOKEN)


def cost_of(
    wall_s: float,
    metered: Metered | None,
    tokens: Tokens,
    sent: Sent | None,
    *,
    ttft_s: float | None = None,
    cause: tuple[Cause, str | None] = PLAIN,
    bill: Callable[[Tokens], Billed | None] | None = None,
) -> Cost:
    """The cost of an operation that took ``wall_s``; ``sent`` is ``None`` for one that never reached its model."""
    metered = metered or unmeasured(NOT_SENT)
    missing, estimated = metered.missing, metered.estimated
    billed: Billed | None = None
    if sent is None:
        tokens, missing = Tokens(), (*missing, ("output_tokens", NOT_SENT))
    else:
        tokens, guessed = checked(tokens, sent)
        estimated = (*estimated, *guessed)
        billed = bill(tokens) if bill is not None else None
        if billed is not None and guessed:
            estimated = (*estimated, "price_microusd")
        if tokens.input is None:
            missing = (*missing, ("input_tokens", NO_USAGE))
        if tokens.output is None:
            missing = (*missing, ("output_tokens", NO_USAGE))
    generating = wall_s - (ttft_s or 0.0)
    return Cost(
        wall_ms=wall_s * 1000,
        cpu_ms=metered.cpu_ms,
        gpu_ms=metered.gpu_ms,
        peak_memory_mb=metered.peak_memory_mb,
        mean_memory_mb=metered.mean_memory_mb,
        mapped_memory_mb=metered.mapped_memory_mb,
        energy_mwh=metered.energy_mwh,
        energy_method=metered.energy_method,
        input_tokens=tokens.input,
        cached_tokens=tokens.cached,
        output_tokens=tokens.output,
        tokens_per_s=tokens.output / generating if tokens.output and generating > 0 else None,
        price_microusd=billed.microusd if billed is not None else None,
        price_table=billed.table if billed is not None else None,
        estimated=estimated,
        cause=cause[0],
        charged_to=cause[1],
        missing=missing,
    )


def checked(tokens: Tokens, sent: Sent) -> tuple[Tokens, tuple[str, ...]]:
    """Tokens with estimates in the place of what the server did not say or cannot have counted; and which those are."""
    guessed: list[str] = []
    read, written = tokens.input, tokens.output
    answer = sent.answer_tokens()
    if not read and sent.prompt_bytes and (answer or not sent.generates):
        read = -(-sent.prompt_bytes // BYTES_PER_TOKEN)
        guessed.append("input_tokens")
    if not sent.generates:
        written = 0
    elif not written and answer:
        written = answer
        guessed.append("output_tokens")
    cached = tokens.cached if tokens.cached is None or read is None else min(tokens.cached, read)
    if read is tokens.input and written is tokens.output and cached is tokens.cached:
        return tokens, ()
    return Tokens(input=read, cached=cached, output=written), tuple(guessed)


def tokens_in(usage: Mapping[str, Any] | None) -> Tokens:
    """What an OpenAI ``usage`` object says; nonsense counts as nothing said."""
    if not isinstance(usage, dict):  # a dictionary, not any mapping: it is asked at every answer
        return Tokens()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Tokens(
        input=_count(usage.get("prompt_tokens")), cached=_count(cached), output=_count(usage.get("completion_tokens"))
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None  # a truth value is no count
