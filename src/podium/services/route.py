"""Where a request goes next when an attempt failed before its first byte.

The order: the same version once more if its process was lost (another one takes over), then the configured chain or
else the policy's own fallbacks, each at most once. Errors that another version cannot mend end it.
"""

from __future__ import annotations

from collections import deque

from podium.domain.decision import Choice
from podium.errors import OverBudget, Overloaded, PodiumError, ProviderError

MAX_ATTEMPTS = 4
MAX_LOST = 2
"""Processes of one version that may be lost under one request: it may be the request that kills them."""


class Route:
    """The attempts of one request after its first one failed."""

    __slots__ = ("_attempts", "_left", "_lost")

    def __init__(self, choice: Choice, chain: tuple[str, ...] | None) -> None:
        order = choice.fallbacks if chain is None else chain
        self._left = deque(ref for ref in dict.fromkeys(order) if ref != choice.chosen)
        self._lost = 0
        self._attempts = 1

    def after(self, served: str, error: PodiumError) -> str | None:
        """The version to try after ``served`` failed with ``error``; ``None``: give the error to the caller."""
        if not _mendable(error):
            return None
        self._attempts += 1
        if self._attempts > MAX_ATTEMPTS:
            return None
        if isinstance(error, ProviderError) and error.instance_lost and self._lost < MAX_LOST - 1:
            self._lost += 1
            return served
        return self._left.popleft() if self._left else None


def _mendable(error: PodiumError) -> bool:
    if isinstance(error, OverBudget):
        return error.elsewhere
    return isinstance(error, ProviderError | Overloaded) and error.retryable
