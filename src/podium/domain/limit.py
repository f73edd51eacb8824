"""How much a key may do at a time: requests, tokens, and requests under way. Values only."""

from __future__ import annotations

from dataclasses import dataclass

WITHOUT = 1 << 62
"""An amount that says: no limit, whatever the role has."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` in every ``period_s`` seconds; ``WITHOUT`` is no limit."""

    amount: int
    period_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is said of a key or a role; ``None``: nothing is said, so that of a key what its role has applies."""

    requests: Rate | None = None
    tokens: Rate | None = None
    """Read and written."""
    concurrency: int | None = None
    """Requests under way, streams until their last byte."""

    def over(self, role: Limits) -> Limits:
        """What is in force for a key of a role: ``None`` is no limit now."""
        requests = self.requests if self.requests is not None else role.requests
        tokens = self.tokens if self.tokens is not None else role.tokens
        most = self.concurrency if self.concurrency is not None else role.concurrency
        return Limits(
            requests=None if requests is None or requests.amount >= WITHOUT else requests,
            tokens=None if tokens is None or tokens.amount >= WITHOUT else tokens,
            concurrency=None if most is None or most >= WITHOUT else most,
        )

    @property
    def empty(self) -> bool:
        """Nothing is said."""
        return self.requests is None and self.tokens is None and self.concurrency is None


UNSAID = Limits()
