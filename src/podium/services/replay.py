"""Replays a stream of rows through a policy by name, with progress. Knows the policies there are; reads no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from podium.core.bandit import Bandit
from podium.core.baselines import BASELINES
from podium.core.policies import Policy
from podium.core.replaying import Loss, Replay, Result, Rows, Totals
from podium.errors import InvalidRequest

POLICIES: Mapping[str, Callable[[], Policy]] = MappingProxyType({"default": Bandit, **BASELINES})
"""How each policy is made; ``default`` is the product's own."""


class Source(Protocol):
    """Rows to replay, shuffled already."""

    totals: Totals

    def rows(self) -> Iterator[Rows]:
        """All of them, in stream order."""
        ...


def make(name: str) -> Policy:
    """A fresh policy. Raises ``InvalidRequest`` that lists the names."""
    if name not in POLICIES:
        raise InvalidRequest(f"unknown policy {name!r}: use one of {', '.join(POLICIES)}", param="policy")
    return POLICIES[name]()


def loss_at(at: float, rows: int, *, tasks: int, left: float) -> Loss:
    """The simulated loss: ``at`` requests from the start, or that share of the stream when below 1.

    Raises ``InvalidRequest`` when it would never happen or is not a whole number of requests.
    """
    number = round(at * rows) if 0 < at < 1 else at
    if not 1 <= number < rows or number != int(number):
        raise InvalidRequest(
            f"--degrade {at:g}: give a number of requests from 1 to {rows - 1}, or a share of the stream between 0 and 1",
            param="degrade",
        )
    return Loss(at=int(number), tasks=tasks, left=left)


def replay(
    source: Source,
    policy: Policy,
    *,
    loss: Loss | None = None,
    limit: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Result:
    """One pass of ``policy`` over ``source``, of its first ``limit`` rows; ``progress`` hears the share that is done."""
    length = source.totals.rows if limit is None else min(limit, source.totals.rows)
    run = Replay(policy, source.totals, loss, length)
    left = length
    for rows in source.rows():
        part = rows if len(rows.task) <= left else rows.first(left)
        run.feed(part)
        left -= len(part.task)
        progress(1.0 - left / length)
        if left == 0:
            break
    return run.result()
