"""Which versions a logged choice was made from, for everything that judges or learns from the log. Pure."""

from __future__ import annotations

from podium.domain.decision import Choice


def offered(choice: Choice) -> tuple[str, ...]:
    """The versions that could be drawn; those that passed the filters where the log does not say."""
    if choice.alternatives:
        return tuple(sorted({choice.chosen, *choice.alternatives}))
    return tuple(candidate.ref for candidate in choice.candidates if candidate.dropped is None)
