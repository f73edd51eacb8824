"""What judging may cost: a share of the time, tokens and energy, each as a bucket that refills. Pure.

What one judgment costs is known only afterwards: a bucket may go below empty, and nothing is begun until it is above it
again, so the mean over time is the budget whatever one judgment took.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3600.0
BURST_S = 600.0
"""What was not used is kept for so long."""


class Bucket:
    """``per_s`` units flow in every second, at most ``BURST_S`` worth is kept; it begins full."""

    def __init__(self, per_s: float, now: float) -> None:
        self.per_s = per_s
        self._level = per_s * BURST_S
        self._at = now

    def level(self, now: float) -> float:
        """What may be spent now; below 0 it is overdrawn."""
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._level = min(self.per_s * BURST_S, self._level + passed * self.per_s)
        return self._level

    def spend(self, amount: float, now: float) -> None:
        """It was used."""
        self.level(now)
        self._level -= amount

    def wait_s(self, now: float) -> float:
        """Seconds until something may be spent; ``inf`` for a budget of nothing."""
        level = self.level(now)
        if level > 0.0:
            return 0.0
        return float("inf") if self.per_s <= 0.0 else (1e-9 - level) / self.per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``None`` is no limit."""

    compute_share: float | None = 0.1
    """Seconds in which judges answer, by seconds that pass; several at once add up."""
    tokens_per_hour: float | None = None
    energy_mwh_per_hour: float | None = None
    watts: float | None = None
    """What the machine draws while a judge answers, for the energy; it is not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Since the start. ``energy_mwh`` is an estimate (seconds times ``watts``), ``None`` when nobody said the watts."""

    seconds: float = 0.0
    tokens: int = 0
    energy_mwh: float | None = None


class Budget:
    """The buckets that are limited, and what was spent. ``now``: seconds that never go back."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._seconds = self._tokens = 0.0
        self._made(limits, now)

    def _made(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._buckets: dict[str, Bucket] = {}
        if limits.compute_share is not None and limits.compute_share < 1.0:
            self._buckets["compute seconds"] = Bucket(limits.compute_share, now)
        if limits.tokens_per_hour is not None:
            self._buckets["tokens"] = Bucket(limits.tokens_per_hour / HOUR_S, now)
        if limits.energy_mwh_per_hour is not None and limits.watts is not None:
            self._buckets["energy"] = Bucket(limits.energy_mwh_per_hour / HOUR_S, now)

    def change(self, limits: Limits, now: float) -> None:
        """Put other limits in force; they begin anew, what was spent stays counted."""
        if limits != self.limits:
            self._made(limits, now)

    def short_of(self, now: float) -> str | None:
        """What is used up, in words; ``None`` while something may be spent."""
        return next((name for name, bucket in self._buckets.items() if bucket.wait_s(now) > 0.0), None)

    def wait_s(self, now: float) -> float:
        """Seconds until a judge may be asked again, 0 for at once."""
        return max((bucket.wait_s(now) for bucket in self._buckets.values()), default=0.0)

    def spend(self, seconds: float, tokens: int, now: float) -> None:
        """A judge answered."""
        self._seconds += seconds
        self._tokens += tokens
        used = {"compute seconds": seconds, "tokens": float(tokens), "energy": self._energy_mwh(seconds) or 0.0}
        for name, bucket in self._buckets.items():
            bucket.spend(used[name], now)

    def spent(self) -> Spent:
        """All of it so far."""
        return Spent(seconds=self._seconds, tokens=int(self._tokens), energy_mwh=self._energy_mwh(self._seconds))

    def _energy_mwh(self, seconds: float) -> float | None:
        watts = self.limits.watts
        return None if watts is None else watts * seconds / 3.6
