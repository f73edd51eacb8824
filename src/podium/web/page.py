"""What a page is: where it lives, what it shows, who may see it. Every module of ``pages`` has ``PAGE``, or ``PAGES``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from podium.domain.principal import Principal, Role
from podium.services.plane import Services

Data = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at a page: who looks, and what the address says."""

    services: Services
    principal: Principal
    query: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the path, by the names in ``Page.path``."""

    def may(self, role: str) -> bool:
        """Whether the viewer has at least this role."""
        return self.principal.role.rank >= Role(role).rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page.

    ``data`` makes what the template is drawn from. ``live`` names blocks of the template that are drawn again every
    ``every_s`` and sent to the browser when they have changed; each stands in an element with ``sse-swap="BLOCK"``.
    Raises of ``data`` (``PodiumError``) become a page that says what is wrong.
    """

    path: str
    title: str
    template: str
    data: Callable[[Look], Awaitable[Data]]
    tab: str = ""
    """The entry of the navigation that is current on it."""
    live: tuple[str, ...] = ()
    every_s: float = 1.0
    role: Role = Role.VIEWER
    for_limited: bool = False
    """Whether a key that is for some tasks or models only may see it."""


TABS: tuple[tuple[str, str, str], ...] = (
    ("now", "Now", "/"),
    ("leaderboard", "Leaderboard", "/leaderboard"),
    ("rollouts", "Rollouts", "/rollouts"),
    ("decisions", "Decisions", "/decisions"),
    ("costs", "Costs", "/costs"),
    ("quality", "Quality", "/quality"),
    ("health", "Health", "/health"),
    ("playground", "Playground", "/playground"),
)
"""(name, text, address) of the navigation, in order."""
