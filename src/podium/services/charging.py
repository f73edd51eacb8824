"""Puts work that no decision was made for on record, charged to what caused it.

Whoever causes work says so with ``charged``; it holds for everything done inside, also by tasks begun there. A judge
asked because of a rollout is charged to the rollout, an item of a benchmark that validates one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import msgspec

from podium.domain.cost import Cause, Operation
from podium.domain.model import ModelVersion
from podium.ports import Clock
from podium.services.costing import Prices, Sent, Tokens, cost_of, tokens_in
from podium.services.meter import Metered
from podium.services.observing import read_body

_REASONS = frozenset({Cause.SHADOW, Cause.VALIDATION, Cause.BENCHMARK})
"""Causes that remain the reason for what is done inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Why something is done. ``about``: the client's request it is about, if there is one."""

    cause: Cause
    to: str
    task: str
    about: str | None = None


_now: ContextVar[Charge | None] = ContextVar("podium_charge", default=None)


@contextmanager
def charged(cause: Cause, to: str, task: str, about: str | None = None) -> Iterator[None]:
    """What is done inside is charged to ``to``, or to the rollout or run that is the reason for all of it."""
    outer = _now.get()
    if outer is not None and outer.cause in _REASONS:
        kind = outer.cause if cause is Cause.BENCHMARK else cause
        charge = Charge(cause=kind, to=outer.to, task=task, about=about)
    else:
        charge = Charge(cause=cause, to=to, task=task, about=about)
    token = _now.set(charge)
    try:
        yield
    finally:
        _now.reset(token)


class _Body(msgspec.Struct):
    usage: dict[str, Any] | None = None


_body = msgspec.json.Decoder(_Body)


class Charging:
    """One per gateway. ``record`` takes finished operations; it must be quick."""

    def __init__(
        self,
        record: Callable[[Operation], None],
        clock: Clock,
        new_id: Callable[[], str],
        prices: Prices | None = None,
    ) -> None:
        self._record = record
        self._clock = clock
        self._new_id = new_id
        self._prices = prices

    def done(
        self, version: ModelVersion, *, wall_s: float, metered: Metered, sent: bytes, body: bytes | None, success: bool
    ) -> None:
        """An operation ended, well or not; nothing is noted of work that nobody said the cause of."""
        charge = _now.get()
        if charge is None:
            return
        tokens = _usage(body)
        answer = 0 if tokens.output or body is None else len(read_body(body).text.encode())
        prices = self._prices
        cost = cost_of(
            wall_s,
            metered,
            tokens,
            Sent(prompt_bytes=len(sent), answer_bytes=answer),
            cause=(charge.cause, charge.to),
            bill=None if prices is None else lambda used: prices.bill(version, used),
        )
        self._record(
            Operation(
                id=self._new_id(),
                at=self._clock.now(),
                task=charge.task,
                ref=version.ref,
                success=success,
                cost=cost,
                request_id=charge.about,
            )
        )


def _usage(body: bytes | None) -> Tokens:
    if body is None:
        return Tokens()
    try:
        return tokens_in(_body.decode(body).usage)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Tokens()
