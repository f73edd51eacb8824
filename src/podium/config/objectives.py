"""The ``[tasks.NAME.objectives]`` table: what a task promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from podium.core.objectives import Objectives, read_window

Promise = Annotated[float, Meta(gt=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskObjectives:
    """Objectives of one task; what is unset promises nothing."""

    latency_ms: Annotated[
        Annotated[float, Meta(gt=0, le=1e8)] | None,
        Meta(description="95 of 100 answers take no longer, in milliseconds"),
    ] = None
    success: Annotated[
        Promise | None, Meta(description="Share of requests that are answered, such as 0.99; below 1")
    ] = None
    quality: Annotated[Promise | None, Meta(description="Mean score of its answers; below 1")] = None
    window: Annotated[
        str | float, Meta(description='Time the error budget is for: "30d", "12h" or seconds, from 6h to 90d')
    ] = "30d"

    def objectives(self) -> Objectives | None:
        """As the core knows them; ``None`` when nothing is promised. Raises ``ValueError`` for a wrong window."""
        if self.latency_ms is None and self.success is None and self.quality is None:
            return None
        return Objectives(
            latency_ms=self.latency_ms, success=self.success, quality=self.quality, window_s=read_window(self.window)
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, message) of what the type of one key cannot express."""
        try:
            read_window(self.window)
        except ValueError as error:
            yield "window", str(error)
