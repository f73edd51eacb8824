"""The ``[windows.NAME]`` section: when work may be done that users should not notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from podium.domain.schedule import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEntry:
    """One maintenance window."""

    cron: Annotated[str, Meta(description="When it opens: minute, hour, day of month, month, day of week")]
    timezone: Annotated[str, Meta(description="IANA time zone the fields are meant in")] = "UTC"
    duration: Annotated[str | float, Meta(description='How long it stays open: seconds, or "90m", "2h"')] = "1h"

    def window(self, name: str) -> Window:
        """The window as the domain knows it. Raises ``InvalidRequest`` for one that cannot be read or never opens."""
        from podium.services import openings  # noqa: PLC0415 - only installations with windows read cron

        window = Window(cron=self.cron, timezone=self.timezone, duration_s=openings.duration(self.duration), name=name)
        openings.of_window(window)
        return window
