"""What a user orders about keeping a version loaded, apart from what its traffic would ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """Standing orders for one version. They survive restarts and never touch the version itself."""

    pinned: bool = False
    """Never evicted, no idle time-out."""
    preload: bool = False
    """Loaded at start and after a crash, without waiting for a request."""
    keep_alive_s: float | None = None
    """Idle seconds before it is unloaded; ``inf`` never, 0 at once; ``None``: the pool's own setting."""
    min_copies: int = 0
    """Copies kept while memory allows."""
    max_copies: int = 1
    """Copies autoscaling may start."""
