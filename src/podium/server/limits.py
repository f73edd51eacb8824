"""What the listener takes from a client before it says no."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    head_bytes: int = 64 * 1024
    """Request line and headers together."""
    body_bytes: int = 32 * 1024 * 1024
    head_s: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_idle_s: float = 30.0
    """Longest silence inside a body."""
    body_s: float = 300.0
    """A whole body."""
    keep_alive_s: float = 75.0
    """An idle connection, and an unread answer at its end."""
    unread_s: float = 60.0
    """How long a client may take none of an answer that waits for it."""
    linger_s: float = 2.0
    """How long the rest of a refused body is thrown away, so that the client can read the refusal."""
    connections: int = 4096
