"""What became of the swaps and rollouts of a task, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHistory:
    """Counts of everything on record. Times are medians; ``None`` when nothing was measured."""

    task: str
    swaps: Mapping[str, int]
    """By state of swaps somebody ordered: ``promoted``, ``failed``, or the step one is in."""
    rollbacks: Mapping[str, int]
    """The same of rollbacks."""
    rollouts: Mapping[str, int]
    """By state."""
    swap_ms: float | None
    """From order to traffic moved, physical load excluded, of those that moved it."""
    load_ms: float | None
    """Physical load of the cold ones among them; warm ones loaded nothing."""
    rollout_s: float | None
    """From order to end, of rollouts that ended."""
    last_at: float | None
    """When the newest swap or rollout was ordered."""
