"""Builds telemetry where it is switched on, and lets it hear of requests and scores."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from podium._version import __version__
from podium.domain.model import ModelVersion
from podium.errors import ConfigError, NotFound
from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.services.judging import Judging
from podium.services.tracing import Tracing

if TYPE_CHECKING:
    from podium.telemetry.service import Telemetry


def telemetry(base: Foundation, serving: Serving, judging: Judging, stack: AsyncExitStack) -> Telemetry | None:
    """Build it; ``None`` when it is off. Raises ``ConfigError`` when it cannot be."""
    settings = base.config.telemetry
    if not settings.enabled or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from podium.telemetry.exporting import providers  # noqa: PLC0415 - half a second that most never need
        from podium.telemetry.service import Telemetry  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"[telemetry] needs the package {error.name}; install it with pip install 'podium[otel]', or set enabled = false"
        ) from error

    def find(ref: str) -> ModelVersion | None:
        try:
            return base.registry.get(ref)
        except NotFound:
            return None

    made = Telemetry(
        providers(os.environ, __version__, offline=base.config.network.offline), find, content=settings.content
    )
    stack.push_async_callback(made.close)
    serving.gateway.tracing = Tracing(base.clock, made.sample, made.keep)
    if made.content is not None:
        serving.gateway.observers = (*serving.gateway.observers, made.content)
    judging.heard.append(made.judged)
    base.on_feedback.append(made.scored)
    base.on_revision.append(made.scored)
    return made
