"""The configuration of telemetry and of what is logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """OpenTelemetry; where it goes is set by OpenTelemetry's own environment variables. Changes need a restart."""

    enabled: Annotated[bool, Meta(description="Send spans, metrics and scores; needs the extra `otel`")] = False
    content: Annotated[bool, Meta(description="Send prompts and answers with them, too")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What `podium serve` writes to standard error. Never what was asked or answered. Changes need a restart."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least that is written; every request at debug, failed ones at info"),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "text"],
        Meta(description="JSON lines or text; auto: text for a terminal, JSON lines elsewhere"),
    ] = "auto"
