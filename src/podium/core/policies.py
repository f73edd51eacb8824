"""What a learning policy is: choose one of the arms offered for a task, then hear what came of it.

Owns the protocol shared by the product's default policy, the classic baselines and the replay engine. Must not hold
state, filter candidates or draw random numbers: whoever calls hands in one uniform draw per decision, so that a
policy answers the same for the same history and draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pick:
    """One choice."""

    arm: str
    propensity: float | None
    """The probability with which ``arm`` was chosen, over the uniform draw; ``None`` when the policy cannot tell."""
    index: float | None = None
    """What the policy ranked ``arm`` by, in units of quality; ``None`` when it ranks by nothing."""


class Policy(Protocol):
    """One learner over named arms and tasks. Arms and tasks are met when they are first named."""

    def choose(self, task: str, arms: Sequence[str], draw: float, context: NDArray[np.float64] | None = None) -> Pick:
        """Choose among ``arms`` (at least one, distinct; another set at every call: arms arrive, are filtered, leave).

        ``draw`` is uniform in [0, 1) and the only randomness; ``context`` are features of the request, shape
        ``(d,)``, for policies that use them. Changes nothing that a later choice depends on.

        Raises ``ValueError`` for no arms.
        """
        ...

    def observe(
        self,
        task: str,
        arm: str,
        score: float,
        *,
        weight: float = 1.0,
        latency_s: float | None = None,
        cost: float | None = None,
    ) -> None:
        """Learn that ``arm`` earned ``score`` on ``task``.

        ``score`` is a quality in [0, 1], ``weight`` > 0 the worth of the evidence in observations (1: exact check),
        ``latency_s`` seconds and ``cost`` US dollars where they were measured.

        Raises ``ValueError`` for a score outside [0, 1] or a weight that is not finite and positive.
        """
        ...
